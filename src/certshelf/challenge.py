"""What answers a challenge: the value that solvers present and responders serve."""

from __future__ import annotations

import base64
import hashlib
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Challenge:
    """One challenge to answer (RFC 8555 section 8).

    type: "http-01", "dns-01", "tls-alpn-01", "dns-persist-01". domain: the A-label name without
    `*.`. key_authorization: TOKEN.THUMBPRINT, public by design.
    """

    type: str
    domain: str
    token: str
    key_authorization: str

    @property
    def dns_value(self) -> str:
        """The TXT value of dns-01 (RFC 8555 section 8.4): base64url of the SHA-256."""
        digest = hashlib.sha256(self.key_authorization.encode()).digest()
        return base64.urlsafe_b64encode(digest).rstrip(b"=").decode()

    @property
    def alpn_digest(self) -> bytes:
        """The 32 bytes of tls-alpn-01's acmeIdentifier extension (RFC 8737 section 3)."""
        return hashlib.sha256(self.key_authorization.encode()).digest()
