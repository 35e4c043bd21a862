"""The HTTP endpoint: the PEM of a name for Caddy, nginx's Lua and other pullers.

Just enough HTTP/1.1 (RFC 9112): GET and HEAD, keep-alive, no bodies. Two doors: a Unix socket for
allowed users, or TCP loopback under a secret path, for Caddy cannot ask over a Unix socket.
A miss is 404 and never 204: on 204 Caddy goes on to ask an ACME CA for the name, which a client
chose (seen with Caddy 2.11; see docs/how-to/caddy.md).
"""

from __future__ import annotations

import asyncio
import contextlib
import hmac
import ipaddress
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import unquote_plus

from certshelf.errors import ConfigError
from certshelf.resolve.limits import Forgetful
from certshelf.secret import Secret
from certshelf.serve import peers
from certshelf.serve.log import ReaderLog
from certshelf.serve.pems import PemCache
from certshelf.serve.source import BundleSource, Found

MAX_HEAD_BYTES = 8192
IDLE_SECONDS = 90.0
_CLOSE_SECONDS = 2.0
_NAME_FIELD = "server_name="
MAX_CONNECTIONS = 1024
_VAIN_SECONDS = 5.0
_MAX_VAIN = 10_000
COLD_WAIT_SECONDS = 3.0
"""How long a request waits for a name of the index whose bundle is still on its way."""


@dataclass(frozen=True, slots=True)
class _Request:
    method: str
    path: str
    server_name: str
    if_none_match: str
    keep_alive: bool


@dataclass(frozen=True, slots=True)
class _Answer:
    status: str
    body: bytes = b""
    etag: str = ""
    content_type: str = "text/plain"


_MISS = _Answer("404 Not Found")
_CANNOT_SAY = _Answer("503 Service Unavailable")
"""The name may well lie on the shelf: whoever holds a certificate for it should keep it."""


class _BadRequest(Exception):
    """The request is none that this endpoint reads; the text is the status line's."""


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
        self._connections: dict[asyncio.Task[None], asyncio.StreamWriter] = {}

    async def listen_tcp(self, host: str, port: int, path_secret: Secret) -> int:
        """Listen on loopback under a secret path; the port (useful when 0 was asked for)."""
        if not ipaddress.ip_address(host).is_loopback:
            raise ConfigError(
                f"keys are not handed out on {host}: only on loopback",
                hint="use 127.0.0.1, [::1] or a Unix socket",
            )
        prefix = b"/" + path_secret.reveal_bytes()

        async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            await self._connection(reader, writer, prefix, "loopback")

        try:
            server = await asyncio.start_server(serve, host, port, limit=MAX_HEAD_BYTES)
        except OSError as error:
            raise ConfigError(f"cannot listen on {host}:{port}: {error.strerror}") from error
        self._servers.append(server)
        return int(server.sockets[0].getsockname()[1])

    async def listen_unix(self, path: Path, uids: frozenset[int]) -> None:
        """Listen on a Unix socket, for these users only."""
        if not hasattr(asyncio, "start_unix_server"):
            raise ConfigError("there are no Unix sockets here", hint="use 127.0.0.1:PORT")
        listener = peers.listen_unix(path, 0o666)  # every user may knock; uids decides

        async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            uid = peers.peer_uid(writer.get_extra_info("socket"))
            if uid is None or uid not in uids:
                self._log.event("refused", server="http", peer=f"uid {uid}")
                await _refuse(writer)
                return
            await self._connection(reader, writer, b"", f"uid {uid}")

        server = await asyncio.start_unix_server(serve, sock=listener, limit=MAX_HEAD_BYTES)
        self._servers.append(server)

    async def close(self) -> None:
        """Stop listening and end the connections."""
        for server in self._servers:
            server.close()
        for writer in self._connections.values():
            writer.close()  # no cancelling: asyncio's streams log a cancelled task as an error
        if self._connections:
            await asyncio.wait(tuple(self._connections), timeout=_CLOSE_SECONDS)

    async def _connection(
        self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, prefix: bytes, peer: str
    ) -> None:
        task = asyncio.current_task()
        if task is None or len(self._connections) >= MAX_CONNECTIONS:
            writer.close()
            return
        self._connections[task] = writer
        loop = asyncio.get_running_loop()
        try:
            async with asyncio.timeout(None) as patience:
                keep = True
                while keep:
                    patience.reschedule(loop.time() + IDLE_SECONDS)
                    keep = await self._exchange(reader, writer, prefix, peer)
        except (OSError, TimeoutError, asyncio.IncompleteReadError):
            pass  # the client went away
        finally:
            del self._connections[task]
            writer.close()

    async def _exchange(
        self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, prefix: bytes, peer: str
    ) -> bool:
        """One request and its answer; whether the connection stays."""
        try:
            head = await reader.readuntil(b"\r\n\r\n")
            request = _parse(head, prefix)
        except asyncio.LimitOverrunError:
            await _send(writer, _Answer("431 Request Header Fields Too Large"), "GET", False)
            return False
        except _BadRequest as error:
            await _send(writer, _Answer(str(error)), "GET", False)
            return False
        answer = await self._answer(request, peer)
        await _send(writer, answer, request.method, request.keep_alive)
        return request.keep_alive

    async def _answer(self, request: _Request, peer: str) -> _Answer:
        if request.path == "/healthz":
            ready = self._source.wait_ready(0.0)
            return _Answer("200 OK", b"ok\n" if ready else b"ok, the name index is incomplete\n")
        if request.path != "/cert" or not request.server_name:
            return _MISS
        found = await self._find(request.server_name)
        if found is None:
            sure = self._source.wait_ready(0.0) and not self._source.known(request.server_name)
            return _MISS if sure else _CANNOT_SAY
        pem = self._pems.of(found.bundle)
        etag = f'"{pem.version}"'
        if etag in request.if_none_match:
            return _Answer("304 Not Modified", etag=etag)
        self._log.handout("http", request.server_name, found.bundle, peer)
        self._on_handout(found)
        return _Answer("200 OK", pem.combined, etag, "application/x-pem-file")

    async def _find(self, sni: str) -> Found | None:
        """Look for a name, waiting a bounded time for one that is still loading."""
        found = self._source.find(sni)
        if found is not None or sni in self._waited_in_vain or not self._source.coming(sni):
            return found
        loop = asyncio.get_running_loop()
        deadline, pause = loop.time() + self._cold_wait_s, 0.005
        while found is None and loop.time() < deadline:
            await asyncio.sleep(pause)
            pause = min(pause * 2, 0.1)
            was_coming = self._source.coming(sni)
            found = self._source.find(sni)
            if not was_coming:
                break
        if found is None:
            self._waited_in_vain.add(sni)
        return found


def _parse(head: bytes, prefix: bytes) -> _Request:
    """Read a request's head; what lies outside the secret path is an unknown path."""
    lines = head.split(b"\r\n")
    parts = lines[0].split(b" ")
    if len(parts) != 3 or parts[2] not in (b"HTTP/1.1", b"HTTP/1.0"):
        raise _BadRequest("400 Bad Request")
    if parts[0] not in (b"GET", b"HEAD"):
        raise _BadRequest("405 Method Not Allowed")
    headers = {
        name.strip().lower(): value.strip()
        for name, _, value in (line.partition(b":") for line in lines[1:] if line)
    }
    if b"transfer-encoding" in headers or headers.get(b"content-length", b"0") != b"0":
        raise _BadRequest("400 Bad Request")
    keep = headers.get(b"connection", b"").lower() != b"close" and parts[2] == b"HTTP/1.1"
    path, server_name = _target(parts[1], prefix)
    if_none_match = headers.get(b"if-none-match", b"").decode("latin-1")
    return _Request(parts[0].decode(), path, server_name, if_none_match, keep)


def _target(target: bytes, prefix: bytes) -> tuple[str, str]:
    """Path below the secret prefix, and the server name; `/healthz` needs no secret."""
    if target == b"/healthz":
        return "/healthz", ""
    shown = target[: len(prefix)]
    if not hmac.compare_digest(shown, prefix):
        return "", ""
    try:
        path, _, query = target[len(prefix) :].decode("ascii").partition("?")
    except UnicodeDecodeError as error:
        raise _BadRequest("400 Bad Request") from error
    for pair in query.split("&"):
        if pair.startswith(_NAME_FIELD):
            return path, unquote_plus(pair[len(_NAME_FIELD) :])
    return path, ""


async def _send(writer: asyncio.StreamWriter, answer: _Answer, method: str, keep: bool) -> None:
    lines = [f"HTTP/1.1 {answer.status}", f"Content-Length: {len(answer.body)}"]
    if answer.status.startswith("304"):
        lines.pop()  # RFC 9110 section 15.4.5: a 304 has no content of its own
    if answer.body:
        lines += [f"Content-Type: {answer.content_type}", "Cache-Control: no-store"]
    if answer.etag:
        lines.append(f"ETag: {answer.etag}")
    if not keep:
        lines.append("Connection: close")
    head = ("\r\n".join(lines) + "\r\n\r\n").encode("ascii")
    writer.write(head if method == "HEAD" else head + answer.body)
    await writer.drain()


async def _refuse(writer: asyncio.StreamWriter) -> None:
    """Say no without reading a word: a stranger may not hold a connection."""
    with contextlib.suppress(OSError):
        await _send(writer, _Answer("403 Forbidden"), "GET", False)
    writer.close()
