"""What answers a challenge: the value that solvers present and responders serve."""

from __future__ import annotations

import base64
import hashlib
import re
from dataclasses import dataclass

HTTP01_PREFIX = "/.well-known/acme-challenge/"
# RFC 8555 section 8.1: base64url of at least 128 bits; 128 characters bound what is echoed.
TOKEN = re.compile(r"[A-Za-z0-9_-]{20,128}", re.ASCII)


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


def stateless_answer(path: str, thumbprint: str) -> str | None:
    """What any server may answer to an http-01 request for this path; None for "not found".

    The answer is TOKEN.THUMBPRINT (RFC 8555 section 8.1): the account's thumbprint is public and
    constant, so no state is needed. Only a well-formed token is ever echoed. To be sent as
    text/plain with `X-Content-Type-Options: nosniff`.
    """
    token = path.removeprefix(HTTP01_PREFIX)
    if token == path or not TOKEN.fullmatch(token):
        return None
    return f"{token}.{thumbprint}"
