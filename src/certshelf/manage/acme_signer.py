"""An ACME CA as a Signer: the steps of issue/acme, with what the records know."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING

from cryptography import x509

from certshelf.challenge import Challenge
from certshelf.errors import AcmeProblem, CertshelfError
from certshelf.issue.acme import ari, steps
from certshelf.issue.acme.account import Account
from certshelf.issue.acme.ari import RenewalInfo
from certshelf.issue.acme.authorization import Authorization
from certshelf.issue.acme.certificate import Reason, revoke
from certshelf.issue.acme.client import AcmeClient
from certshelf.issue.acme.identifiers import identifiers
from certshelf.issue.acme.order import Order, OrderStatus
from certshelf.issue.acme.retry import Polling
from certshelf.issue.solve.base import Solver
from certshelf.manage.accounts import open_account
from certshelf.manage.model import (
    ChallengeRecord,
    IssuerRecord,
    ManagedCertificate,
    OrderRecord,
    Step,
)
from certshelf.manage.signing import Changes
from certshelf.manage.solvers import CaIdentity, Recorded, Solvers, choice_for, leaves_traces

if TYPE_CHECKING:
    from certshelf.manage.desk import Desk

_BEGIN_AGAIN: Changes = {"step": Step.NEW, "order_url": "", "expires": None}
_READY = (OrderStatus.READY, OrderStatus.PROCESSING, OrderStatus.VALID)


@dataclass
class AcmeSigner:
    """One account at one CA. See Signer for what each step promises."""

    issuer: IssuerRecord
    client: AcmeClient = field(repr=False)
    account: Account = field(repr=False)
    desk: Desk = field(repr=False)
    solvers: Solvers = field(repr=False)
    polling: Polling = field(default_factory=Polling)
    _seen: dict[int, Order] = field(default_factory=dict, repr=False)

    async def order(self, order: OrderRecord, certificate: ManagedCertificate) -> Changes:
        """See Signer: an order whose URL is known and that can still be used is kept.

        An answer that was lost in a crash costs one order at the CA, which nobody finalises.
        """
        if order.order_url and await self._look(order):
            return {}
        try:
            made = await self._new(order, certificate)
        except AcmeProblem as problem:
            if problem.type != "accountDoesNotExist":
                raise
            # the CA forgot us: the same key makes the account again
            self.account = await open_account(self.desk, self.client, self.issuer, register=True)
            made = await self._new(order, certificate)
        self._seen[order.id] = made
        return {"order_url": made.url, "expires": made.expires}

    async def authorize(self, order: OrderRecord, certificate: ManagedCertificate) -> Changes:
        """See Signer: by the challenges that the certificate chooses for each name."""
        found = self._seen.pop(order.id, None) or await self._look(order)
        if found is None:
            return _BEGIN_AGAIN

        async def choose(authorization: Authorization) -> Sequence[Solver]:
            return [await self._solver(order, certificate, authorization)]

        ready = await steps.authorize(self._step, found, choose)
        await self._clean_up_rest(order, certificate)
        self._seen[order.id] = ready
        return {}

    async def finalize(self, order: OrderRecord, csr: bytes) -> Changes:
        """See Signer."""
        found = self._seen.pop(order.id, None) or await self._look(order)
        if found is None:
            return _BEGIN_AGAIN
        if found.status not in _READY:
            return {"step": Step.ORDERED}
        self._seen[order.id] = await steps.finalize(self._step, found, csr)
        return {}

    async def download(
        self, order: OrderRecord, certificate: ManagedCertificate, csr: bytes
    ) -> tuple[x509.Certificate, ...] | None:
        """See Signer."""
        found = self._seen.pop(order.id, None) or await self._look(order)
        if found is None or found.status is not OrderStatus.VALID:
            return None
        preferred = certificate.preferred_chain or str(
            self.issuer.settings.get("preferred_chain", "")
        )
        return await steps.download(self._step, found, preferred_issuer=preferred)

    async def renewal_info(self, ari_id: str) -> RenewalInfo | None:
        """When the CA wants a certificate renewed (RFC 9773); None when it has no ARI."""
        return await ari.fetch(self.client, ari_id)

    async def revoke(self, leaf: x509.Certificate, reason: Reason) -> None:
        """Revoke a certificate in the account's name; safe to repeat."""
        await revoke(self.client, self.account, leaf, reason)

    async def clean_up(self, record: ChallengeRecord, certificate: ManagedCertificate) -> None:
        """Take away what an order that ended in a crash left behind; safe to repeat."""
        solver = await self._make(certificate, record.host)
        shown = Challenge(
            record.type, record.host.removeprefix("*."), record.token, record.record_ref
        )
        if solver.type == record.type:
            await solver.clean_up(shown)
        done = replace(record, cleaned=True)
        await self.desk.write(lambda records: records.challenges.put(done))

    @property
    def _step(self) -> steps.Step:
        return steps.Step(self.client, self.account, self.polling)

    async def _new(self, order: OrderRecord, certificate: ManagedCertificate) -> Order:
        profile = certificate.profile or str(self.issuer.settings.get("profile", ""))
        return await steps.new_order(
            self.client,
            self.account,
            identifiers(certificate.names),
            profile=profile,
            replaces=order.replaces,
        )

    async def _look(self, order: OrderRecord) -> Order | None:
        """The order at the CA; None when there is none that can be gone on with."""
        if not order.order_url:
            return None
        try:
            found = await steps.look(self._step, order.order_url)
        except AcmeProblem as problem:
            if problem.type != "accountDoesNotExist":
                raise
            return None
        return None if found is None or found.status is OrderStatus.INVALID else found

    async def _solver(
        self, order: OrderRecord, certificate: ManagedCertificate, found: Authorization
    ) -> Solver:
        solver = await self._make(certificate, found.name)
        if not leaves_traces(solver):
            return solver
        return Recorded(solver, self.desk, ChallengeRecord(order.id, found.name, solver.type, ""))

    async def _make(self, certificate: ManagedCertificate, host: str) -> Solver:
        directory = await self.client.directory()
        identity = CaIdentity(directory.caa_identities, self.account.url, self.account.thumbprint)
        return await self.solvers.make(choice_for(certificate, host), identity, host)

    async def _clean_up_rest(self, order: OrderRecord, certificate: ManagedCertificate) -> None:
        """What an earlier run of this order presented and could not take away."""
        if order.generation < 2:
            return  # nobody worked on it before
        found = await self.desk.read(lambda records: records.challenges.of(order.id))
        for record in found:
            if not record.cleaned:
                try:
                    await self.clean_up(record, certificate)
                except CertshelfError:
                    continue  # it is harmless; the next run tries again
