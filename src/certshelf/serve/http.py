"""The HTTP endpoint: the PEM of a name for Caddy, nginx's Lua and other pullers.

GET and HEAD, keep-alive, no bodies. Two doors: a Unix socket for allowed users, or TCP loopback
under a secret path, for Caddy cannot ask over a Unix socket.
A miss is 404 and never 204: on 204 Caddy goes on to ask an ACME CA for the name, which a client
chose (seen with Caddy 2.11; see docs/how-to/caddy.md).
"""

from __future__ import annotations

import asyncio
import ipaddress
import socket
import time
from collections.abc import Callable, Coroutine
from pathlib import Path

from certshelf.errors import ConfigError
from certshelf.resolve.limits import Forgetful
from certshelf.secret import Secret
from certshelf.serve import peers
from certshelf.serve.door import Door, Visitor
from certshelf.serve.http_wire import MAX_HEAD_BYTES, Answer, BadRequest, Request, parse
from certshelf.serve.log import ReaderLog
from certshelf.serve.pems import PemCache
from certshelf.serve.source import BundleSource, Found

CERT_PATH = "/cert"
_BACKLOG = 1024
_VAIN_SECONDS = 5.0
_MAX_VAIN = 10_000
COLD_WAIT_SECONDS = 3.0
"""How long a request waits for a bundle that is on its way."""

_MISS = Answer("404 Not Found")
_CANNOT_SAY = Answer("503 Service Unavailable")
"""The name may well lie on the shelf: whoever holds a certificate for it should keep it."""


class PemEndpoint:
    """Answers `GET [/SECRET]/cert?server_name=NAME`; runs in the event loop that starts it.

    cold_wait_s: how long a request waits for a bundle that is on its way.
    on_handout: called with each file whose bundle was given: a lazy mirror's `want`.
    """

    def __init__(
        self,
        source: BundleSource,
        pems: PemCache,
        log: ReaderLog,
        *,
        cold_wait_s: float = COLD_WAIT_SECONDS,
        on_handout: Callable[[Found], object] = lambda found: None,
    ) -> None:
        self._source = source
        self._pems = pems
        self._log = log
        self._cold_wait_s = cold_wait_s
        self._on_handout = on_handout
        self._waited_in_vain = Forgetful(_VAIN_SECONDS, _MAX_VAIN, time.monotonic)
        self._doors: list[Door] = []

    async def listen_tcp(self, host: str, port: int, path_secret: Secret) -> int:
        """Listen on loopback under a secret path; the port (useful when 0 was asked for)."""
        if not ipaddress.ip_address(host).is_loopback:
            raise ConfigError(
                f"keys are not handed out on {host}: only on loopback",
                hint="use 127.0.0.1, [::1] or a Unix socket",
            )
        family = socket.AF_INET6 if ":" in host else socket.AF_INET
        try:
            listener = socket.create_server((host, port), family=family, backlog=_BACKLOG)
        except OSError as error:
            raise ConfigError(f"cannot listen on {host}:{port}: {error.strerror}") from error
        listener.setblocking(False)
        listener.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)  # a connection inherits it
        self._open(listener, b"/" + path_secret.reveal_bytes(), None)
        return int(listener.getsockname()[1])

    async def listen_unix(self, path: Path, uids: frozenset[int]) -> None:
        """Listen on a Unix socket, for these users only."""
        if not hasattr(socket, "AF_UNIX"):
            raise ConfigError("there are no Unix sockets here", hint="use 127.0.0.1:PORT")
        # every user may knock; uids decides
        self._open(peers.listen_unix(path, 0o666), b"", uids)

    def _open(self, listener: socket.socket, prefix: bytes, uids: frozenset[int] | None) -> None:
        def receive(door: Door, connection: socket.socket) -> Visitor:
            return _Caller(door, connection, self, prefix, uids)

        self._doors.append(Door(listener, receive))

    async def close(self) -> None:
        """Stop listening and end the connections."""
        await asyncio.gather(*(door.close() for door in self._doors))

    # --- what connections need

    def refused(self, uid: int | None) -> None:
        """A user knocked that may not ask."""
        self._log.refused("http", f"uid {uid}")

    def answer(self, request: Request, peer: str) -> Answer | Coroutine[None, None, Answer]:
        """The answer at once, or what to await for it while a name's bundle is on its way."""
        if request.path == "/healthz":
            ready = self._source.wait_ready(0.0)
            return Answer("200 OK", b"ok\n" if ready else b"ok, the name index is incomplete\n")
        if request.path != CERT_PATH or not request.server_name:
            return _MISS
        found = self._source.find(request.server_name)
        if found is None and self._is_on_its_way(request.server_name):
            return self._awaited(request, peer)
        return self._answer(request, found, peer)

    def _answer(self, request: Request, found: Found | None, peer: str) -> Answer:
        if found is None:
            sure = self._source.wait_ready(0.0) and not self._source.known(request.server_name)
            return _MISS if sure else _CANNOT_SAY
        pem = self._pems.of(found.bundle)
        etag = f'"{pem.version}"'
        if etag.encode() in request.if_none_match:
            return Answer("304 Not Modified", etag=etag)
        self._log.handout("http", request.server_name, found.bundle, peer)
        self._on_handout(found)
        return Answer("200 OK", pem.combined, etag, "application/x-pem-file")

    def _is_on_its_way(self, sni: str) -> bool:
        return sni not in self._waited_in_vain and self._source.coming(sni)

    async def _awaited(self, request: Request, peer: str) -> Answer:
        """Wait a bounded time for a name that is still loading."""
        sni, loop = request.server_name, asyncio.get_running_loop()
        deadline, pause = loop.time() + self._cold_wait_s, 0.005
        found, was_coming = None, True
        while found is None and was_coming and loop.time() < deadline:
            await asyncio.sleep(pause)
            pause = min(pause * 2, 0.1)
            was_coming = self._source.coming(sni)
            found = self._source.find(sni)
        if found is None:
            self._waited_in_vain.add(sni)
        return self._answer(request, found, peer)


class _Caller(Visitor):
    """One client. A request is answered in the same turn of the loop that reads it, without a
    task of its own: a miss must cost a stranger more than us.

    uids: the users that may ask over this Unix socket; None on TCP, where prefix decides.
    """

    def __init__(
        self,
        door: Door,
        connection: socket.socket,
        endpoint: PemEndpoint,
        prefix: bytes,
        uids: frozenset[int] | None,
    ) -> None:
        super().__init__(door, connection)
        self._endpoint = endpoint
        self._prefix = prefix
        self._uids = uids
        self._peer = "loopback"
        self._unread = b""
        self._slow: asyncio.Task[None] | None = None

    def arrived(self) -> None:
        """On a Unix socket the kernel says who it is."""
        if self._uids is not None:
            uid = peers.peer_uid(self.socket)
            self._peer = f"uid {uid}"
            if uid not in self._uids:  # without reading a word
                self._endpoint.refused(uid)
                self._last_word("403 Forbidden")
                return
            if not self._is_admitted():
                return
        self.read()

    def received(self, data: bytes) -> None:
        """Answer every whole request."""
        self._unread = self._unread + data if self._unread else data
        while self._unread and self.may_speak:
            head, end, rest = self._unread.partition(b"\r\n\r\n")
            if len(head) > MAX_HEAD_BYTES:
                self._last_word("431 Request Header Fields Too Large")
                return
            if not end:
                return
            self._unread = rest
            try:
                request = parse(head, self._prefix)
            except BadRequest as error:
                self._last_word(str(error))
                return
            if request.path != CERT_PATH or self._is_admitted():
                self._answer(request)

    def gone(self) -> None:
        """Nobody waits for the answer any more."""
        if self._slow is not None:
            self._slow.cancel()

    def _is_admitted(self) -> bool:
        if self.door.admit(self):
            return True
        self._last_word("503 Service Unavailable")
        return False

    def _answer(self, request: Request) -> None:
        answer = self._endpoint.answer(request, self._peer)
        if isinstance(answer, Answer):
            self._send(answer, request)
        else:
            self.is_waiting = True
            self._slow = self.door.loop.create_task(self._answer_later(answer, request))

    async def _answer_later(self, answer: Coroutine[None, None, Answer], request: Request) -> None:
        try:
            self._send(await answer, request)
        except BaseException:  # a fault of ours: the client is not left waiting, asyncio logs it
            self.abort()
            raise
        self._slow = None
        self.resume()

    def _send(self, answer: Answer, request: Request) -> None:
        self.send(answer.encode(request.method, request.keep_alive))
        if not request.keep_alive:
            self.close()

    def _last_word(self, status: str) -> None:
        self.send(Answer(status).encode(b"GET", keep_alive=False))
        self.close()
