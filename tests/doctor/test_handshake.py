"""Handshakes with real servers on loopback: what they serve, and how each failure looks."""

from __future__ import annotations

import asyncio
import socket
import ssl
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest

from certshelf.doctor.handshake import ask, ask_all
from certshelf.doctor.served import (
    Expected,
    Failure,
    Seen,
    Target,
    Verdict,
    judge,
    target,
    targets,
)
from certshelf.farm import Kind, Member
from certshelf.names import HostName
from tests.support.certificates import INSIDE, bundle
from tests.support.tls_server import Prelude, raw_server, tls_server

WWW = HostName.parse("www.example.com")
DEFAULT = bundle("localhost.example.com", number=7)
GOOD = bundle("www.example.com", number=1)
WILDCARD = bundle("*.example.com", number=2)


def at(port: int, name: HostName | None = WWW, starttls: str = "") -> Target:
    return Target("web", Kind.NGINX, "127.0.0.1", port, name, starttls)


def seen(where: Target, timeout: float = 10.0) -> Seen:
    return asyncio.run(ask(where, timeout))


def test_the_certificate_of_the_name_is_seen(tmp_path: Path) -> None:
    with tls_server(DEFAULT, tmp_path, {"www.example.com": GOOD}) as port:
        assert seen(at(port)).sha256 == GOOD.sha256
        assert seen(at(port)).names == (WWW,)
        assert seen(at(port, None)).sha256 == DEFAULT.sha256


def test_a_wildcard_is_asked_for_by_a_label_of_ours(tmp_path: Path) -> None:
    with tls_server(DEFAULT, tmp_path, {"certshelf-check.example.com": WILDCARD}) as port:
        assert seen(at(port, HostName.parse("*.example.com"))).sha256 == WILDCARD.sha256


def test_an_internationalised_name_goes_out_as_a_labels(tmp_path: Path) -> None:
    books = bundle("xn--bcher-kva.example.com", number=3)
    with tls_server(DEFAULT, tmp_path, {"xn--bcher-kva.example.com": books}) as port:
        assert seen(at(port, HostName.parse("bücher.example.com"))).sha256 == books.sha256


def test_an_expired_and_untrusted_certificate_is_seen_not_refused(tmp_path: Path) -> None:
    with tls_server(GOOD, tmp_path) as port:
        shown = seen(at(port))
    assert shown.not_after == GOOD.not_after
    assert shown.failure is None


def test_an_alert_is_a_refusal(tmp_path: Path) -> None:
    with tls_server(DEFAULT, tmp_path, {"www.example.com": None}) as port:
        assert seen(at(port)).failure is Failure.ALERT


def test_a_server_that_demands_a_client_certificate_is_named_so_or_seen(tmp_path: Path) -> None:
    def demand(context: ssl.SSLContext) -> None:
        context.verify_mode = ssl.CERT_REQUIRED
        context.maximum_version = ssl.TLSVersion.TLSv1_2

    with tls_server(GOOD, tmp_path, adjust=demand) as port:
        assert seen(at(port)).failure in (Failure.CLIENT_CERTIFICATE, Failure.ALERT)


def test_a_closed_port(unused_port: int) -> None:
    assert seen(at(unused_port)).failure is Failure.PORT_CLOSED


def test_an_unknown_address() -> None:
    where = replace(at(443), host="nowhere.invalid")
    assert seen(where).failure is Failure.NAME_UNKNOWN


def _hang_up(connection: socket.socket) -> None:
    connection.recv(10)


def _speak_http(connection: socket.socket) -> None:
    connection.recv(10)
    connection.sendall(b"HTTP/1.1 400 Bad Request\r\n\r\n")


def _say_nothing(connection: socket.socket) -> None:
    while connection.recv(1000):
        pass


@pytest.mark.parametrize(
    ("serve", "failure"),
    [
        (_hang_up, Failure.CLOSED),
        (_speak_http, Failure.NOT_TLS),
        (_say_nothing, Failure.TIMEOUT),
    ],
)
def test_what_is_no_tls_server_is_told_apart(
    serve: Callable[[socket.socket], None], failure: Failure
) -> None:
    with raw_server(serve) as port:
        assert seen(at(port), timeout=0.5).failure is failure


# --- STARTTLS


def _smtp(connection: socket.socket) -> None:
    connection.sendall(b"220-mail\r\n220 ready\r\n")
    assert connection.recv(100).startswith(b"EHLO")
    connection.sendall(b"250-mail\r\n250-START")
    connection.sendall(b"TLS\r\n250 OK\r\n")
    assert connection.recv(100) == b"STARTTLS\r\n"
    connection.sendall(b"220 go\r\n")


def _imap(connection: socket.socket) -> None:
    connection.sendall(b"* OK ready\r\n")
    assert connection.recv(100) == b"a1 STARTTLS\r\n"
    connection.sendall(b"* CAPABILITY x\r\na1 OK begin\r\n")


def _ldap(connection: socket.socket) -> None:
    assert b"1.3.6.1.4.1.1466.20037" in connection.recv(100)
    connection.sendall(bytes.fromhex("300c02010178070a010004000400"))


def _active_directory(connection: socket.socket) -> None:
    """Lengths in the long form, in two packets, and the name of the extension at the end."""
    connection.recv(100)
    answer = bytes.fromhex("30840000002802010178840000001f0a010004000400") + b"\x8a\x16"
    connection.sendall(answer[:4])
    connection.sendall(answer[4:] + b"1.3.6.1.4.1.1466.20037")


def _rdp(connection: socket.socket) -> None:
    asked = connection.recv(100)
    assert (asked[3], asked[5], asked[11]) == (len(asked), 0xE0, 1)
    connection.sendall(bytes.fromhex("030000130ed000001234000209080002000000"))


PRELUDES: dict[str, tuple[str, Prelude]] = {
    "smtp": ("smtp", _smtp),
    "imap": ("imap", _imap),
    "ldap": ("ldap", _ldap),
    "ldap of Active Directory": ("ldap", _active_directory),
    "rdp": ("rdp", _rdp),
}


@pytest.mark.parametrize("peer", PRELUDES)
def test_starttls(peer: str, tmp_path: Path) -> None:
    protocol, prelude = PRELUDES[peer]
    with tls_server(GOOD, tmp_path, prelude=prelude) as port:
        assert seen(at(port, WWW, protocol)).sha256 == GOOD.sha256


REFUSALS: dict[str, tuple[bytes, ...]] = {
    "smtp": (b"220 hi\r\n", b"250 hi\r\n", b"454 not now\r\n"),
    "imap": (b"* BYE full\r\n",),
    "ldap": (bytes.fromhex("300c02010178070a010204000400"),),
    "rdp": (bytes.fromhex("030000130ed000001234000300080005000000"),),
}


@pytest.mark.parametrize("protocol", REFUSALS)
def test_starttls_that_is_refused(protocol: str) -> None:
    def serve(connection: socket.socket) -> None:
        if protocol in ("ldap", "rdp"):
            connection.recv(100)
        for line in REFUSALS[protocol]:
            connection.sendall(line)
            connection.recv(100)

    with raw_server(serve) as port:
        assert seen(at(port, WWW, protocol)).failure is Failure.STARTTLS


def test_starttls_by_port() -> None:
    ports = {25: "smtp", 587: "smtp", 143: "imap", 389: "ldap", 3389: "rdp", 443: "", 993: ""}
    for port, protocol in ports.items():
        member = Member("m", Kind.OTHER, "192.0.2.1", port)
        assert target(member, WWW).starttls == protocol


# --- many at once


@pytest.mark.slow
def test_many_targets_at_once_each_seen_once(tmp_path: Path) -> None:
    names = [HostName.parse(f"h{number}.example.com") for number in range(120)]
    with tls_server(WILDCARD, tmp_path) as port, raw_server(_say_nothing) as dead:
        members = [
            Member("good", Kind.NGINX, "127.0.0.1", port),
            Member("dead", Kind.NGINX, "127.0.0.1", dead),
            Member("declared only", Kind.NGINX),
        ]

        async def run() -> list[Seen]:
            wanted = targets(members, names)
            return [one async for one in ask_all(wanted, at_once=150, timeout_seconds=2)]

        shown = asyncio.run(run())
    assert len(shown) == 240
    assert {s.target for s in shown} == set(targets(members, names))
    good = [s for s in shown if s.target.member == "good"]
    assert {s.sha256 for s in good} == {WILDCARD.sha256}
    assert {s.failure for s in shown if s.target.member == "dead"} == {Failure.TIMEOUT}


def test_a_replaced_certificate_goes_from_old_to_current(tmp_path: Path) -> None:
    new = bundle("www.example.com", number=4, not_before=INSIDE)
    expected = Expected("www.example.com.pfx", new.sha256, new.not_before, new.not_after, None)
    with tls_server(GOOD, tmp_path) as port:
        assert judge(seen(at(port)), expected, INSIDE).verdict is Verdict.OLD
    with tls_server(new, tmp_path) as port:
        assert judge(seen(at(port)), expected, INSIDE).verdict is Verdict.CURRENT


@pytest.fixture
def unused_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port
