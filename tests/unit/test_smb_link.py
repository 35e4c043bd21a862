"""Frames of an SMB session: what is sealed, what is refused, and who is let go at the end."""

from __future__ import annotations

import socket
import struct
from collections.abc import Iterator
from threading import Lock
from types import SimpleNamespace
from typing import Any

import pytest
from cryptography.exceptions import InvalidTag

from certshelf.store.smb_link import Link, LinkLost
from certshelf.store.smb_messages import close, flush
from certshelf.store.smb_seal import Encryption, Seal, Signature, seal_of

KEY, OTHER = bytes(range(16)), bytes(range(16, 32))
SIGNED, FROM_SERVER, PENDING, ASYNC = 0x8, 0x1, 0x103, 0x2
HMAC, CMAC, GMAC = 0, 1, 2


def message(number: int = 7, *, flags: int = FROM_SERVER, status: int = 0, step: int = 0) -> bytes:
    head = struct.pack(
        "<4sHHIHHIIQQQ16s", b"\xfeSMB", 64, 1, status, 6, 1, flags, step, number, 9, 5, bytes(16)
    )
    return head + b"what it says"


def changed(data: bytes, at: int) -> bytes:
    return data[:at] + bytes([data[at] ^ 1]) + data[at + 1 :]


@pytest.mark.parametrize("is_gcm", [True, False])
def test_the_other_side_opens_what_is_encrypted_and_nothing_that_was_altered(is_gcm: bool) -> None:
    ours = Encryption(5, KEY, OTHER, is_gcm=is_gcm)
    theirs = Encryption(5, OTHER, KEY, is_gcm=is_gcm)
    frame = ours.sealed([message(1), message(2)])
    assert theirs.opened(frame) == message(1) + message(2)
    for at in (4, 20, 36, 52, len(frame) - 1):
        with pytest.raises(InvalidTag):
            theirs.opened(changed(frame, at))


def test_an_encrypted_answer_of_another_session_is_refused() -> None:
    frame = Encryption(6, OTHER, KEY, is_gcm=True).sealed([message()])
    with pytest.raises(ValueError, match="another session"):
        Encryption(5, KEY, OTHER, is_gcm=True).opened(frame)


def test_a_session_that_encrypts_takes_no_answer_in_the_clear() -> None:
    assert Encryption(5, KEY, OTHER, is_gcm=True).opened(message()) is None


@pytest.mark.parametrize("algorithm", [HMAC, CMAC, GMAC, None])
def test_an_answer_unsigned_or_altered_is_refused(algorithm: int | None) -> None:
    seal = Signature(KEY, algorithm)
    signed = seal.sealed([message()])
    assert signed[:16] == message()[:16]
    seal.check(signed)
    for wrong in (message(), changed(signed, 30), changed(signed, 50), changed(signed, 70)):
        with pytest.raises(ValueError, match="valid signature"):
            seal.check(wrong)
    with pytest.raises(ValueError, match="valid signature"):
        Signature(OTHER, algorithm).check(signed)


def test_only_a_wait_need_not_be_signed() -> None:
    Signature(KEY, GMAC).check(message(status=PENDING))


@pytest.mark.parametrize(
    ("dialect", "algorithm"), [(0x0302, None), (0x0311, HMAC), (0x0311, CMAC), (0x0311, GMAC)]
)
@pytest.mark.parametrize("flags", [0, FROM_SERVER])
def test_signatures_are_those_of_smbprotocol(
    dialect: int, algorithm: int | None, flags: int
) -> None:
    library = pytest.importorskip("smbprotocol.connection")
    theirs = library.Connection(None, "127.0.0.1")
    theirs.dialect, theirs.signing_algorithm_id = dialect, algorithm
    session: Any = SimpleNamespace(encrypt_data=False, signing_key=KEY)
    seal = seal_of(theirs, session, session)
    signed = seal.sealed([message(flags=flags)])
    assert signed[48:64] == theirs._generate_signature(signed, KEY, 7, bool(flags), 6)


# --- the link


class Peer:
    """The other end of a link, and what smbprotocol's connection is to it."""

    def __init__(self, seal: Seal) -> None:
        with socket.create_server(("127.0.0.1", 0)) as listening:
            near = socket.create_connection(listening.getsockname())
            self.far, _ = listening.accept()
        self.seal = seal
        self.connection: Any = SimpleNamespace(
            transport=SimpleNamespace(_sock=near),
            sequence_lock=Lock(),
            sequence_window={"low": 3, "high": 10},
            supports_multi_credit=True,
        )
        self.link = Link(self.connection)
        self.link._seal = seal

    def say(self, data: bytes) -> None:
        self.far.sendall(len(data).to_bytes(4, "big") + data)

    def close(self) -> None:
        self.link.close()
        self.far.close()


@pytest.fixture
def peer() -> Iterator[Peer]:
    peer = Peer(Signature(KEY, GMAC))
    yield peer
    peer.close()


def test_answers_come_to_their_requests_in_any_order(peer: Peer) -> None:
    exchange = peer.link.ask([flush(b"f" * 16), close()])
    other = peer.link.ask([close()])
    peer.say(peer.seal.sealed([message(other.number)]))
    wait = message(exchange.number, status=PENDING, flags=ASYNC | FROM_SERVER)
    peer.say(wait)
    peer.say(peer.seal.sealed([message(exchange.number + 1, status=0xC0000001)]))
    peer.say(peer.seal.sealed([message(exchange.number)]))
    peer.far.shutdown(socket.SHUT_WR)
    assert peer.link.recv(5) is None
    assert other.wait() == [(0, b"what it says")]
    assert exchange.wait() == [(0, b"what it says"), (0xC0000001, b"what it says")]
    assert exchange.async_id == 9
    assert peer.connection.sequence_window == {"low": 6, "high": 14}


def test_what_answers_nobody_here_is_passed_on(peer: Peer) -> None:
    peer.say(message(99))
    assert peer.link.recv(5) == message(99)


@pytest.mark.parametrize(
    "answer",
    [message(3), message(3, step=8), message(3)[:40], b"", message(3, step=5000)],
    ids=["unsigned", "steps back", "half a header", "empty", "steps out"],
)
def test_a_forged_or_broken_answer_reaches_no_request(peer: Peer, answer: bytes) -> None:
    exchange = peer.link.ask([close()])
    peer.say(answer)
    with pytest.raises((ValueError, struct.error)):
        peer.link.recv(5)
    peer.link.close()
    with pytest.raises(LinkLost):
        exchange.wait()


def test_a_frame_of_any_length_is_not_waited_for(peer: Peer) -> None:
    peer.far.sendall(b"\x00\xff\xff\xff")
    with pytest.raises(ValueError, match="too long"):
        peer.link.recv(5)


def test_the_end_of_a_connection_lets_all_go(peer: Peer) -> None:
    exchange = peer.link.ask([close()])
    peer.far.close()
    assert peer.link.recv(5) is None
    with pytest.raises(LinkLost):
        exchange.wait()
    with pytest.raises(LinkLost):
        peer.link.ask([close()])


def test_silence_is_told_to_the_library_which_then_gives_a_sign_of_life(peer: Peer) -> None:
    with pytest.raises(TimeoutError):
        peer.link.recv(0.01)


def test_more_requests_than_the_server_grants_are_not_sent(peer: Peer) -> None:
    with pytest.raises(LinkLost, match="too few"):
        peer.link.ask([close()] * 8)
