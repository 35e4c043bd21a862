"""From a managed certificate's challenge choices to solvers, opened once and shared by orders."""

from __future__ import annotations

import asyncio
import re
from collections.abc import Sequence
from dataclasses import dataclass
from ipaddress import ip_address
from pathlib import Path
from typing import TYPE_CHECKING

from certshelf.challenge import Challenge
from certshelf.errors import ConfigError
from certshelf.issue.solve.base import Solver
from certshelf.issue.solve.dns.acmedns import AcmeDns, AcmeDnsAccount
from certshelf.issue.solve.dns.exec import ExecHook
from certshelf.issue.solve.dns.lexicon import Lexicon
from certshelf.issue.solve.dns.lookup import Lookup, NameServer
from certshelf.issue.solve.dns.rfc2136 import Rfc2136, Tsig
from certshelf.issue.solve.dns01 import Dns01, TxtWriter
from certshelf.issue.solve.dnspersist01 import DnsPersist01
from certshelf.issue.solve.http01 import FarmHttp01, Webroot, answers_already
from certshelf.manage.credentials import note_use
from certshelf.manage.model import ChallengeChoice, ChallengeRecord, ManagedCertificate
from certshelf.manage.providers import resolve
from certshelf.manage.responders import DEFAULT, HTTP_PORT, TLS_PORT, Responders
from certshelf.secret import Secret

if TYPE_CHECKING:
    from certshelf.clock import Clock
    from certshelf.manage.db.records import Records
    from certshelf.manage.desk import Desk

TYPES = ("http-01", "dns-01", "tls-alpn-01", "dns-persist-01")
FOR_ADDRESSES = ("http-01", "tls-alpn-01")
"""What can prove an IP address (RFC 8738 section 4): there is no name to write a record at."""
DNS_WRITERS = ("rfc2136", "exec", "acme-dns", "lexicon")
_PORT = re.compile(r"[1-9][0-9]{0,4}", re.ASCII)


@dataclass(frozen=True, slots=True)
class CaIdentity:
    """What dns-persist-01 needs to know: how CAA records call the CA, and our account's URL.

    thumbprint: of the account's key, for http-01.
    """

    issuers: tuple[str, ...] = ()
    account_uri: str = ""
    thumbprint: str = ""


def choice_for(certificate: ManagedCertificate, host: str) -> ChallengeChoice:
    """The first choice whose pattern matches a host (A-label, `*.` kept or not)."""
    base = host.removeprefix("*.")
    for choice in certificate.challenges:
        pattern = choice.pattern
        if pattern in ("*", host, base):
            return choice
        zone = pattern.removeprefix("*.")
        if zone != pattern and (base == zone or base.endswith("." + zone)):
            return choice
    if certificate.challenges:
        raise ConfigError(
            f"{certificate.name}: no challenge is chosen for {host}",
            hint="certshelf cert edit --challenge",
        )
    return DEFAULT


class Solvers:
    """Makes each solver when it is first needed and keeps responders open until the end.

    Use it as an async context manager.
    """

    def __init__(self, desk: Desk, clock: Clock, responders: Responders | None = None) -> None:
        """responders: that stand longer than this, if any; closed by their owner."""
        self._desk = desk
        self._clock = clock
        self._own = Responders()
        self._responders = responders or self._own

    async def __aenter__(self) -> Solvers:
        return self

    async def __aexit__(self, *error: object) -> None:
        await self._own.__aexit__()

    async def make(self, choice: ChallengeChoice, identity: CaIdentity, host: str) -> Solver:
        """The solver of a choice. ConfigError or CredentialError for one that cannot be used."""
        match choice.type:
            case "http-01":
                return await self._http01(choice, identity, host)
            case "tls-alpn-01":
                return await self._responders.get("tls-alpn-01", _port(choice, TLS_PORT))
            case "dns-01":
                return Dns01(await self._writer(choice), lookup_of(choice))
            case "dns-persist-01":
                lookup, wildcard = lookup_of(choice), host.startswith("*.")
                return DnsPersist01(
                    lookup, identity.issuers, identity.account_uri, wildcard, self._clock
                )
        raise ConfigError(f"no challenge {choice.type!r}", hint="one of " + ", ".join(TYPES))

    async def _http01(self, choice: ChallengeChoice, identity: CaIdentity, host: str) -> Solver:
        if webroot := choice.settings.get("webroot"):
            return Webroot(Path(webroot))
        if choice.settings.get("farm"):
            return FarmHttp01()
        port = _port(choice, HTTP_PORT)
        try:
            return await self._responders.get("http-01", port)
        except ConfigError:
            # our service may stand there, and answers any token for this host and account
            if identity.thumbprint and await answers_already(host, port, identity.thumbprint):
                return FarmHttp01()
            raise

    async def _writer(self, choice: ChallengeChoice) -> TxtWriter:
        settings = choice.settings
        username, secret = await self._secret(choice.credential)
        match settings.get("dns"):
            case "rfc2136":
                server = name_server(_required(settings.get("server"), "--dns-server"))
                zone = _required(settings.get("zone"), "--dns-zone")
                algorithm = settings.get("algorithm") or "hmac-sha256"
                return Rfc2136(server, zone, Tsig(username or choice.credential, secret, algorithm))
            case "exec":
                command = _required(settings.get("command"), "--dns-command")
                return ExecHook(command.split("\n"), credential=secret)
            case "acme-dns":
                url = _required(settings.get("server"), "--dns-server")
                name = _required(settings.get("zone"), "--dns-zone").partition(".")[0]
                user = username or choice.credential
                return AcmeDns(AcmeDnsAccount(url, user, secret, name))
            case "lexicon":
                provider = _required(settings.get("provider"), "--dns-provider")
                zone = _required(settings.get("zone"), "--dns-zone")
                options = {username or "auth_token": secret}
                return Lexicon(provider, zone, options)
        raise ConfigError("no DNS writer is chosen", hint="--dns " + "|".join(DNS_WRITERS))

    async def _secret(self, name: str) -> tuple[str, Secret]:
        """The credential's user name, "" when it has none, and its secret."""
        if not name:
            return "", Secret("")

        def open_it(records: Records) -> tuple[str, Secret]:
            found = records.credentials.find(name)
            secret = records.credentials.secret(name)
            note_use(records, name, "challenge", self._clock.now())
            return found.username if found else "", secret

        username, secret = await self._desk.write(open_it)
        return username, await asyncio.to_thread(resolve, secret)


class Recorded:
    """A solver that writes down what it presents, so that a crash leaves nothing behind."""

    def __init__(self, solver: Solver, desk: Desk, record: ChallengeRecord) -> None:
        self._solver = solver
        self._desk = desk
        self._record = record
        self.type = solver.type

    async def present(self, challenge: Challenge) -> None:
        """See Solver; the record is on the disk before the answer is visible."""
        await self._note(challenge, cleaned=False)
        await self._solver.present(challenge)

    async def wait(self, challenge: Challenge) -> None:
        """See Solver."""
        await self._solver.wait(challenge)

    async def clean_up(self, challenge: Challenge) -> None:
        """See Solver."""
        await self._solver.clean_up(challenge)
        await self._note(challenge, cleaned=True)

    async def _note(self, challenge: Challenge, *, cleaned: bool) -> None:
        record = ChallengeRecord(
            self._record.order_id,
            self._record.host,
            challenge.type,
            challenge.token,
            record_ref=challenge.key_authorization,
            cleaned=cleaned,
        )
        await self._desk.write(lambda records: records.challenges.put(record))


def leaves_traces(solver: Solver) -> bool:
    """Whether what it presents would outlive this process."""
    return isinstance(solver, (Dns01, Webroot))


def name_server(text: str) -> NameServer:
    """HOST:PORT or HOST as a name server: an IP address, `[::1]:53` for IPv6."""
    host, colon, port = text.rpartition(":")
    if not colon or text.endswith("]") or (text.count(":") > 1 and not text.startswith("[")):
        host, port = text, "53"
    address = host.strip("[]")
    try:
        ip_address(address)
        return NameServer(address, int(port))
    except ValueError:
        raise ConfigError(
            f"no name server: {text[:80]!r}", hint="an IP address with a port: 192.0.2.53:53"
        ) from None


def lookup_of(choice: ChallengeChoice) -> Lookup:
    """The system's resolver, or the one that was given.

    A name server on this machine's loopback is nobody's public authority: it is then asked alone.
    """
    if resolver := choice.settings.get("resolver"):
        return Lookup(name_server(resolver))
    if choice.settings.get("dns") == "rfc2136":
        server = name_server(_required(choice.settings.get("server"), "--dns-server"))
        if ip_address(server.address).is_loopback:
            return Lookup(server, (server,))
    return Lookup()


def _port(choice: ChallengeChoice, default: int) -> int:
    return int(choice.settings.get("port") or default)


def _required(value: str | None, option: str) -> str:
    if not value:
        raise ConfigError(f"the challenge lacks a setting: {option}")
    return value


def problems(choices: Sequence[ChallengeChoice]) -> None:
    """ConfigError for choices that cannot work, before they are stored."""
    for choice in choices:
        if choice.type not in TYPES:
            raise ConfigError(f"no challenge {choice.type!r}", hint="one of " + ", ".join(TYPES))
        if choice.type == "dns-01" and choice.settings.get("dns") not in DNS_WRITERS:
            raise ConfigError("dns-01 needs --dns " + "|".join(DNS_WRITERS))
        port = choice.settings.get("port", "")
        if port and not (_PORT.fullmatch(port) and int(port) < 65536):
            raise ConfigError(f"{choice.type}: {port[:20]!r} is no port", hint="1 to 65535")
        if choice.settings.get("dns") == "rfc2136":
            name_server(_required(choice.settings.get("server"), "--dns-server"))
            _required(choice.settings.get("zone"), "--dns-zone")
            _required(choice.credential, "--dns-credential")


def problems_of_addresses(certificate: ManagedCertificate) -> None:
    """ConfigError for an IP address that no chosen challenge can prove."""
    for address in certificate.addresses:
        choice = choice_for(certificate, address)
        if choice.type not in FOR_ADDRESSES:
            raise ConfigError(
                f"{certificate.name}: {choice.type} cannot prove the address {address}",
                hint=f"--challenge http-01 (or tls-alpn-01) --for {address}: RFC 8738 has no other",
            )
