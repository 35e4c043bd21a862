"""Which CAs a certificate may be asked of, and whether members in farm mode answer for them all."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING

from certshelf.errors import ConfigError
from certshelf.finding import Finding, Severity
from certshelf.manage.model import IssuerRecord, ManagedCertificate
from certshelf.manage.solvers import choice_for

if TYPE_CHECKING:
    from certshelf.manage.db.records import Records


def issuers_of(
    certificate: ManagedCertificate, issuers: Mapping[str, IssuerRecord]
) -> tuple[str, ...]:
    """The certificate's issuer and its fallbacks, in their order; the issuer's own without any."""
    record = issuers.get(certificate.issuer)
    fallbacks = certificate.fallbacks or (record.fallbacks if record else ())
    return tuple(dict.fromkeys((certificate.issuer, *fallbacks)))


@dataclass(frozen=True, slots=True)
class Accounts:
    """All issuers by name, and the thumbprints of our accounts at those that speak ACME."""

    issuers: Mapping[str, IssuerRecord]
    thumbprints: Mapping[str, str]

    @staticmethod
    def of(records: Records) -> Accounts:
        """What the records say."""
        issuers = {record.name: record for record in records.issuers.all()}
        found = {name: records.accounts.find(name) for name in issuers}
        return Accounts(issuers, {name: one.thumbprint for name, one in found.items() if one})

    def strangers(self, certificate: ManagedCertificate) -> tuple[str, ...]:
        """The fallback issuers for which members in farm mode give a wrong answer.

        A member's rule knows one thumbprint, that of the issuer's account (RFC 8555 section 8.1):
        a fallback whose account has another key would be told the wrong one. () without farm mode.
        """
        first, *others = issuers_of(certificate, self.issuers)
        own = self.thumbprints.get(first)
        if not others or own is None or not farm_name(certificate):
            return ()
        return tuple(name for name in others if self.thumbprints.get(name, own) != own)


def findings(records: Records, certificate: ManagedCertificate) -> list[Finding]:
    """The same as findings, for `cert test` and `cert preview`."""
    return [
        Finding(
            "http01-fallback",
            Severity.WARNING,
            certificate.name,
            f"the members answer for the account at {certificate.issuer} only; that at {name} has "
            "another key",
            "a farm-mode rule knows one thumbprint: validations by the fallback would fail",
            f"certshelf issuer rollover-key {name} --like {certificate.issuer}",
        )
        for name in Accounts.of(records).strangers(certificate)
    ]


def farm_name(certificate: ManagedCertificate) -> str:
    """The first name that members prove by themselves (http-01 in farm mode), or ""."""
    for name in certificate.names:
        try:
            choice = choice_for(certificate, name)
        except ConfigError:
            continue  # nothing is chosen for it: another finding's matter
        if choice.type == "http-01" and choice.settings.get("farm"):
            return name
    return ""
