"""The ACME issuer: from a request to a bundle in one call, for those who need no records.

The durable pipeline calls the same steps one by one, keeping what it must in between; here the
key lives in memory only, so a crash in the middle costs one order.
"""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from dataclasses import dataclass, field

from cryptography import x509

from certshelf.bundle import keys
from certshelf.bundle.chain import assemble
from certshelf.bundle.model import Bundle
from certshelf.errors import BundleRefused, ConfigError
from certshelf.issue.acme import ari, csr, steps
from certshelf.issue.acme.account import Account
from certshelf.issue.acme.certificate import Reason, revoke
from certshelf.issue.acme.client import AcmeClient
from certshelf.issue.acme.identifiers import Identifier, identifiers
from certshelf.issue.acme.retry import Polling
from certshelf.issue.acme.steps import Step
from certshelf.issue.issuer import IssueRequest, Progress, RenewalWindow
from certshelf.issue.solve.base import Solver


@dataclass(frozen=True, slots=True)
class AcmeIssuer:
    """One account at one CA, and the solvers for its challenges: an Issuer, and more.

    solvers: the first whose challenge the CA offers for a name is used. profile: one that the
    CA's directory names, "" for its default. preferred_chain: the common name that the chain
    shall end in, "" for the CA's own choice.
    """

    client: AcmeClient = field(repr=False)
    account: Account
    solvers: Sequence[Solver] = field(repr=False)
    profile: str = ""
    preferred_chain: str = ""
    polling: Polling = field(default_factory=Polling)

    async def issue(self, request: IssueRequest, progress: Progress) -> Bundle:
        """See Issuer; a request's lifetime is the CA's business and is not sent.

        request.previous is named as what the new one replaces, where the CA knows ARI.
        """
        wanted = identifiers(name.ascii for name in request.names)
        step = Step(self.client, self.account, self.polling, progress)
        replaces = ari.cert_id(request.previous.leaf) if request.previous else ""
        made = await steps.new_order(
            self.client, self.account, wanted, profile=self.profile, replaces=replaces
        )
        progress("ordered")
        ready = await steps.authorize(step, made, self.solvers)
        # an RSA key takes a tenth of a second and more of one core
        key = await asyncio.to_thread(keys.generate, request.key_type)
        valid = await steps.finalize(step, ready, csr.build(key, wanted))
        chain = await steps.download(step, valid, preferred_issuer=self.preferred_chain)
        progress("downloaded")
        return verified(assemble(key, chain), wanted)

    async def revoke(self, certificate: x509.Certificate, reason: int) -> None:
        """See Revoker. Raises ConfigError for a reason that a subscriber may not give."""
        try:
            why = Reason(reason)
        except ValueError:
            raise ConfigError(
                f"no reason to revoke: {reason}",
                hint="one of " + ", ".join(f"{r.value} {r.name}" for r in Reason),
            ) from None
        await revoke(self.client, self.account, certificate, why)

    async def renewal_window(self, certificate: x509.Certificate) -> RenewalWindow | None:
        """See RenewalInfo: the CA's word by ARI (RFC 9773)."""
        info = await ari.fetch(self.client, ari.cert_id(certificate))
        return RenewalWindow(info.start, info.end, info.explanation_url) if info else None


def verified(bundle: Bundle, wanted: Sequence[Identifier]) -> Bundle:
    """The bundle, when its leaf names exactly what was ordered. Raises BundleRefused otherwise."""
    if missing := {i.value for i in wanted} - names_of(bundle.leaf):
        raise BundleRefused(
            f"the CA's certificate lacks {', '.join(sorted(missing)[:5])}",
            hint="nothing was published; tell the CA",
        )
    return bundle


def names_of(leaf: x509.Certificate) -> set[str]:
    """The DNS names and addresses that a leaf is good for."""
    try:
        san = leaf.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
    except (x509.ExtensionNotFound, ValueError):
        return set()
    names = {name.lower() for name in san.get_values_for_type(x509.DNSName)}
    return names | {str(address) for address in san.get_values_for_type(x509.IPAddress)}
