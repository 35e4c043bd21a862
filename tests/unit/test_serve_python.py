"""The SSLContext that reads the shelf, over real TLS in one process."""

from __future__ import annotations

import hashlib
import socket
import ssl
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from cryptography.hazmat.primitives.serialization import Encoding
from tests.support.bundles import CA, make_bundle

from certshelf.bundle.keys import generate
from certshelf.bundle.model import Bundle
from certshelf.resolve.resolver import Resolver
from certshelf.secret import generate_password
from certshelf.serve import python as serve
from certshelf.serve.python import server_context
from certshelf.shelf.shelf import Shelf
from certshelf.store.folder import FolderStore
from certshelf.store.memory import MemoryStore

PASSWORD = generate_password()


@contextmanager
def a_server(context: ssl.SSLContext) -> Iterator[int]:
    """A TLS echo server on a free port; yields the port."""
    listener = socket.create_server(("127.0.0.1", 0))

    def answer(raw: socket.socket) -> None:
        try:
            with context.wrap_socket(raw, server_side=True) as connection:
                while data := connection.recv(100):
                    connection.sendall(data)
        except (ssl.SSLError, OSError):
            raw.close()

    def accept() -> None:
        while True:
            try:
                raw, _ = listener.accept()
            except OSError:
                return
            threading.Thread(target=answer, args=(raw,), daemon=True).start()

    thread = threading.Thread(target=accept, daemon=True)
    thread.start()
    try:
        yield listener.getsockname()[1]
    finally:
        listener.shutdown(socket.SHUT_RDWR)
        listener.close()
        thread.join(5)


def client_context() -> ssl.SSLContext:
    return ssl.create_default_context(cadata=CA.public_bytes(Encoding.PEM).decode())


def connect(port: int, sni: str, context: ssl.SSLContext | None = None) -> ssl.SSLSocket:
    raw = socket.create_connection(("127.0.0.1", port), timeout=10)
    try:
        return (context or client_context()).wrap_socket(raw, server_hostname=sni)
    except BaseException:
        raw.close()
        raise


def served(port: int, sni: str) -> str:
    with connect(port, sni) as connection:
        return hashlib.sha256(connection.getpeercert(binary_form=True) or b"").hexdigest()


@pytest.fixture
def shelf(tmp_path: Path) -> Shelf:
    return Shelf(FolderStore(tmp_path), PASSWORD, owner="manager")


@pytest.mark.parametrize("key_type", ["ecdsa-p256", "ecdsa-p384", "rsa-2048"])
def test_each_name_is_served_with_each_key_type(shelf: Shelf, key_type: str) -> None:
    bundle = make_bundle("www.a.test", "*.b.test", "bücher.test", key=generate(key_type))
    shelf.publish(bundle)
    with a_server(server_context(shelf)) as port:
        for sni in ("www.a.test", "x.b.test", "xn--bcher-kva.test"):
            assert served(port, sni) == bundle.sha256


def test_a_renewed_certificate_is_served_next_and_the_open_connection_lives(shelf: Shelf) -> None:
    old, new = make_bundle("a.test"), make_bundle("a.test")
    shelf.publish(old)
    with a_server(server_context(shelf)) as port, connect(port, "a.test") as kept:
        assert served(port, "a.test") == old.sha256
        shelf.publish(new)
        assert served(port, "a.test") == new.sha256
        kept.sendall(b"still there")
        assert kept.recv(100) == b"still there"


def test_a_name_published_later_is_served(shelf: Shelf) -> None:
    with a_server(server_context(shelf)) as port:
        bundle = make_bundle("late.test")
        shelf.publish(bundle)
        assert served(port, "late.test") == bundle.sha256


def test_an_unknown_name_ends_in_an_alert(shelf: Shelf) -> None:
    with (
        a_server(server_context(shelf)) as port,
        pytest.raises(ssl.SSLError, match=r"(?i)unrecognized.name"),
    ):
        connect(port, "unknown.test")


def test_default_serves_the_contexts_own_certificate(shelf: Shelf) -> None:
    own = make_bundle("own.test")
    context = server_context(shelf, default=True)
    serve.load_bundle(context, own)
    with a_server(context) as port:
        assert served(port, "own.test") == own.sha256


def test_configure_reaches_every_context(shelf: Shelf) -> None:
    def configure(context: ssl.SSLContext) -> None:
        context.set_alpn_protocols(["h2"])
        context.minimum_version = ssl.TLSVersion.TLSv1_3

    shelf.publish(make_bundle("a.test"))
    with a_server(server_context(shelf, configure=configure)) as port:
        context = client_context()
        context.set_alpn_protocols(["h2", "http/1.1"])
        with connect(port, "a.test", context) as connection:
            assert connection.selected_alpn_protocol() == "h2"
            assert connection.version() == "TLSv1.3"
        old = client_context()
        old.maximum_version = ssl.TLSVersion.TLSv1_2
        with pytest.raises(ssl.SSLError):
            connect(port, "a.test", old)


def test_without_tickets_no_session_is_resumed(shelf: Shelf) -> None:
    shelf.publish(make_bundle("a.test"))
    context = client_context()
    context.maximum_version = ssl.TLSVersion.TLSv1_2
    with a_server(server_context(shelf, tickets=False)) as port:
        with connect(port, "a.test", context) as first:
            session = first.session
        raw = socket.create_connection(("127.0.0.1", port), timeout=10)
        with context.wrap_socket(raw, server_hostname="a.test", session=session) as second:
            assert not second.session_reused


@pytest.mark.parametrize("has_memfd", [True, False])
def test_no_key_is_left_on_disk(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, has_memfd: bool
) -> None:
    if not has_memfd:
        monkeypatch.delattr(serve.os, "memfd_create", raising=False)
    monkeypatch.setattr(serve.tempfile, "tempdir", str(tmp_path))
    written: list[bytes] = []
    real = ssl.SSLContext.load_cert_chain

    def spy(self, path, **more):  # type: ignore[no-untyped-def]
        written.append(Path(path).read_bytes())
        return real(self, path, **more)

    monkeypatch.setattr(ssl.SSLContext, "load_cert_chain", spy)
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    bundle: Bundle = make_bundle("a.test")
    serve.load_bundle(context, bundle)
    assert list(tmp_path.iterdir()) == []
    assert (b"ENCRYPTED" in written[0]) is not has_memfd
    if hasattr(serve.os, "memfd_create") or not has_memfd:
        assert bundle.leaf.public_bytes(Encoding.PEM) in written[0]


def test_a_memory_store_serves_too() -> None:
    shelf = Shelf(MemoryStore(), PASSWORD, owner="manager")
    bundle = make_bundle("a.test")
    shelf.publish(bundle)
    with a_server(server_context(shelf)) as port:
        assert served(port, "a.test") == bundle.sha256


def test_a_bundle_that_openssl_refuses_ends_in_an_alert_and_is_counted(shelf: Shelf) -> None:
    shelf.publish(make_bundle("a.test"))
    calls: list[ssl.SSLContext] = []

    def configure(context: ssl.SSLContext) -> None:
        calls.append(context)
        if len(calls) > 1:  # the base context is made first
            context.set_ciphers("NONSENSE")

    resolver = Resolver(shelf)
    with a_server(server_context(resolver, configure=configure)) as port:
        with pytest.raises(ssl.SSLError, match=r"INTERNAL_ERROR|internal error"):
            connect(port, "a.test")
        assert resolver.state().surprises == 1
