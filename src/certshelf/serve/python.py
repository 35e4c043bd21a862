"""Python servers: an ssl.SSLContext that takes each host's certificate from the shelf.

    context = server_context(open_shelf("file:///srv/shelf", password=...))

Usable wherever an SSLContext is: asyncio, uvicorn, hypercorn, aiohttp, http.server. A replaced PFX
is served at the next full handshake; a resumed session shows the certificate that it began with,
so tickets=False is there for those who cannot have that.
"""

from __future__ import annotations

import contextlib
import os
import secrets
import ssl
import tempfile
import threading
import weakref
from collections.abc import Callable, Iterator
from pathlib import Path

from cryptography.hazmat.primitives import serialization as ser

from certshelf.bundle.model import Bundle
from certshelf.resolve.loading import Served
from certshelf.resolve.resolver import Resolver
from certshelf.shelf.shelf import Shelf

Configure = Callable[[ssl.SSLContext], None]

_MAX_CONTEXTS = 50_000


def server_context(
    shelf: Shelf | Resolver,
    *,
    configure: Configure = lambda context: None,
    tickets: bool = True,
    default: bool = False,
) -> ssl.SSLContext:
    """A server's SSLContext that answers each SNI from the shelf.

    shelf: as open_shelf() gives it, or a started Resolver that several contexts share.
    configure: called with the returned context and with every per-host context (ALPN, client
    certificates, minimum version, ciphers): settings made on the returned context alone are lost
    when the handshake switches to the host's.
    tickets: False ends session resumption, so that every connection shows the newest certificate.
    default: True lets a client without SNI, or with a name that the shelf does not have, get the
    certificate that the caller loads into the returned context with load_cert_chain(); otherwise
    it gets the alert unrecognized_name (RFC 6066 section 3).
    """
    resolver = shelf if isinstance(shelf, Resolver) else Resolver(shelf).start()
    contexts = _Contexts(configure, tickets)
    unknown = None if default else ssl.ALERT_DESCRIPTION_UNRECOGNIZED_NAME

    def switch(connection: ssl.SSLObject, sni: str | None, _: ssl.SSLContext) -> int | None:
        served = resolver.find(sni) if sni else None
        if served is None:
            return unknown
        try:
            connection.context = contexts.of(served)
        except (ssl.SSLError, OSError, ValueError):
            resolver.surprised()
            return ssl.ALERT_DESCRIPTION_INTERNAL_ERROR
        return None

    base = contexts.new()
    base.sni_callback = switch
    if not isinstance(shelf, Resolver):
        weakref.finalize(base, resolver.close)
    return base


class _Contexts:
    """One SSLContext for each file that was asked for, made anew when its bundle is another."""

    def __init__(self, configure: Configure, tickets: bool) -> None:
        self._configure = configure
        self._tickets = tickets
        self._made: dict[str, tuple[Served, ssl.SSLContext]] = {}
        self._lock = threading.Lock()

    def of(self, served: Served) -> ssl.SSLContext:
        """The context that serves this bundle."""
        made = self._made.get(served.file)
        if made is not None and made[0] is served:
            return made[1]
        context = self.new()
        load_bundle(context, served.bundle)
        with self._lock:
            if len(self._made) >= _MAX_CONTEXTS:
                self._made.pop(next(iter(self._made)))
            self._made[served.file] = (served, context)
        return context

    def new(self) -> ssl.SSLContext:
        """A server context with the caller's settings and no certificate."""
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.minimum_version = ssl.TLSVersion.TLSv1_2
        if not self._tickets:
            context.options |= ssl.OP_NO_TICKET
            context.num_tickets = 0
        self._configure(context)
        return context


def load_bundle(context: ssl.SSLContext, bundle: Bundle) -> None:
    """Load key and chain into a context; the key is never in clear on a real disk.

    Linux: an anonymous memory file. Elsewhere: a temp file of 0600 whose key is encrypted under a
    one-time password, removed at once. The ssl module reads keys from files only.
    """
    if hasattr(os, "memfd_create"):
        with _memory_file(bundle.to_pem()) as path:
            context.load_cert_chain(path)
        return
    password = secrets.token_urlsafe(32)
    with _temp_file(_encrypted_pem(bundle, password)) as path:
        context.load_cert_chain(path, password=password)


@contextlib.contextmanager
def _memory_file(data: bytes) -> Iterator[str]:
    descriptor = os.memfd_create("certshelf", os.MFD_CLOEXEC)
    try:
        with os.fdopen(os.dup(descriptor), "wb") as file:
            file.write(data)
        yield f"/proc/self/fd/{descriptor}"
    finally:
        os.close(descriptor)


@contextlib.contextmanager
def _temp_file(data: bytes) -> Iterator[str]:
    descriptor, path = tempfile.mkstemp(prefix="certshelf-", suffix=".pem")  # 0600 on POSIX
    try:
        with os.fdopen(descriptor, "wb") as file:
            file.write(data)
        yield path
    finally:
        Path(path).unlink(missing_ok=True)


def _encrypted_pem(bundle: Bundle, password: str) -> bytes:
    key = bundle.key.private_bytes(
        ser.Encoding.PEM,
        ser.PrivateFormat.PKCS8,
        ser.BestAvailableEncryption(password.encode()),
    )
    certificates = (bundle.leaf, *bundle.chain)
    return key + b"".join(c.public_bytes(ser.Encoding.PEM) for c in certificates)
