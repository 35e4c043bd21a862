"""ACME Renewal Information: when the CA wants a certificate renewed (RFC 9773)."""

from __future__ import annotations

import random
from dataclasses import dataclass
from datetime import datetime, timedelta

from cryptography import x509

from certshelf.errors import AcmeProblem, IssuerUnreachable
from certshelf.issue.acme import fields, jws
from certshelf.issue.acme.client import AcmeClient
from certshelf.issue.acme.problem import printable

# RFC 9773 section 4.3.2: a client bounds what Retry-After asks for.
ASK_AGAIN_MIN = timedelta(minutes=1)
ASK_AGAIN_MAX = timedelta(days=1)
ASK_AGAIN_DEFAULT = timedelta(hours=6)


@dataclass(frozen=True, slots=True)
class RenewalInfo:
    """A window of aware UTC moments; ask_at: when to ask the CA again.

    explanation_url: a page that tells why the window is as it is, or "".
    """

    start: datetime
    end: datetime
    ask_at: datetime
    explanation_url: str = ""

    def moment(self, rng: random.Random) -> datetime:
        """A random moment in the window (RFC 9773 section 4.2); one in the past means now."""
        return self.start + (self.end - self.start) * rng.random()


def cert_id(leaf: x509.Certificate) -> str:
    """The ARI id: the authority key identifier and the serial number in base64url, dotted.

    "" for a certificate without that extension: there is no ARI for it (RFC 9773 section 4.1).
    """
    try:
        extension = leaf.extensions.get_extension_for_class(x509.AuthorityKeyIdentifier)
    except (x509.ExtensionNotFound, ValueError):
        return ""
    key_identifier = extension.value.key_identifier
    if not key_identifier:
        return ""
    serial = leaf.serial_number
    # DER's two's complement: a leading zero byte when the top bit is set
    content = serial.to_bytes(serial.bit_length() // 8 + 1, "big")
    return f"{jws.b64(key_identifier)}.{jws.b64(content)}"


async def fetch(client: AcmeClient, cert: str) -> RenewalInfo | None:
    """Ask for a certificate's window by its cert_id.

    None when the CA has no ARI or does not know the certificate.

    Not to be asked for expired certificates (RFC 9773 section 4.3). Raises IssuerUnreachable for
    a window that ends before it starts, which the RFC calls no answer at all.
    """
    base = (await client.directory()).renewal_info
    if not base or not cert:
        return None
    try:
        response = await client.get(f"{base.rstrip('/')}/{cert}")
    except AcmeProblem as problem:
        if problem.status == 404:
            return None
        raise
    document = response.json()
    window = document.get("suggestedWindow")
    window = window if isinstance(window, dict) else {}
    start, end = fields.moment(window, "start"), fields.moment(window, "end")
    if start is None or end is None or end <= start:
        raise IssuerUnreachable(f"the CA sends no renewal window: {printable(window, 120)}")
    now = client.clock.now()
    return RenewalInfo(
        start=start,
        end=end,
        ask_at=_bounded(response.retry_at, now),
        explanation_url=printable(document.get("explanationURL") or "", 500),
    )


def _bounded(retry_at: datetime | None, now: datetime) -> datetime:
    if retry_at is None:
        return now + ASK_AGAIN_DEFAULT
    return min(max(retry_at, now + ASK_AGAIN_MIN), now + ASK_AGAIN_MAX)
