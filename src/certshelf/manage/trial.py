"""Before any order: what would fail for a certificate, and how an ACME issuer answers."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from itertools import chain
from typing import TYPE_CHECKING
from urllib.parse import urlsplit

from certshelf.errors import CertshelfError
from certshelf.farm import Member
from certshelf.finding import Finding
from certshelf.issue.acme.directory import Directory
from certshelf.issue.acme.identifiers import Identifier
from certshelf.issue.solve.preflight import Preflight
from certshelf.manage import fallbacks
from certshelf.manage.acme_signer import AcmeSigner
from certshelf.manage.engine import Engine
from certshelf.manage.model import ChallengeChoice, ManagedCertificate
from certshelf.manage.solvers import CaIdentity, choice_for, lookup_of

if TYPE_CHECKING:
    from certshelf.manage.manager import Manager

_AT_ONCE = 8
_ASKED_OF_MEMBERS = 20
"""For so many certificates each member is asked when many are tried: a rule knows no names."""
_LOOPBACK = ("localhost", "127.0.0.1", "::1")


async def try_certificate(manager: Manager, certificate_name: str) -> list[Finding]:
    """Present, look for and take away a made-up answer for each name, as its CA would see it.

    The CA is asked for its directory and our account only.
    """
    async with Engine(manager) as engine:
        certificate = await engine.desk.read(
            lambda records: records.certificates.get(certificate_name)
        )
        signer = await engine.acme(certificate.issuer)
        found = await engine.desk.read(lambda r: fallbacks.findings(r, certificate))
        members = await engine.desk.read(lambda r: tuple(r.members.all()))
        for name in certificate.names:
            found += await _try(engine, signer, certificate, name)
        return found + await _ask_members(signer, certificate, members)


@dataclass(frozen=True, slots=True)
class Trial:
    """How the names of one certificate stood. untried: why nothing could be found out, or ""."""

    certificate: str
    findings: tuple[Finding, ...] = ()
    untried: str = ""


@dataclass(frozen=True, slots=True)
class Trials:
    """Of several certificates. clock_off_s: how far we are ahead of a CA's clock, or None."""

    trials: tuple[Trial, ...] = ()
    clock_off_s: float | None = None


async def try_certificates(manager: Manager, wanted: Sequence[ManagedCertificate]) -> Trials:
    """What try_certificate() finds, for several at once; who fails is a Trial, never an error.

    The accounts of their issuers must be there: none is made.
    """
    async with Engine(manager) as engine:
        places = asyncio.Semaphore(_AT_ONCE)
        members = await engine.desk.read(lambda r: tuple(r.members.all()))
        in_farm_mode = [one.name for one in wanted if fallbacks.farm_name(one)]
        asked = set(in_farm_mode[:_ASKED_OF_MEMBERS])

        async def one(certificate: ManagedCertificate) -> Trial:
            async with places:
                try:
                    signer = await engine.acme(certificate.issuer)
                    names = certificate.names
                    found = [await _try(engine, signer, certificate, name) for name in names]
                    if certificate.name in asked:
                        found.append(await _ask_members(signer, certificate, members))
                except CertshelfError as error:
                    return Trial(certificate.name, untried=str(error))
                return Trial(certificate.name, tuple(chain.from_iterable(found)))

        trials = await asyncio.gather(*map(one, wanted))
        skews = [skew for c in wanted if (skew := engine.clock_skew(c.issuer)) is not None]
        off = max((-skew.total_seconds() for skew in skews), key=abs, default=None)
        return Trials(tuple(trials), off)


async def _try(
    engine: Engine, signer: AcmeSigner, certificate: ManagedCertificate, host: str
) -> list[Finding]:
    choice = choice_for(certificate, host)
    directory = await signer.client.directory()
    identity = CaIdentity(directory.caa_identities, signer.account.url, signer.account.thumbprint)
    solver = await engine.solvers.make(choice, identity, host)
    preflight = Preflight(
        lookup_of(choice),
        signer.account.thumbprint,
        signer.account.url,
        directory.caa_identities,
        http_port=_port(signer, choice, "http-01", 80),
        tls_port=_port(signer, choice, "tls-alpn-01", 443),
    )
    return await preflight.check([Identifier.parse(host)], [solver])


async def _ask_members(
    signer: AcmeSigner, certificate: ManagedCertificate, members: Sequence[Member]
) -> list[Finding]:
    """In farm mode each member answers by itself: ask each, for one name of the certificate."""
    name = fallbacks.farm_name(certificate)
    if not name:
        return []
    choice = choice_for(certificate, name)
    preflight = Preflight(
        lookup_of(choice),
        signer.account.thumbprint,
        http_port=_port(signer, choice, "http-01", 80),
    )
    places = asyncio.Semaphore(_AT_ONCE)

    async def ask(member: Member) -> Finding | None:
        async with places:
            return await preflight.at_member(Identifier.parse(name), member.name, member.host)

    found = await asyncio.gather(*(ask(member) for member in members if member.host))
    return [finding for finding in found if finding is not None]


def _port(signer: AcmeSigner, choice: ChallengeChoice, kind: str, public: int) -> int:
    """Where the CA connects: 80 or 443; a CA on this machine is a test one and asks our port."""
    local = urlsplit(signer.client.settings.directory_url).hostname in _LOOPBACK
    port = choice.settings.get("port") if choice.type == kind else None
    return int(port) if local and port else public


@dataclass(frozen=True, slots=True)
class IssuerAnswer:
    """What a CA says of itself, and our account there."""

    directory: Directory
    account_url: str
    thumbprint: str
    clock_skew_s: float


async def ask_issuer(manager: Manager, name: str) -> IssuerAnswer:
    """Reach an ACME CA and have our account there, made if need be. IssueError, CredentialError."""
    async with Engine(manager) as engine:
        signer = await engine.acme(name)
        directory = await signer.client.directory()
        return IssuerAnswer(
            directory,
            signer.account.url,
            signer.account.thumbprint,
            signer.client.clock_skew.total_seconds(),
        )


async def change_account_key(manager: Manager, name: str, like: str = "") -> str:
    """Give our account at a CA a new key, or that of our account at another CA; its thumbprint."""
    from certshelf.manage.accounts import roll_over, roll_over_to

    async with Engine(manager) as engine:
        signer = await engine.acme(name)
        roll = partial(roll_over_to, like=like) if like else roll_over
        return (await roll(engine.desk, signer.client, signer.issuer)).thumbprint


async def close_account(manager: Manager, name: str) -> None:
    """Deactivate our account at a CA for good."""
    from certshelf.manage.accounts import deactivate

    async with Engine(manager) as engine:
        signer = await engine.acme(name)
        await deactivate(engine.desk, signer.client, signer.issuer)
