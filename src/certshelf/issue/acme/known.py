"""The CAs that may be called by name: their directories, and the order rates they allow."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from types import MappingProxyType

from certshelf.errors import ConfigError, IssuerUnreachable
from certshelf.issue.acme.directory import checked_url
from certshelf.issue.acme.limits import Rate
from certshelf.issue.acme.problem import printable


@dataclass(frozen=True, slots=True)
class KnownCa:
    """One CA as data. needs_binding: it wants an EAB key. orders: new orders for an account."""

    name: str
    title: str
    directory_url: str
    needs_binding: bool = False
    orders: Rate | None = None


# 300 new orders for each account in 3 hours (letsencrypt.org/docs/rate-limits)
_LETS_ENCRYPT = Rate(per_second=300 / (3 * 3600), burst=300)

# Buypass is not here: it issues no TLS certificates since 2025-10-31.
KNOWN: Mapping[str, KnownCa] = MappingProxyType(
    {
        ca.name: ca
        for ca in (
            KnownCa(
                "letsencrypt",
                "Let's Encrypt",
                "https://acme-v02.api.letsencrypt.org/directory",
                orders=_LETS_ENCRYPT,
            ),
            KnownCa(
                "letsencrypt-staging",
                "Let's Encrypt (staging: for tests, not trusted)",
                "https://acme-staging-v02.api.letsencrypt.org/directory",
            ),
            KnownCa("zerossl", "ZeroSSL", "https://acme.zerossl.com/v2/DV90", needs_binding=True),
            KnownCa(
                "google",
                "Google Trust Services",
                "https://dv.acme-v02.api.pki.goog/directory",
                needs_binding=True,
            ),
            KnownCa(
                "actalis",
                "Actalis",
                "https://acme-api.actalis.com/acme/directory",
                needs_binding=True,
            ),
        )
    }
)


def directory_url(name_or_url: str) -> str:
    """The directory of a CA named here, or the URL itself.

    Raises ConfigError for a name that is not known, and for a URL that is not https (http is
    good for this machine itself only).
    """
    if "://" in name_or_url:
        try:
            return checked_url(name_or_url)
        except IssuerUnreachable as error:
            raise ConfigError(
                f"no https URL of an ACME directory: {printable(name_or_url)!r}",
                hint="ACME is spoken over https only",
            ) from error
    if ca := KNOWN.get(name_or_url.lower()):
        return ca.directory_url
    hint = "Buypass has ended its service; " if name_or_url.lower() == "buypass" else ""
    raise ConfigError(
        f"no CA is known as {name_or_url!r}",
        hint=f"{hint}give one of {', '.join(KNOWN)}, or the CA's https directory URL",
    )
