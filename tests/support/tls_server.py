"""A small TLS server in threads: a certificate by SNI, an optional clear-text prelude."""

from __future__ import annotations

import contextlib
import socket
import ssl
import threading
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path

from certshelf.bundle.model import Bundle

Prelude = Callable[[socket.socket], None]


def server_context(bundle: Bundle, folder: Path) -> ssl.SSLContext:
    """A server's context for a bundle; its PEM file lies in folder for a moment."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    file = folder / f"{bundle.sha256}.pem"
    file.write_bytes(bundle.to_pem())
    context.load_cert_chain(file)
    file.unlink()
    return context


@contextlib.contextmanager
def tls_server(
    default: Bundle,
    folder: Path,
    by_name: Mapping[str, Bundle | None] | None = None,
    prelude: Prelude | None = None,
    adjust: Callable[[ssl.SSLContext], None] = lambda context: None,
) -> Iterator[int]:
    """Serve on a free loopback port until the block ends; yields the port.

    by_name: the certificate for a name; None refuses it with an alert.
    """
    context = server_context(default, folder)
    adjust(context)
    others = {n: b and server_context(b, folder) for n, b in (by_name or {}).items()}

    def choose(connection: ssl.SSLObject, name: str | None, _: ssl.SSLContext) -> int | None:
        if name in others:
            other = others[name]
            if other is None:
                return ssl.ALERT_DESCRIPTION_UNRECOGNIZED_NAME
            connection.context = other
        return None

    context.sni_callback = choose  # type: ignore[assignment]

    def serve(connection: socket.socket) -> None:
        if prelude is not None:
            prelude(connection)
        with context.wrap_socket(connection, server_side=True) as tls:
            tls.recv(1)

    with raw_server(serve) as port:
        yield port


@contextlib.contextmanager
def raw_server(serve: Callable[[socket.socket], None]) -> Iterator[int]:
    """Answer each connection by serve in a thread; yields the port."""
    listener = socket.create_server(("127.0.0.1", 0), backlog=512)
    stopping = threading.Event()

    def one(connection: socket.socket) -> None:
        with connection, contextlib.suppress(OSError):
            connection.settimeout(10)
            serve(connection)

    def accept() -> None:
        while not stopping.is_set():
            try:
                connection, _ = listener.accept()
            except OSError:
                return
            threading.Thread(target=one, args=(connection,), daemon=True).start()

    thread = threading.Thread(target=accept, daemon=True)
    thread.start()
    try:
        yield listener.getsockname()[1]
    finally:
        stopping.set()
        with contextlib.suppress(OSError):
            listener.shutdown(socket.SHUT_RDWR)
        listener.close()
        thread.join(5)
