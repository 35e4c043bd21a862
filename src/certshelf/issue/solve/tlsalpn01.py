"""tls-alpn-01: a throw-away certificate shown to the CA's own handshake (RFC 8737)."""

from __future__ import annotations

import asyncio
import contextlib
import ipaddress
import ssl
import tempfile
from datetime import timedelta
from pathlib import Path

from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat
from cryptography.x509.oid import NameOID

from certshelf.challenge import Challenge
from certshelf.clock import SYSTEM, Clock
from certshelf.errors import ConfigError
from certshelf.issue.acme.identifiers import Identifier

PROTOCOL = "acme-tls/1"
ACME_IDENTIFIER = x509.ObjectIdentifier("1.3.6.1.5.5.7.1.31")
_HANDSHAKE_S = 10.0
_CLOSE_S = 1.0


class TlsAlpn01Responder:
    """Answers tls-alpn-01 on a port of its own, for any number of orders.

    Use it as an async context manager. It speaks nothing but acme-tls/1: port 443 must be free
    or a proxy must send that protocol here.
    """

    type = "tls-alpn-01"

    def __init__(self, host: str = "", port: int = 443, *, clock: Clock = SYSTEM) -> None:
        self._host = host
        self._port = port
        self._clock = clock
        self._contexts: dict[str, ssl.SSLContext] = {}
        self._server: asyncio.Server | None = None

    @property
    def port(self) -> int:
        """The port that it listens on; the chosen one when it was asked for any (0)."""
        if self._server and self._server.sockets:
            return int(self._server.sockets[0].getsockname()[1])
        return self._port

    async def __aenter__(self) -> TlsAlpn01Responder:
        context = _context()
        context.sni_callback = self._choose
        try:
            self._server = await asyncio.start_server(
                _hang_up,
                self._host or None,
                self._port,
                ssl=context,
                ssl_handshake_timeout=_HANDSHAKE_S,
            )
        except OSError as error:
            raise ConfigError(
                f"tls-alpn-01 cannot listen on {self._host or '*'}:{self._port}: {error.strerror}",
                hint="stop what listens there, or use http-01 or a DNS challenge",
            ) from error
        return self

    async def __aexit__(self, *error: object) -> None:
        server, self._server = self._server, None
        if server is not None:
            server.close()
            # since Python 3.12 it waits for connections, too; a hung handshake ends by itself
            with contextlib.suppress(TimeoutError):
                await asyncio.wait_for(server.wait_closed(), _CLOSE_S)

    async def present(self, challenge: Challenge) -> None:
        """See Solver."""
        context = await asyncio.to_thread(server_context, challenge, self._clock)
        self._contexts[server_name(challenge.domain)] = context

    async def wait(self, challenge: Challenge) -> None:
        """See Solver: the answer is there as soon as it is presented."""

    async def clean_up(self, challenge: Challenge) -> None:
        """See Solver."""
        self._contexts.pop(server_name(challenge.domain), None)

    def _choose(
        self, connection: ssl.SSLObject, name: str | None, context: ssl.SSLContext
    ) -> int | None:
        found = self._contexts.get((name or "").lower())
        if found is None:
            return ssl.ALERT_DESCRIPTION_UNRECOGNIZED_NAME
        connection.context = found
        return None


def server_name(domain: str) -> str:
    """The SNI that the CA sends: the name, or an address's reverse name (RFC 8738 section 6)."""
    try:
        return ipaddress.ip_address(domain).reverse_pointer
    except ValueError:
        return domain


def certificate(
    challenge: Challenge, clock: Clock = SYSTEM
) -> tuple[ec.EllipticCurvePrivateKey, x509.Certificate]:
    """A new key and the self-signed certificate that answers the challenge (RFC 8737 section 3).

    Its only name is the domain; the critical acmeIdentifier extension holds the digest.
    """
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "acme challenge")])
    now = clock.now()
    octets = b"\x04\x20" + challenge.alpn_digest  # DER: an OCTET STRING of 32 bytes
    san = Identifier.parse(challenge.domain).as_san()
    return key, (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - timedelta(hours=1))
        .not_valid_after(now + timedelta(days=7))
        .add_extension(x509.SubjectAlternativeName([san]), critical=False)
        .add_extension(x509.UnrecognizedExtension(ACME_IDENTIFIER, octets), critical=True)
        .sign(key, hashes.SHA256())
    )


def server_context(challenge: Challenge, clock: Clock = SYSTEM) -> ssl.SSLContext:
    """A server's TLS context that answers this challenge and speaks acme-tls/1 only."""
    key, leaf = certificate(challenge, clock)
    pem = leaf.public_bytes(Encoding.PEM) + key.private_bytes(
        Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()
    )
    context = _context()
    # ssl reads from files only; the key is thrown away with the challenge and opens nothing
    with tempfile.TemporaryDirectory(prefix="certshelf-alpn-") as folder:
        path = Path(folder) / "challenge.pem"
        path.write_bytes(pem)
        context.load_cert_chain(path)
    return context


def _context() -> ssl.SSLContext:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    context.set_alpn_protocols([PROTOCOL])
    return context


async def _hang_up(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    """The CA has seen the certificate in the handshake: there is nothing to say."""
    writer.close()
