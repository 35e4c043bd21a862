"""A small ACME CA of our own that does on demand what no local CA does.

ARI with any window, profiles, `replaces`, 429 with both forms of Retry-After, storms of badNonce,
5xx, hangs, half bodies, lost answers, dns-persist-01. It checks nonces but no signatures and no
challenges: the real CAs of the other rigs do. Use `ScriptedCa` inside an event loop, or
`scripted_ca()` from synchronous tests.

    ca.fault("new-order", status=429, retry_after="120", type="rateLimited")
    ca.fault("order", kind="hang")
    ca.window = (start, end)
"""

from __future__ import annotations

import asyncio
import contextlib
import hashlib
import json
import threading
from collections import Counter, defaultdict, deque
from collections.abc import Iterator
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from email.utils import format_datetime

from aiohttp import web
from cryptography import x509
from cryptography.hazmat.primitives.serialization import Encoding

from certshelf.clock import SYSTEM, Clock, iso
from certshelf.issue.acme import ari
from certshelf.issue.acme.jws import b64, unb64
from tests.support.limiter import Limiter
from tests.support.minted import MintedCa, mint_ca

URN = "urn:ietf:params:acme:error:"


@dataclass
class Fault:
    """kind: "status", "hang", "half" (body cut short), "lost" (done, but no answer), "html",
    "huge"."""

    kind: str = "status"
    status: int = 500
    type: str = ""
    retry_after: str = ""
    detail: str = "scripted"


@dataclass
class _Order:
    number: int
    account: str
    identifiers: list[dict[str, str]]
    profile: str
    replaces: str
    status: str = "pending"
    looks: int = 0
    chain: bytes = b""
    answered: set[int] = field(default_factory=set)


class Problem(Exception):
    def __init__(self, status: int, type: str, detail: str) -> None:
        super().__init__(detail)
        self.status, self.type = status, type


@dataclass
class ScriptedCa:
    """Settings may be changed while it runs.

    validation: "valid", "invalid" or "pending" for ever. slow_looks: how often a finalised order
    says "processing" first, with processing_retry_after. window: the ARI window of every
    certificate; None for the last third of its life. ahead: of the CA's clock before ours.
    distrust: take those nonces only that came with a refusal of the same URL. limiter: counts
    orders as Let's Encrypt does, and answers 429 beyond.
    """

    clock: Clock = SYSTEM
    profiles: dict[str, str] = field(default_factory=dict)
    has_ari: bool = True
    challenge_types: tuple[str, ...] = ("http-01", "dns-01", "tls-alpn-01")
    validation: str = "valid"
    lifetime: timedelta = timedelta(days=90)
    slow_looks: int = 0
    processing_retry_after: str = ""
    window: tuple[datetime, datetime] | None = None
    ari_retry_after: str = "21600"
    ahead: timedelta = timedelta(0)
    distrust: bool = False
    limiter: Limiter | None = None
    host: str = "127.0.0.1"
    port: int = 0

    def __post_init__(self) -> None:
        self.root: MintedCa = mint_ca("scripted root", now=self.clock.now())
        self.intermediate = mint_ca("scripted intermediate", self.root, now=self.clock.now())
        self.counts: Counter[str] = Counter()
        self.orders: dict[int, _Order] = {}
        self.accounts: dict[str, str] = {}
        self.revoked: list[tuple[int, int]] = []
        self.issued: dict[str, x509.Certificate] = {}
        self._faults: defaultdict[str, deque[Fault]] = defaultdict(deque)
        self._nonces: set[str] = set()
        self._refused_at: dict[str, str] = {}
        self._made = 0
        self._runner: web.AppRunner | None = None

    @property
    def directory_url(self) -> str:
        return self._url("dir")

    def fault(self, where: str, times: int = 1, **what: object) -> None:
        """The next `times` requests for `where` go wrong.

        where: "dir", "nonce", "account", "new-order", "order", "authz", "chall", "finalize",
        "cert", "renewal", "revoke", "new-account".
        """
        self._faults[where] += [Fault(**what) for _ in range(times)]  # type: ignore[arg-type]

    def mend(self) -> None:
        """Nothing goes wrong any more."""
        self._faults.clear()

    async def break_off(self) -> None:
        """Close the connections of those who hang; what comes then is refused."""
        self.mend()
        if self._runner:
            for site in list(self._runner.sites):
                await site.stop()
            if self._runner.server:
                await self._runner.server.shutdown(0.1)

    async def __aenter__(self) -> ScriptedCa:
        app = web.Application()
        app.router.add_route("*", "/{where}", self._handle)
        app.router.add_route("*", "/{where}/{id}", self._handle)
        self._runner = web.AppRunner(
            app, access_log=None, handle_signals=False, shutdown_timeout=0.1
        )
        await self._runner.setup()
        await web.TCPSite(self._runner, self.host, self.port).start()
        self.port = self._runner.addresses[0][1]
        return self

    async def __aexit__(self, *error: object) -> None:
        if self._runner:
            await self._runner.cleanup()

    # --- one request

    async def _handle(self, request: web.Request) -> web.StreamResponse:
        where, number = request.match_info["where"], request.match_info.get("id", "")
        self.counts[where] += 1
        fault = self._faults[where].popleft() if self._faults[where] else None
        if fault is not None and fault.kind != "lost":
            return await self._misbehave(request, fault)
        try:
            answer = await self._answer(request, where, number)
        except Problem as problem:
            answer = self._problem(problem.status, problem.type, str(problem))
            if problem.type == "badNonce":
                self._refused_at[answer.headers["Replay-Nonce"]] = str(request.url)
        if fault is not None and request.transport:
            request.transport.close()
        return answer

    async def _misbehave(self, request: web.Request, fault: Fault) -> web.StreamResponse:
        if fault.kind == "hang":
            await asyncio.sleep(3600)
        if fault.kind == "half":
            half = web.StreamResponse(headers={"Content-Length": "1000", **self._fresh()})
            await half.prepare(request)
            await half.write(b'{"status": "val')
            if request.transport:
                request.transport.close()
            return half
        if fault.kind == "html":
            return web.Response(text="<html>login</html>", content_type="text/html")
        if fault.kind == "huge":
            return web.Response(body=b" " * (3 << 20))
        answer = self._problem(fault.status, fault.type, fault.detail)
        if fault.retry_after:
            answer.headers["Retry-After"] = fault.retry_after
        return answer

    async def _answer(self, request: web.Request, where: str, number: str) -> web.Response:
        if where == "dir":
            return web.json_response(self._directory(), headers=self._date())
        if where == "nonce":
            return web.Response(status=204, headers=self._fresh())
        if where == "renewal":
            return self._renewal(number)
        header, payload = await self._opened(request)
        if where == "new-account":
            return self._new_account(header, payload)
        if where == "revoke":
            leaf = x509.load_der_x509_certificate(unb64(payload["certificate"]))
            self.revoked.append((leaf.serial_number, payload.get("reason", 0)))
            return web.Response(headers=self._fresh())
        if header.get("kid") not in self.accounts.values():
            raise Problem(400, "accountDoesNotExist", "no such account")
        if where == "account":
            return self._reply({"status": "valid"})
        if where == "new-order":
            return self._new_order(header["kid"], payload)
        return self._order_step(where, number, payload)

    async def _opened(self, request: web.Request) -> tuple[dict[str, str], dict[str, object]]:
        body = json.loads(await request.text())
        header = json.loads(unb64(body["protected"]))
        if header["nonce"] not in self._nonces:
            raise Problem(400, "badNonce", "nonce unknown or used")
        self._nonces.discard(header["nonce"])
        if self.distrust and self._refused_at.pop(header["nonce"], "") != header["url"]:
            raise Problem(400, "badNonce", "no nonce of a refusal")
        if header["url"] != str(request.url):
            raise Problem(403, "unauthorized", "url differs")
        return header, json.loads(unb64(body["payload"]) or b"{}")

    # --- objects

    def _directory(self) -> dict[str, object]:
        names = {"newNonce": "nonce", "newAccount": "new-account", "newOrder": "new-order"}
        names |= {"revokeCert": "revoke", "keyChange": "key-change"}
        if self.has_ari:
            names["renewalInfo"] = "renewal"
        meta = {"profiles": self.profiles, "caaIdentities": ["ca.test"]}
        return {**{k: self._url(v) for k, v in names.items()}, "meta": meta}

    def _new_account(self, header: dict[str, object], payload: dict[str, object]) -> web.Response:
        key = json.dumps(header["jwk"], sort_keys=True)
        known = key in self.accounts
        if not known and payload.get("onlyReturnExisting"):
            raise Problem(400, "accountDoesNotExist", "no such account")
        url = self.accounts.setdefault(key, self._url("account", len(self.accounts) + 1))
        return self._reply({"status": "valid"}, 200 if known else 201, url)

    def _new_order(self, account: str, payload: dict[str, object]) -> web.Response:
        profile, replaces = str(payload.get("profile", "")), str(payload.get("replaces", ""))
        if profile and profile not in self.profiles:
            raise Problem(400, "invalidProfile", f"no profile {profile}")
        live = [o for o in self.orders.values() if o.status != "invalid"]
        if replaces and any(o.replaces == replaces for o in live):
            raise Problem(409, "alreadyReplaced", "replaced already")
        names = [one["value"] for one in payload["identifiers"]]  # type: ignore[attr-defined]
        if self.limiter and self.limiter.order(names, self.clock.now(), replaces=bool(replaces)):
            raise Problem(429, "rateLimited", "too many new orders recently")
        number = len(self.orders) + 1
        order = _Order(number, account, payload["identifiers"], profile, replaces)  # type: ignore[arg-type]
        self.orders[number] = order
        return self._reply(self._order(order), 201, self._url("order", number))

    def _order_step(self, where: str, number: str, payload: dict[str, object]) -> web.Response:
        order = self.orders.get(int(number.partition("-")[0] or 0))
        if order is None:
            raise Problem(404, "malformed", "no such order")
        if where == "order":
            return self._look(order)
        if where == "authz":
            return self._reply(self._authorization(order, int(number.partition("-")[2])))
        if where == "chall":
            if order.status != "pending":
                raise Problem(400, "malformed", "not pending")
            self._answered(order, int(number.partition("-")[2]))
            return self._reply({"type": "x", "status": "processing", "url": self._url(where)})
        if where == "finalize":
            return self._finalize(order, str(payload["csr"]))
        if where == "cert" and order.chain:
            kind = "application/pem-certificate-chain"
            return web.Response(body=order.chain, content_type=kind, headers=self._fresh())
        raise Problem(404, "malformed", f"nothing at {where}")

    def _answered(self, order: _Order, index: int) -> None:
        if index in order.answered:
            raise Problem(400, "malformed", "answered already")
        order.answered.add(index)
        if self.validation == "invalid":
            order.status = "invalid"
        elif self.validation == "valid" and len(order.answered) == len(order.identifiers):
            order.status = "ready"

    def _look(self, order: _Order) -> web.Response:
        if order.status == "processing":
            order.looks -= 1
            if order.looks < 0:
                order.status = "valid"
        answer = self._reply(self._order(order))
        if order.status == "processing" and self.processing_retry_after:
            answer.headers["Retry-After"] = self.processing_retry_after
        return answer

    def _finalize(self, order: _Order, csr: str) -> web.Response:
        if order.status != "ready":
            raise Problem(403, "orderNotReady", f"the order is {order.status}")
        request = x509.load_der_x509_csr(unb64(csr))
        san = request.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
        leaf = self.intermediate.issue(
            request.public_key(), list(san), not_before=self.clock.now(), lifetime=self.lifetime
        )
        self.issued[ari.cert_id(leaf)] = leaf
        chain = (leaf, self.intermediate.root)
        order.chain = b"".join(c.public_bytes(Encoding.PEM) for c in chain)
        order.looks, order.status = self.slow_looks, "processing"
        return self._reply(self._order(order))

    def _order(self, order: _Order) -> dict[str, object]:
        document: dict[str, object] = {
            "status": order.status,
            "identifiers": order.identifiers,
            "authorizations": [
                self._url("authz", f"{order.number}-{n}") for n in range(len(order.identifiers))
            ],
            "finalize": self._url("finalize", order.number),
            "expires": iso(self.clock.now() + timedelta(days=7)),
        }
        if order.profile:
            document["profile"] = order.profile
        if order.status == "valid":
            document["certificate"] = self._url("cert", order.number)
        return document

    def _authorization(self, order: _Order, index: int) -> dict[str, object]:
        identifier = order.identifiers[index]
        status = "valid" if order.status not in ("pending", "invalid") else "pending"
        if index in order.answered:
            status = self.validation
        challenges = []
        for kind in self.challenge_types:
            url = self._url("chall", f"{order.number}-{index}")
            challenge: dict[str, object] = {"type": kind, "url": url, "status": status}
            if kind == "dns-persist-01":
                challenge |= {"issuer-domain-names": ["ca.test"], "accounturi": order.account}
            else:
                challenge["token"] = b64(hashlib.sha256(f"{url}{kind}".encode()).digest())
            if status == "invalid":
                challenge["error"] = {"type": URN + "unauthorized", "detail": "scripted refusal"}
            challenges.append(challenge)
        name = identifier["value"].removeprefix("*.")
        return {
            "status": status,
            "identifier": {**identifier, "value": name},
            "wildcard": identifier["value"].startswith("*."),
            "challenges": challenges,
        }

    def _renewal(self, cert: str) -> web.Response:
        leaf = self.issued.get(cert)
        if leaf is None:
            raise Problem(404, "malformed", "no such certificate")
        life = leaf.not_valid_after_utc - leaf.not_valid_before_utc
        start = leaf.not_valid_before_utc + life * 2 / 3
        start, end = self.window or (start, start + timedelta(days=2))
        answer = self._reply({"suggestedWindow": {"start": iso(start), "end": iso(end)}})
        answer.headers["Retry-After"] = self.ari_retry_after
        return answer

    # --- wire

    def _url(self, *parts: object) -> str:
        return f"http://{self.host}:{self.port}/" + "/".join(map(str, parts))

    def _fresh(self) -> dict[str, str]:
        self._made += 1
        nonce = f"nonce-{self._made:08d}"
        self._nonces.add(nonce)
        return {"Replay-Nonce": nonce, **self._date()}

    def _date(self) -> dict[str, str]:
        """The CA's clock, as its Date header tells it."""
        return {"Date": format_datetime(self.clock.now() + self.ahead, usegmt=True)}

    def _reply(
        self, document: dict[str, object], status: int = 200, location: str = ""
    ) -> web.Response:
        headers = self._fresh() | ({"Location": location} if location else {})
        return web.json_response(document, status=status, headers=headers)

    def _problem(self, status: int, type: str, detail: str) -> web.Response:
        document = {"type": URN + type if type else "about:blank", "detail": detail}
        return web.json_response(document, status=status, headers=self._fresh())


@contextlib.contextmanager
def scripted_ca(**settings: object) -> Iterator[ScriptedCa]:
    """A ScriptedCa in a thread of its own, for tests without an event loop."""
    ca = ScriptedCa(**settings)  # type: ignore[arg-type]
    loop, up = asyncio.new_event_loop(), threading.Event()

    async def serve() -> None:
        await ca.__aenter__()
        up.set()

    def run() -> None:
        loop.run_until_complete(serve())
        loop.run_forever()
        loop.run_until_complete(ca.__aexit__())
        loop.close()

    thread = threading.Thread(target=run, name="scripted CA", daemon=True)
    thread.start()
    try:
        if not up.wait(10):
            raise TimeoutError("the scripted CA did not start")
        yield ca
    finally:
        loop.call_soon_threadsafe(loop.stop)
        thread.join(10)
