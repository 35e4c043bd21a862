"""What the pipeline asks of an issuer, one durable step at a time; and the local CA's answers."""

from __future__ import annotations

from typing import Any, Protocol

from cryptography import x509
from cryptography.hazmat.primitives.asymmetric import ec, rsa

from certshelf.errors import IssueError
from certshelf.issue.local_ca import LocalCa
from certshelf.manage.model import ManagedCertificate, OrderRecord
from certshelf.names import HostName

Changes = dict[str, Any]
"""Fields of the order's record that a step changed; a `step` in it says where to go on instead."""


class Signer(Protocol):
    """An issuer in steps. Each looks before it acts, so each may be repeated after a kill."""

    async def order(self, order: OrderRecord, certificate: ManagedCertificate) -> Changes:
        """Open an order at the CA, or find the one that is open: `order_url`, `expires`."""
        ...

    async def authorize(self, order: OrderRecord, certificate: ManagedCertificate) -> Changes:
        """Prove every name."""
        ...

    async def finalize(self, order: OrderRecord, csr: bytes) -> Changes:
        """Send the CSR (DER). The key is sealed in the order's record already."""
        ...

    async def download(
        self, order: OrderRecord, certificate: ManagedCertificate, csr: bytes
    ) -> tuple[x509.Certificate, ...] | None:
        """The leaf and its intermediates; None when the CA has not finalised it: do that first."""
        ...


class LocalSigner:
    """The local CA as a Signer: only the last step does anything."""

    def __init__(self, authority: LocalCa, lifetime_days: float | None = None) -> None:
        self._authority = authority
        self._lifetime_days = lifetime_days

    async def order(self, order: OrderRecord, certificate: ManagedCertificate) -> Changes:
        """See Signer."""
        return {"order_url": "local:"}

    async def authorize(self, order: OrderRecord, certificate: ManagedCertificate) -> Changes:
        """See Signer."""
        return {}

    async def finalize(self, order: OrderRecord, csr: bytes) -> Changes:
        """See Signer."""
        return {}

    async def download(
        self, order: OrderRecord, certificate: ManagedCertificate, csr: bytes
    ) -> tuple[x509.Certificate, ...]:
        """See Signer. Repeated after a kill it signs another leaf: nobody has seen the first."""
        request = x509.load_der_x509_csr(csr)
        key = request.public_key()
        if not isinstance(key, (rsa.RSAPublicKey, ec.EllipticCurvePublicKey)):
            raise IssueError("the local CA signs RSA and ECDSA keys only")
        san = request.extensions.get_extension_for_class(x509.SubjectAlternativeName)
        names = map(HostName.parse, san.value.get_values_for_type(x509.DNSName))
        addresses = map(str, san.value.get_values_for_type(x509.IPAddress))
        return self._authority.sign(names, key, self._lifetime_days, addresses=addresses)
