"""`cert test`: what would fail, found out before any order is spent at the CA.

Each name is tried with its own solver and a challenge made up for the purpose: the answer is
presented, looked for from here as the CA would, and taken away again.
"""

from __future__ import annotations

import asyncio
import secrets
import socket
import ssl
from collections.abc import Sequence
from dataclasses import dataclass, field
from ipaddress import ip_address
from typing import Any

import aiohttp
from aiohttp.abc import AbstractResolver, ResolveResult
from cryptography import x509

from certshelf.challenge import HTTP01_PREFIX, Challenge
from certshelf.errors import CertshelfError
from certshelf.finding import Finding, Severity
from certshelf.issue.acme.identifiers import Identifier
from certshelf.issue.acme.problem import printable
from certshelf.issue.solve import caa, tlsalpn01
from certshelf.issue.solve.base import Solver
from certshelf.issue.solve.dns.lookup import Lookup

_TIMEOUT_S = 10.0
_MAX_BODY = 4096
_ISSUE = ("issue", "issuewild")
_RFC8555_8_3 = "RFC 8555 section 8.3"


@dataclass(frozen=True, slots=True)
class Preflight:
    """What is known of the issuer and the way to it.

    issuers: what CAA records call the CA. account_uri, thumbprint: the account's. http_port,
    tls_port: where the CA connects; 80 and 443 for every public one.
    """

    lookup: Lookup = field(repr=False)
    thumbprint: str
    account_uri: str = ""
    issuers: tuple[str, ...] = ()
    http_port: int = 80
    tls_port: int = 443

    async def check(
        self, identifiers: Sequence[Identifier], solvers: Sequence[Solver]
    ) -> list[Finding]:
        """Every finding about these names, in their order; one OK for a name without any."""
        found = await asyncio.gather(*(self._check(i, solvers) for i in identifiers))
        return [finding for findings in found for finding in findings]

    async def at_member(self, name: Identifier, member: str, address: str) -> Finding | None:
        """What is wrong with a member's own answer for a name (http-01), or None.

        address: of the member, or its host name.
        A CA asks any one of them, and behind a load balancer the DNS shows none. A member whose
        port cannot be reached from here is a warning: the CA may come another way.
        """
        if name.type == "ip":
            return None  # the question goes to the address itself, which _try asks
        token = secrets.token_urlsafe(32)
        shown = Challenge("http-01", name.base, token, f"{token}.{self.thumbprint}")
        answered, what = await self._http_at(shown, address)
        if not what:
            return None
        return Finding(
            "http01-wrong-answer" if answered else "http01-unreachable",
            Severity.ERROR if answered else Severity.WARNING,
            str(name),
            f"member {member} ({address}) port {self.http_port}: {what}",
            "the CA may ask any member of the farm",
            "set the challenge rule up there: certshelf configure http-01"
            if answered
            else "ask it by hand, if the CA reaches it another way than the manager",
            _RFC8555_8_3,
        )

    async def _check(self, name: Identifier, solvers: Sequence[Solver]) -> list[Finding]:
        solver = next((s for s in solvers if _fits(name, s.type)), None)
        if solver is None:
            return [_no_solver(name, solvers)]
        of_caa, of_trial = await asyncio.gather(
            self._caa(name, solver.type), self._trial(name, solver)
        )
        findings = of_caa + of_trial
        if any(finding.severity is Severity.ERROR for finding in findings):
            return findings
        what = f"{solver.type} would succeed, as far as can be seen from here"
        return [*findings, Finding("issue-ready", Severity.OK, str(name), what)]

    async def _caa(self, name: Identifier, method: str) -> list[Finding]:
        if name.type == "ip":
            return []
        try:
            where, records = await self.lookup.caa(name.base)
        except CertshelfError as error:
            return [_failed(name, "CAA", error)]
        why = caa.refusal(
            records,
            wildcard=name.is_wildcard,
            issuers=self.issuers,
            account_uri=self.account_uri,
            method=method,
        )
        if not why:
            open_to_all = self.issuers and not any(tag in _ISSUE for tag, _ in records)
            return [_without_caa(name, self.issuers[0], self.account_uri)] if open_to_all else []
        ca = self.issuers[0] if self.issuers else "the CA's name"
        return [
            Finding(
                "caa-forbids",
                Severity.ERROR,
                str(name),
                f"the CAA records of {where} forbid it: {printable(why)}",
                "a CA must look at them before it issues",
                f'add to {where}: CAA 0 issue "{ca}"',
                "RFC 8659",
            )
        ]

    async def _trial(self, name: Identifier, solver: Solver) -> list[Finding]:
        try:
            return await self._try(name, solver)
        except CertshelfError as error:
            return [_failed(name, solver.type, error)]

    async def _try(self, name: Identifier, solver: Solver) -> list[Finding]:
        token = secrets.token_urlsafe(32)
        shown = Challenge(solver.type, name.base, token, f"{token}.{self.thumbprint}")
        if solver.type in ("http-01", "tls-alpn-01"):
            addresses = await self._addresses(name)
            if not addresses:
                return [_no_address(name)]
        try:
            await solver.present(shown)
            await solver.wait(shown)
            if solver.type == "http-01":
                return await self._http(name, shown, addresses)
            if solver.type == "tls-alpn-01":
                return await self._alpn(name, shown, addresses)
            return []
        finally:
            await solver.clean_up(shown)

    async def _addresses(self, name: Identifier) -> tuple[str, ...]:
        return (name.value,) if name.type == "ip" else await self.lookup.addresses(name.base)

    async def _http(
        self, name: Identifier, shown: Challenge, addresses: Sequence[str]
    ) -> list[Finding]:
        seen = await asyncio.gather(*(self._http_at(shown, a) for a in addresses))
        return [
            Finding(
                "http01-wrong-answer" if answered else "http01-unreachable",
                Severity.ERROR,
                str(name),
                f"{address} port {self.http_port}: {what}",
                "the CA asks any one of the addresses, and IPv6 first",
                "set the challenge rule up there: certshelf configure http-01"
                if answered
                else "open the port, or remove the address from the DNS",
                _RFC8555_8_3,
            )
            for address, (answered, what) in zip(addresses, seen, strict=True)
            if what
        ]

    async def _http_at(self, shown: Challenge, address: str) -> tuple[bool, str]:
        """(whether it answered at all, what was wrong or "")."""
        host = f"[{shown.domain}]" if ":" in shown.domain else shown.domain
        url = f"http://{host}:{self.http_port}{HTTP01_PREFIX}{shown.token}"
        # redirects are followed and their certificates not looked at, as CAs do
        connector = aiohttp.TCPConnector(resolver=_Pinned(shown.domain, address), ssl=False)
        timeout = aiohttp.ClientTimeout(total=_TIMEOUT_S)
        try:
            async with (
                aiohttp.ClientSession(connector=connector, timeout=timeout) as session,
                session.get(url, max_redirects=10) as answer,
            ):
                body = await answer.content.read(_MAX_BODY)
        except TimeoutError:
            return False, f"no answer in {_TIMEOUT_S:g} s"
        except (aiohttp.ClientError, OSError, ValueError) as error:
            return False, printable(error) or type(error).__name__
        if answer.status == 200 and body.decode("latin-1").strip() == shown.key_authorization:
            return True, ""
        start = printable(body[:60].decode("latin-1"))
        return True, f"the answer is {answer.status} {start!r}, not TOKEN.THUMBPRINT"

    async def _alpn(
        self, name: Identifier, shown: Challenge, addresses: Sequence[str]
    ) -> list[Finding]:
        seen = await asyncio.gather(*(self._alpn_at(shown, a) for a in addresses))
        return [
            Finding(
                "tls-alpn01-wrong-answer",
                Severity.ERROR,
                str(name),
                f"{address} port {self.tls_port}: {what}",
                "the CA makes its handshake with one of the addresses",
                "send connections that offer acme-tls/1 to the manager, or use http-01",
                "RFC 8737 section 3",
            )
            for address, what in zip(addresses, seen, strict=True)
            if what
        ]

    async def _alpn_at(self, shown: Challenge, address: str) -> str:
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
        context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
        context.set_alpn_protocols([tlsalpn01.PROTOCOL])
        try:
            async with asyncio.timeout(_TIMEOUT_S):
                _, writer = await asyncio.open_connection(
                    address,
                    self.tls_port,
                    ssl=context,
                    server_hostname=tlsalpn01.server_name(shown.domain),
                )
        except (OSError, TimeoutError) as error:
            return f"no handshake: {printable(error) or type(error).__name__}"
        connection: Any = writer.get_extra_info("ssl_object")
        writer.close()
        if connection.selected_alpn_protocol() != tlsalpn01.PROTOCOL:
            return "the server does not speak acme-tls/1"
        der = connection.getpeercert(binary_form=True)
        return "" if _answers(der, shown) else "another certificate than the challenge's"


class _Pinned(AbstractResolver):
    """Resolves one host to one address, or to another host's; others as usual."""

    def __init__(self, host: str, address: str) -> None:
        self._host = host
        self._address = address
        self._others = aiohttp.ThreadedResolver()

    async def resolve(
        self, host: str, port: int = 0, family: socket.AddressFamily = socket.AF_INET
    ) -> list[ResolveResult]:
        if host != self._host:
            return await self._others.resolve(host, port, family)
        if not _is_address(self._address):
            return await self._others.resolve(self._address, port, family)
        kind = socket.AF_INET6 if ":" in self._address else socket.AF_INET
        return [
            ResolveResult(
                hostname=host, host=self._address, port=port, family=kind, proto=0, flags=0
            )
        ]

    async def close(self) -> None:
        await self._others.close()


def _is_address(text: str) -> bool:
    try:
        ip_address(text)
    except ValueError:
        return False
    return True


def _fits(name: Identifier, method: str) -> bool:
    """Whether CAs offer this method for such a name (RFC 8555 section 7.1.3, RFC 8738)."""
    if name.is_wildcard:
        return method.startswith("dns-")
    return name.type == "dns" or not method.startswith("dns-")


def _answers(der: bytes, shown: Challenge) -> bool:
    try:
        leaf = x509.load_der_x509_certificate(der)
        found = leaf.extensions.get_extension_for_oid(tlsalpn01.ACME_IDENTIFIER).value
    except (ValueError, x509.ExtensionNotFound):
        return False
    return isinstance(found, x509.UnrecognizedExtension) and found.value.endswith(shown.alpn_digest)


def _no_solver(name: Identifier, solvers: Sequence[Solver]) -> Finding:
    ours = ", ".join(solver.type for solver in solvers) or "none"
    return Finding(
        "no-challenge-fits",
        Severity.ERROR,
        str(name),
        f"no challenge that is set up can prove it: {ours}",
        "a wildcard is proved by DNS only, an address by http-01 or tls-alpn-01 only",
        "give another --challenge for it",
        _RFC8555_8_3,
    )


def _without_caa(name: Identifier, ca: str, account_uri: str) -> Finding:
    account = f"; accounturi={account_uri}" if account_uri else ""
    return Finding(
        "caa-missing",
        Severity.INFO,
        str(name),
        "no CAA record says who may issue for it",
        "every CA may, and any account there",
        f'add to its domain: CAA 0 issue "{ca}{account}"',
        "RFC 8659, RFC 8657",
    )


def _no_address(name: Identifier) -> Finding:
    return Finding(
        "name-has-no-address",
        Severity.ERROR,
        str(name),
        "the DNS has no address for it",
        "the CA could not connect to it",
        "add an A or AAAA record, or use a DNS challenge",
    )


def _failed(name: Identifier, what: str, error: CertshelfError) -> Finding:
    kind = "dns-answer-missing" if what == "CAA" else "challenge-not-presented"
    return Finding(kind, Severity.ERROR, str(name), f"{what}: {error}", "", error.hint)
