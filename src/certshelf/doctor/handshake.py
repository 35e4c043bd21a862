"""Asking members what they serve: many TLS handshakes at once, each with its own deadline.

Nothing is verified here: the certificate is what is asked for, whoever signed it. No session is
resumed, since a resumed one shows the certificate that it was made with.
"""

from __future__ import annotations

import asyncio
import hashlib
import socket
import ssl
from collections.abc import AsyncIterator, Iterable

from cryptography import x509

from certshelf.doctor import starttls
from certshelf.doctor.served import Failure, Seen, Target
from certshelf.errors import NameInvalid
from certshelf.names import HostName

AT_ONCE = 200
TIMEOUT_SECONDS = 5.0
_CHUNK = 16 * 1024

Address = tuple[int, tuple[str, int] | tuple[str, int, int, int]]


async def ask_all(
    targets: Iterable[Target],
    *,
    at_once: int = AT_ONCE,
    timeout_seconds: float = TIMEOUT_SECONDS,
) -> AsyncIterator[Seen]:
    """What every target shows, as it comes in; at_once handshakes are under way at any time.

    Ends when each was asked once. A target that fails is a Seen with a failure, never an error.
    """
    asker = _Asker(timeout_seconds)
    waiting = iter(targets)
    results: asyncio.Queue[Seen | None] = asyncio.Queue(at_once)

    async def work() -> None:
        try:
            for target in waiting:
                await results.put(await asker.ask(target))
        finally:
            await results.put(None)

    workers = [asyncio.create_task(work()) for _ in range(at_once)]
    try:
        busy = at_once
        while busy:
            seen = await results.get()
            if seen is None:
                busy -= 1
            else:
                yield seen
        await asyncio.gather(*workers)
    finally:
        for worker in workers:
            worker.cancel()


async def ask(target: Target, timeout_seconds: float = TIMEOUT_SECONDS) -> Seen:
    """What one target shows."""
    return await _Asker(timeout_seconds).ask(target)


class _Asker:
    """One TLS configuration and one look-up of each address for all handshakes."""

    def __init__(self, timeout_seconds: float) -> None:
        self.timeout_seconds = timeout_seconds
        self.context = _context()
        self.addresses: dict[tuple[str, int], asyncio.Future[Address]] = {}

    async def ask(self, target: Target) -> Seen:
        try:
            async with asyncio.timeout(self.timeout_seconds):
                der = await self._certificate(target)
        except TimeoutError:
            return Seen(target, failure=Failure.TIMEOUT)
        except socket.gaierror as error:
            return Seen(target, failure=Failure.NAME_UNKNOWN, detail=str(error.strerror))
        except starttls.Refused as error:
            return Seen(target, failure=Failure.STARTTLS, detail=str(error))
        except ssl.SSLError as error:
            return Seen(target, failure=_failure(error), detail=error.reason or "")
        except (ConnectionRefusedError, PermissionError) as error:
            return Seen(target, failure=Failure.PORT_CLOSED, detail=error.strerror or "")
        except (OSError, EOFError) as error:
            return Seen(target, failure=Failure.CLOSED, detail=str(error))
        return _seen(target, der)

    async def _certificate(self, target: Target) -> bytes:
        family, address = await self._address(target.host, target.port)
        with socket.socket(family, socket.SOCK_STREAM) as connection:
            connection.setblocking(False)
            loop = asyncio.get_running_loop()
            await loop.sock_connect(connection, address)
            wire = _Wire(connection, loop)
            if target.starttls:
                await starttls.begin(target.starttls, wire)
            return await _handshake(self.context, wire, target.sni)

    async def _address(self, host: str, port: int) -> Address:
        """Looked up once; whoever comes meanwhile waits for the same answer."""
        known = self.addresses.get((host, port))
        if known is None:
            known = asyncio.ensure_future(_look_up(host, port))
            self.addresses[host, port] = known
        return await asyncio.shield(known)


class _Wire:
    """A socket without blocking, as starttls.Wire."""

    def __init__(self, connection: socket.socket, loop: asyncio.AbstractEventLoop) -> None:
        self.connection, self.loop = connection, loop

    async def send(self, data: bytes) -> None:
        await self.loop.sock_sendall(self.connection, data)

    async def receive(self) -> bytes:
        return await self.loop.sock_recv(self.connection, _CHUNK)


async def _look_up(host: str, port: int) -> Address:
    loop = asyncio.get_running_loop()
    found = await loop.getaddrinfo(host.strip("[]"), port, type=socket.SOCK_STREAM)
    family, _, _, _, address = found[0]
    return family, address  # type: ignore[return-value]  # typeshed has it wider than it is


def _context() -> ssl.SSLContext:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname = False
    context.verify_mode = ssl.CERT_NONE
    # A weak key or an old signature is to be seen, not refused.
    context.set_ciphers("ALL:@SECLEVEL=0")
    return context


async def _handshake(context: ssl.SSLContext, wire: _Wire, sni: str) -> bytes:
    """The peer's leaf in DER. Raises ssl.SSLError, or EOFError when it hangs up."""
    incoming, outgoing = ssl.MemoryBIO(), ssl.MemoryBIO()
    tls = context.wrap_bio(incoming, outgoing, server_hostname=sni or None)
    while True:
        try:
            tls.do_handshake()
        except ssl.SSLWantReadError:
            await _flush(wire, outgoing)
            data = await wire.receive()
            if not data:
                raise EOFError("closed in the middle of the handshake") from None
            incoming.write(data)
            continue
        # Our last message goes out too, so that the server's log shows no broken handshake.
        await _flush(wire, outgoing)
        return tls.getpeercert(binary_form=True) or b""


async def _flush(wire: _Wire, outgoing: ssl.MemoryBIO) -> None:
    data = outgoing.read()
    if data:
        await wire.send(data)


def _failure(error: ssl.SSLError) -> Failure:
    reason = error.reason or ""
    if reason in ("WRONG_VERSION_NUMBER", "HTTP_REQUEST", "RECORD_LAYER_FAILURE"):
        return Failure.NOT_TLS
    if reason in ("UNSUPPORTED_PROTOCOL", "TLSV1_ALERT_PROTOCOL_VERSION"):
        return Failure.PROTOCOL
    if "CERTIFICATE_REQUIRED" in reason or "PEER_DID_NOT_RETURN" in reason:
        return Failure.CLIENT_CERTIFICATE
    return Failure.ALERT


def _seen(target: Target, der: bytes) -> Seen:
    try:
        certificate = x509.load_der_x509_certificate(der)
        return Seen(
            target=target,
            sha256=hashlib.sha256(der).hexdigest(),
            names=_names(certificate),
            issuer=certificate.issuer.rfc4514_string(),
            not_before=certificate.not_valid_before_utc,
            not_after=certificate.not_valid_after_utc,
        )
    except ValueError as error:
        return Seen(target, failure=Failure.ALERT, detail=f"no certificate we can read: {error}")


def _names(certificate: x509.Certificate) -> tuple[HostName, ...]:
    try:
        san = certificate.extensions.get_extension_for_class(x509.SubjectAlternativeName)
    except x509.ExtensionNotFound:
        return ()
    names = []
    for text in san.value.get_values_for_type(x509.DNSName):
        try:
            names.append(HostName.parse(text))
        except NameInvalid:
            continue
    return tuple(names)
