"""The wire to one CA: one connection pool, nonces, signed posts, limits, and errors by name.

The client knows no orders: account.py, order.py and their neighbours say what is posted. Time and
waiting are passed in, so that tests never wait.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import ssl
from collections import deque
from collections.abc import Awaitable, Callable, Iterator, Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta
from pathlib import Path

import aiohttp

from certshelf.bundle.model import PrivateKey
from certshelf.clock import SYSTEM, Clock
from certshelf.errors import AcmeProblem, ConfigError, IssueError, RateLimited
from certshelf.issue.acme import jws
from certshelf.issue.acme.directory import Directory, checked_url, no_step_down
from certshelf.issue.acme.limits import Bucket, Gate, Rate
from certshelf.issue.acme.problem import from_response, printable, unreachable
from certshelf.issue.acme.proxy import Proxies
from certshelf.issue.acme.response import Response
from certshelf.issue.acme.retry import http_date, retry_after

Sleep = Callable[[float], Awaitable[None]]

MAX_BODY_BYTES = 1 << 20
TIMEOUT_S = 30.0
_MAX_NONCES = 256
_NONCE_TRIES = 10  # a CA that refuses every fifth nonce by chance refuses ten in 10^7 requests
_SHORT_WAIT_S = 5.0
# Let's Encrypt takes 250 requests a second from one address (letsencrypt.org/docs/rate-limits)
REQUESTS = Rate(per_second=200, burst=100)


@dataclass(frozen=True, slots=True)
class ClientSettings:
    """How to reach one CA and how hard it may be asked.

    ca_file: PEM roots that the CA's own server certificate must chain to; None for the system's.
    timeout_s: for one whole request. in_flight: requests at once for each account. requests:
    the rate for this machine's address. orders: new orders for each account; None for no limit.
    """

    directory_url: str
    ca_file: Path | None = None
    timeout_s: float = TIMEOUT_S
    in_flight: int = 32
    requests: Rate | None = REQUESTS
    orders: Rate | None = None
    user_agent: str = "certshelf"


@dataclass(frozen=True, slots=True)
class Signer:
    """Who signs a request: the account's key and its URL, "" before the CA has given one."""

    key: PrivateKey
    url: str = ""

    @property
    def thumbprint(self) -> str:
        """The key's RFC 7638 thumbprint."""
        return jws.thumbprint(self.key)


class AcmeClient:
    """One CA, as seen from here; shared by all accounts and orders there.

    Use it as an async context manager, or call close(). Every call ends in a Response or in an
    IssueError: AcmeProblem, RateLimited or IssuerUnreachable. Safe for many tasks of one loop.
    """

    def __init__(
        self,
        settings: ClientSettings,
        *,
        clock: Clock = SYSTEM,
        sleep: Sleep = asyncio.sleep,
    ) -> None:
        self.settings = settings
        self.clock = clock
        self.sleep = sleep
        self.requests_sent = 0
        self.bad_nonces = 0
        self.clock_skew = timedelta(0)  # the CA's Date header minus our clock, when last heard
        self._session: aiohttp.ClientSession | None = None
        self._directory: Directory | None = None
        self._nonces: deque[str] = deque(maxlen=_MAX_NONCES)  # the oldest fall out
        self._proxies = Proxies()
        self._gates: dict[str, Gate] = {}
        rate = settings.requests
        self._requests = Bucket.full(rate, clock.now()) if rate else None
        self._turn = asyncio.Lock()

    async def __aenter__(self) -> AcmeClient:
        return self

    async def __aexit__(self, *error: object) -> None:
        await self.close()

    async def close(self) -> None:
        """Close the connections; the client may be used again."""
        session, self._session = self._session, None
        if session is not None:
            await session.close()

    async def directory(self) -> Directory:
        """The CA's directory, asked once."""
        if self._directory is None:
            url = checked_url(self.settings.directory_url)
            self._directory = Directory.parse((await self.get(url)).json())
        return self._directory

    async def get(self, url: str) -> Response:
        """An unsigned GET: the directory and ARI, nothing else."""
        response = await self._send("GET", url, None)
        self._keep(response.nonce)
        self._refuse(response)
        return response

    async def post(
        self, url: str, payload: Mapping[str, object] | None, signer: Signer
    ) -> Response:
        """A signed POST; payload None is a POST-as-GET (RFC 8555 section 6.3).

        A refused nonce is answered with the new one that came with the refusal, a few times
        (section 6.5): nobody else gets to use that one. Nothing else is repeated here: whether
        twice is safe is the caller's knowledge.
        """
        body = b"" if payload is None else json.dumps(payload).encode()
        async with self.gate(signer).slots:
            nonce = ""
            for _ in range(_NONCE_TRIES):
                nonce = nonce or await self._nonce()
                response = await self._post_once(url, body, signer, nonce)
                nonce = response.nonce
                try:
                    self._refuse(response)
                except AcmeProblem as problem:
                    if problem.type == "badNonce":
                        self.bad_nonces += 1
                        if not nonce:  # against section 6.5: then those left over are no better
                            self._nonces.clear()
                        continue
                    self._keep(nonce)
                    raise
                self._keep(nonce)
                return response
        raise self.unreachable(f"the CA refused {_NONCE_TRIES} fresh nonces in a row at {url}")

    def gate(self, signer: Signer) -> Gate:
        """The limits of one account at this CA."""
        name = signer.url or signer.thumbprint
        if name not in self._gates:
            rate = self.settings.orders
            orders = Bucket.full(rate, self.clock.now()) if rate else None
            self._gates[name] = Gate(self.settings.in_flight, orders)
        return self._gates[name]

    async def may_order(self, signer: Signer) -> None:
        """Use up one new order of the account's rate, after a wait of seconds if need be.

        Raises RateLimited with the moment at which it may go, when that is further off.
        """
        while until := self.gate(signer).take_order(self.clock.now()):
            wait_s = (until - self.clock.now()).total_seconds()
            if wait_s > _SHORT_WAIT_S:
                raise RateLimited(
                    "this account's own limit of new orders is reached",
                    hint="it goes on by itself; a second account shares the load",
                    retry_at=until,
                )
            await self.sleep(wait_s)

    def unreachable(self, what: str, hint: str = "") -> IssueError:
        """An IssuerUnreachable that may be retried in a minute."""
        return unreachable(what, self.clock.now(), hint)

    # --- one request

    async def _post_once(self, url: str, body: bytes, signer: Signer, nonce: str) -> Response:
        header: dict[str, object] = {"nonce": nonce, "url": url}
        if signer.url:
            header["kid"] = signer.url
        else:
            header["jwk"] = jws.jwk(signer.key)
        signed = jws.sign(signer.key, header, body)
        return await self._send("POST", url, json.dumps(signed).encode())

    async def _nonce(self) -> str:
        """The newest nonce that is left over, or one from the CA, which is this caller's own."""
        if self._nonces:
            return self._nonces.pop()
        response = await self._send("HEAD", (await self.directory()).new_nonce, None)
        self._refuse(response)
        if not response.nonce:
            raise self.unreachable("the CA gives no nonce")
        return response.nonce

    def _keep(self, nonce: str) -> None:
        if nonce:
            self._nonces.append(nonce)

    async def _send(self, method: str, url: str, data: bytes | None) -> Response:
        no_step_down(url, self.settings.directory_url)
        await self._take_request()
        proxy = await self._proxies.find(url)
        headers = {"Content-Type": "application/jose+json"} if data is not None else {}
        with self._named_errors(url):
            async with self._open().request(
                method,
                checked_url(url),
                data=data,
                headers=headers,
                proxy=proxy,
                allow_redirects=False,  # else one hop over http could name us another CA
            ) as answer:
                body = await _read(answer, MAX_BODY_BYTES)
        self.requests_sent += 1
        if len(body) > MAX_BODY_BYTES:
            raise self.unreachable(f"the CA's answer from {url} is larger than 1 MiB")
        now = self.clock.now()
        if date := http_date(answer.headers.get("Date")):
            self.clock_skew = date - now
        return Response(
            url=url,
            status=answer.status,
            body=body,
            location=answer.headers.get("Location", ""),
            links=tuple(answer.headers.getall("Link", ())),
            retry_at=retry_after(answer.headers.get("Retry-After"), now),
            nonce=answer.headers.get("Replay-Nonce", ""),
        )

    async def _take_request(self) -> None:
        if self._requests is None:
            return
        async with self._turn:  # one waits for the next token: all would wake for each
            now = self.clock.now()
            while isinstance(taken := self._requests.take(now), datetime):
                await self.sleep((taken - now).total_seconds())
                now = self.clock.now()
            self._requests = taken

    def _refuse(self, response: Response) -> None:
        """Raise what an answer of 300 and above means."""
        if response.status >= 400:
            now = self.clock.now()
            raise from_response(response.status, response.document(), response.retry_at, now)
        if response.status >= 300:
            raise self.unreachable(
                f"{response.url} redirects to {printable(response.location) or 'nowhere'}",
                "an ACME server does not redirect: give the directory's own URL",
            )

    @contextlib.contextmanager
    def _named_errors(self, url: str) -> Iterator[None]:
        try:
            yield
        except aiohttp.ClientConnectorCertificateError as error:
            text = printable(error)
            dated = "expired" in text or "not yet valid" in text
            raise self.unreachable(
                f"the CA's own server certificate is not trusted at {url}: {text}",
                "compare this machine's clock" if dated else "give the CA's roots with --ca-file",
            ) from error
        except TimeoutError as error:
            raise self.unreachable(
                f"the CA did not answer in {self.settings.timeout_s:g} s at {url}"
            ) from error
        except (aiohttp.ClientError, OSError, ValueError) as error:
            raise self.unreachable(
                f"the CA cannot be reached at {url}: {printable(error) or type(error).__name__}"
            ) from error

    def _open(self) -> aiohttp.ClientSession:
        if self._session is None:
            self._session = aiohttp.ClientSession(
                connector=aiohttp.TCPConnector(ssl=self._tls(), limit=self.settings.in_flight),
                timeout=aiohttp.ClientTimeout(total=self.settings.timeout_s),
                headers={"User-Agent": self.settings.user_agent},
                cookie_jar=aiohttp.DummyCookieJar(),
            )
        return self._session

    def _tls(self) -> ssl.SSLContext:
        ca_file = self.settings.ca_file
        try:
            return ssl.create_default_context(cafile=str(ca_file) if ca_file else None)
        except (OSError, ssl.SSLError) as error:
            raise ConfigError(
                f"the CA file {ca_file} cannot be used: {printable(error)}",
                hint="--ca-file takes a PEM file with the roots of the CA's own server",
            ) from error


async def _read(answer: aiohttp.ClientResponse, limit: int) -> bytes:
    """The body, or its first limit + 1 bytes."""
    parts, size = [], 0
    async for part in answer.content.iter_chunked(1 << 16):
        parts.append(part)
        size += len(part)
        if size > limit:
            break
    return b"".join(parts)[: limit + 1]
