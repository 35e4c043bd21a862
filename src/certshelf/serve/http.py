"""The HTTP endpoint: the PEM of a name for Caddy, nginx's Lua and other pullers.

GET and HEAD, keep-alive, no bodies. Two doors: a Unix socket for allowed users, or TCP loopback
under a secret path, for Caddy cannot ask over a Unix socket.
A miss is 404 and never 204: on 204 Caddy goes on to ask an ACME CA for the name, which a client
chose (seen with Caddy 2.11; see docs/how-to/caddy.md).
"""

from __future__ import annotations

import asyncio
import ipaddress
import time
from collections.abc import Callable, Coroutine
from pathlib import Path
from typing import cast

from certshelf.errors import ConfigError
from certshelf.resolve.limits import Forgetful
from certshelf.secret import Secret
from certshelf.serve import peers
from certshelf.serve.http_wire import MAX_HEAD_BYTES, Answer, BadRequest, Request, parse
from certshelf.serve.log import ReaderLog
from certshelf.serve.pems import PemCache
from certshelf.serve.source import BundleSource, Found

IDLE_SECONDS = 90.0
MAX_CONNECTIONS = 1024
_READ_BYTES = 65536
_CLOSE_SECONDS = 2.0
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
        self._servers: list[asyncio.Server] = []
        self._connections: set[_Connection] = set()

    async def listen_tcp(self, host: str, port: int, path_secret: Secret) -> int:
        """Listen on loopback under a secret path; the port (useful when 0 was asked for)."""
        if not ipaddress.ip_address(host).is_loopback:
            raise ConfigError(
                f"keys are not handed out on {host}: only on loopback",
                hint="use 127.0.0.1, [::1] or a Unix socket",
            )
        prefix = b"/" + path_secret.reveal_bytes()
        loop = asyncio.get_running_loop()
        try:
            server = await loop.create_server(lambda: _Connection(self, prefix, None), host, port)
        except OSError as error:
            raise ConfigError(f"cannot listen on {host}:{port}: {error.strerror}") from error
        self._servers.append(server)
        return int(server.sockets[0].getsockname()[1])

    async def listen_unix(self, path: Path, uids: frozenset[int]) -> None:
        """Listen on a Unix socket, for these users only."""
        if not hasattr(asyncio, "start_unix_server"):
            raise ConfigError("there are no Unix sockets here", hint="use 127.0.0.1:PORT")
        listener = peers.listen_unix(path, 0o666)  # every user may knock; uids decides
        loop = asyncio.get_running_loop()
        self._servers.append(
            await loop.create_unix_server(lambda: _Connection(self, b"", uids), sock=listener)
        )

    async def close(self) -> None:
        """Stop listening and end the connections."""
        for server in self._servers:
            server.close()
        ended = [connection.end() for connection in tuple(self._connections)]
        if ended:
            await asyncio.wait(ended, timeout=_CLOSE_SECONDS)

    # --- what connections need

    def admit(self, connection: _Connection) -> bool:
        """Count a connection in; False when there are too many."""
        if len(self._connections) >= MAX_CONNECTIONS:
            return False
        self._connections.add(connection)
        return True

    def leave(self, connection: _Connection) -> None:
        """Count it out."""
        self._connections.discard(connection)

    def refused(self, uid: int | None) -> None:
        """A user knocked that may not ask."""
        self._log.refused("http", f"uid {uid}")

    def answer(self, request: Request, peer: str) -> Answer | Coroutine[None, None, Answer]:
        """The answer at once, or what to await for it while a name's bundle is on its way."""
        if request.path == "/healthz":
            ready = self._source.wait_ready(0.0)
            return Answer("200 OK", b"ok\n" if ready else b"ok, the name index is incomplete\n")
        if request.path != "/cert" or not request.server_name:
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


class _Connection(asyncio.BufferedProtocol):
    """One client. A request is answered in the same turn of the loop that reads it, without a
    task of its own: a miss must cost a stranger more than us. It reads into one buffer: asyncio's
    own of 256 KB is mapped anew for each read.

    uids: the users that may ask over this Unix socket; None on TCP, where prefix decides.
    """

    def __init__(self, endpoint: PemEndpoint, prefix: bytes, uids: frozenset[int] | None) -> None:
        self._endpoint = endpoint
        self._prefix = prefix
        self._uids = uids
        self._peer = "loopback"
        self._loop = asyncio.get_running_loop()
        self._buffer = memoryview(bytearray(_READ_BYTES))
        self._gone = self._loop.create_future()
        self._unread = b""
        self._slow: asyncio.Task[None] | None = None
        self._is_ended = False
        self._is_full = False
        self._answered_at = self._loop.time()
        self._idle = self._loop.call_later(IDLE_SECONDS, self._look_idle)

    def end(self) -> asyncio.Future[None]:
        """Close; the future is done when the connection is gone."""
        self._transport.close()
        return self._gone

    # --- called by asyncio

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast(asyncio.Transport, transport)
        if self._uids is not None:
            uid = peers.peer_uid(transport.get_extra_info("socket"))
            self._peer = f"uid {uid}"
            if uid not in self._uids:  # without reading a word: it may not hold a connection
                self._endpoint.refused(uid)
                self._last_word("403 Forbidden")
                return
        if not self._endpoint.admit(self):
            self._transport.close()

    def connection_lost(self, _error: Exception | None) -> None:
        self._idle.cancel()
        if self._slow is not None:
            self._slow.cancel()
            self._slow = None
        self._endpoint.leave(self)
        if not self._gone.done():
            self._gone.set_result(None)

    def get_buffer(self, _sizehint: int) -> memoryview:
        return self._buffer

    def buffer_updated(self, nbytes: int) -> None:
        data = bytes(self._buffer[:nbytes])
        self._unread = self._unread + data if self._unread else data
        self._answer_all()

    def eof_received(self) -> bool:
        self._is_ended = True
        return self._slow is not None  # True: the answer on its way is still sent

    def pause_writing(self) -> None:
        """The client does not read its answers: ours rest until it does."""
        self._is_full = True
        self._transport.pause_reading()

    def resume_writing(self) -> None:
        self._is_full = False
        if self._slow is None:
            self._transport.resume_reading()
            self._answer_all()

    # ---

    def _answer_all(self) -> None:
        while self._unread and not (self._slow or self._is_full or self._transport.is_closing()):
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
            answer = self._endpoint.answer(request, self._peer)
            if isinstance(answer, Answer):
                self._send(answer, request)
            else:
                self._transport.pause_reading()
                self._slow = self._loop.create_task(self._answer_later(answer, request))

    async def _answer_later(self, answer: Coroutine[None, None, Answer], request: Request) -> None:
        try:
            self._send(await answer, request)
        except BaseException:  # a fault of ours: the client is not left waiting, asyncio logs it
            self._transport.abort()
            raise
        self._slow = None
        if not self._is_full:
            self._transport.resume_reading()
            self._answer_all()
        if self._is_ended and self._slow is None:
            self._transport.close()

    def _send(self, answer: Answer, request: Request) -> None:
        self._answered_at = self._loop.time()
        self._transport.write(answer.encode(request.method, request.keep_alive))
        if not request.keep_alive:
            self._transport.close()

    def _last_word(self, status: str) -> None:
        self._transport.write(Answer(status).encode(b"GET", keep_alive=False))
        self._transport.close()

    def _look_idle(self) -> None:
        rest = self._answered_at + IDLE_SECONDS - self._loop.time()
        if rest > 0 or self._slow is not None:
            self._idle = self._loop.call_later(max(rest, 1.0), self._look_idle)
        else:
            self._transport.abort()
