"""Will every certificate be renewed in time, and does the way to its CA work?"""

from __future__ import annotations

from collections.abc import Iterator
from datetime import timedelta

from certshelf.clock import iso
from certshelf.doctor.base import Check, error, info, warning
from certshelf.doctor.context import CertificateFacts, ChallengeFacts, Context
from certshelf.finding import Finding

OVERDUE_AFTER = timedelta(hours=24)
LOW_BUDGET = 0.1


def _active(context: Context) -> list[CertificateFacts]:
    kept = [c for c in context.certificates or () if c.auto_renew]
    return [c for c in kept if c.state not in ("paused", "revoked")]


def _overdue(context: Context) -> Iterator[Finding]:
    for certificate in _active(context):
        due = certificate.renew_at
        if due is None or due > context.now or certificate.failures:
            continue  # failing ones are the next check's
        if context.now - due > OVERDUE_AFTER:
            yield error(
                "renewal-overdue",
                certificate.name,
                f"{certificate.name} was to be renewed at {iso(due)}, and nobody tried",
                "the manager does not run, or is stuck",
                "start certshelf run, or certshelf cert renew " + certificate.name,
            )
        else:
            yield info(
                "renewal-overdue",
                certificate.name,
                f"{certificate.name} is due since {iso(due)}",
                "the next run renews it",
                "nothing, while certshelf run is running",
            )


def _failing(context: Context) -> Iterator[Finding]:
    for certificate in _active(context):
        if certificate.failures:
            retry = f"; next try at {iso(certificate.retry_at)}" if certificate.retry_at else ""
            yield error(
                "renewal-failing",
                certificate.name,
                f"{certificate.name} failed {certificate.failures} times: "
                f"{certificate.last_error or 'no reason was kept'}{retry}",
                "the certificate on the shelf ends "
                + (iso(certificate.not_after) if certificate.not_after else "soon"),
                f"certshelf events --subject {certificate.name} tells the story",
            )


def _unattended(context: Context) -> Iterator[Finding]:
    for certificate in context.certificates or ():
        if certificate.auto_renew and certificate.state not in ("paused", "revoked"):
            continue
        end = certificate.not_after
        if end is not None and end - context.now < timedelta(days=21):
            yield warning(
                "renewal-off",
                certificate.name,
                f"{certificate.name} ends {iso(end)} and is not renewed ({certificate.state})",
                "its renewal is switched off",
                f"certshelf cert renew {certificate.name}, or take it off the shelf",
            )


def _account(context: Context) -> Iterator[Finding]:
    used = {certificate.issuer for certificate in context.certificates or ()}
    for issuer in context.issuers or ():
        if issuer.acme and issuer.name in used and issuer.account != "valid":
            yield error(
                "issuer-account",
                issuer.name,
                f"the account at {issuer.name} is {issuer.account or 'not registered'}",
                "no certificate can be ordered there",
                f"register an account at {issuer.name} again",
            )


def _budget(context: Context) -> Iterator[Finding]:
    for issuer in context.issuers or ():
        if issuer.budget is not None and issuer.budget < LOW_BUDGET:
            yield warning(
                "issuer-budget",
                issuer.name,
                f"{issuer.budget:.0%} of the rate budget at {issuer.name} is left",
                "orders will wait for it to fill up again",
                "wait, or name a fallback issuer",
            )


def _challenges(context: Context) -> Iterator[Finding]:
    for trial in context.challenges or ():
        if trial.untried:
            yield info(
                "challenge-reachable",
                trial.host,
                f"the challenge of {trial.host} could not be tried: {trial.untried}",
                "whether the CA would see the answer is not known",
                "nothing, while the last renewal went well",
            )
        elif trial.error:
            yield error(
                "challenge-reachable",
                trial.host,
                f"the challenge of {trial.host} would fail: {trial.error}",
                "the CA cannot see that the name is ours",
                "follow the way that the CA takes: DNS, port 80 or 443, redirects, proxies",
            )


def _fallbacks(context: Context) -> Iterator[Finding]:
    for certificate in context.certificates or ():
        for stranger in certificate.strangers:
            yield warning(
                "http01-fallback",
                certificate.name,
                f"the members answer for the account at {certificate.issuer} only; that at "
                f"{stranger} has another key",
                "a farm-mode rule knows one thumbprint: validations by the fallback would fail",
                f"certshelf issuer rollover-key {stranger} --like {certificate.issuer}",
            )


def _caa(context: Context) -> Iterator[Finding]:
    open_names: dict[str, list[ChallengeFacts]] = {}
    for trial in context.challenges or ():
        if trial.caa:
            domain = ".".join(trial.host.split(".")[-2:])
            open_names.setdefault(domain, []).append(trial)
    for domain, trials in open_names.items():
        more = f" and {len(trials) - 1} more" if len(trials) > 1 else ""
        yield info(
            "caa-missing",
            domain,
            f"no CAA record says who may issue for {trials[0].host}{more}",
            "every CA may, and any account there: a stolen token or account key reaches further",
            f"add to {domain}: {trials[0].caa}",
        )


def _no_certificates(context: Context) -> str:
    return "" if context.certificates is not None else "there is no manager here"


def _no_issuers(context: Context) -> str:
    return "" if context.issuers is not None else "there is no manager here"


def _no_budget(context: Context) -> str:
    known = any(issuer.budget is not None for issuer in context.issuers or ())
    return _no_issuers(context) or ("" if known else "no CA in use has limits that are counted")


def _no_trials(context: Context) -> str:
    return "" if context.challenges is not None else "no challenge was tried (doctor --deep)"


CHECKS = (
    Check("renewal-overdue", "no renewal is overdue", _overdue, _no_certificates),
    Check("renewal-failing", "no renewal is failing", _failing, _no_certificates),
    Check("renewal-off", "nothing ends soon with its renewal off", _unattended, _no_certificates),
    Check("issuer-account", "every CA in use has an account", _account, _no_issuers),
    Check("issuer-budget", "no rate budget is used up", _budget, _no_budget),
    Check("http01-fallback", "members answer for fallbacks, too", _fallbacks, _no_certificates),
    Check("caa-missing", "CAA records say who may issue", _caa, _no_trials),
    Check("challenge-reachable", "challenges would be answered", _challenges, _no_trials),
)
