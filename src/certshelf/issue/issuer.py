"""What an issuer is asked and what it gives: a request becomes a bundle.

Revoking and renewal information are abilities of their own: an issuer that cannot do them does
not have the method.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime
from typing import Protocol, runtime_checkable

from cryptography import x509

from certshelf.bundle.model import Bundle
from certshelf.names import HostName

Progress = Callable[[str], None]


@dataclass(frozen=True, slots=True)
class IssueRequest:
    """What to issue.

    names: the leaf's SANs, the first also as its common name where it fits. key_type: one of
    bundle.keys.KEY_TYPES. lifetime_days: None leaves it to the issuer. previous: the bundle that
    this one replaces, if any.
    """

    names: tuple[HostName, ...]
    key_type: str
    lifetime_days: float | None = None
    previous: Bundle | None = None


class Issuer(Protocol):
    """Signs leaves: an ACME account, or the local CA."""

    async def issue(self, request: IssueRequest, progress: Progress) -> Bundle:
        """A new bundle with a new key that covers exactly the requested names.

        progress is told each step in one line without secrets. Raises IssueError, whose
        `retry_at` says when to try again, or KeyUnsupported.
        """
        ...


@runtime_checkable
class Revoker(Protocol):
    """An issuer that can revoke."""

    async def revoke(self, certificate: x509.Certificate, reason: int) -> None:
        """Revoke it. reason: a CRLReason of RFC 5280 section 5.3.1. Twice is safe."""
        ...


@dataclass(frozen=True, slots=True)
class RenewalWindow:
    """When to renew, as the issuer suggests (RFC 9773): aware UTC, and why, in its own words."""

    start: datetime
    end: datetime
    explanation_url: str = ""


@runtime_checkable
class RenewalInfo(Protocol):
    """An issuer that suggests when to renew."""

    async def renewal_window(self, certificate: x509.Certificate) -> RenewalWindow | None:
        """The suggested window, or None when the issuer has no opinion on this certificate."""
        ...
