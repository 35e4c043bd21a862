"""What only the CAs can tell: whether challenges would be answered, and what time it is there."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from dataclasses import dataclass

from certshelf.doctor.context import ChallengeFacts
from certshelf.finding import Severity
from certshelf.manage.manager import Manager
from certshelf.manage.model import IssuerKind, ManagedCertificate, State
from certshelf.manage.trial import Trial, try_certificates


@dataclass(frozen=True, slots=True)
class Outside:
    """clock_off_seconds: how far our clock is ahead of a CA's, None when none was asked."""

    challenges: tuple[ChallengeFacts, ...]
    clock_off_seconds: float | None = None


def look_outside(manager: Manager) -> Outside | None:
    """Try the challenges of every certificate that an ACME CA renews; None when there is none.

    No order is made, nor an account: an issuer that has none is left out. Runs its own event loop.
    """
    wanted = _renewed_by_acme(manager)
    if not wanted:
        return None
    seen = asyncio.run(try_certificates(manager, wanted))
    facts = tuple(fact for trial in seen.trials for fact in _facts(trial))
    return Outside(facts, seen.clock_off_s)


def _renewed_by_acme(manager: Manager) -> list[ManagedCertificate]:
    with manager.database.read() as records:
        ready = {
            issuer.name
            for issuer in records.issuers.all()
            if issuer.kind is IssuerKind.ACME
            and (account := records.accounts.find(issuer.name)) is not None
            and account.kid
            and account.status == "valid"
        }
        return [
            certificate
            for certificate in records.certificates.all()
            if certificate.issuer in ready
            and certificate.auto_renew
            and certificate.status.state not in (State.PAUSED, State.REVOKED)
        ]


def _facts(trial: Trial) -> Iterator[ChallengeFacts]:
    if trial.untried:
        yield ChallengeFacts(trial.certificate, untried=trial.untried)
    for finding in trial.findings:
        if finding.severity is Severity.WARNING:
            yield ChallengeFacts(finding.subject, untried=finding.what)
            continue
        bad = finding.severity is Severity.ERROR
        caa = finding.do.partition(": ")[2] if finding.id == "caa-missing" else ""
        yield ChallengeFacts(finding.subject, error=finding.what if bad else "", caa=caa)
