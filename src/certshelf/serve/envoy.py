"""Envoy asks here for each name's secret at its first handshake, and is pushed every change.

Delta discovery over one aggregated stream: with one stream a name, Envoy stops at 1,024 names.
Who may ask: the kernel says which user connects.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Callable
from pathlib import Path
from typing import cast

from certshelf.errors import ConfigError
from certshelf.serve import peers, sds_wire
from certshelf.serve.http2 import GrpcConnection, Http2Error
from certshelf.serve.log import ReaderLog
from certshelf.serve.pems import PemCache
from certshelf.serve.sds import Answer, Subscriber
from certshelf.serve.source import BundleSource

_LOOK_AGAIN_SECONDS = 0.1
_SECRETS_PER_MESSAGE = 100
_READ_BYTES = 65536


class SecretServer:
    """The server of secrets; runs in the event loop that starts it."""

    def __init__(self, source: BundleSource, pems: PemCache, log: ReaderLog) -> None:
        self._source = source
        self._pems = pems
        self._log = log
        self._connections: set[_Connection] = set()
        self._server: asyncio.Server | None = None
        self._unsubscribe: Callable[[], None] | None = None

    async def listen(self, path: Path, uids: frozenset[int]) -> None:
        """Listen on a Unix socket, for these users only. ConfigError when that cannot be."""
        loop = asyncio.get_running_loop()
        if not hasattr(loop, "create_unix_server"):
            raise ConfigError("there are no Unix sockets here, and Envoy is served over one")
        listener = peers.listen_unix(path, 0o666)  # every user may knock; uids decides
        self._server = await loop.create_unix_server(lambda: _Connection(self, uids), sock=listener)

        def changed(names: frozenset[str]) -> None:
            with contextlib.suppress(RuntimeError):  # the loop is closed: we are stopping
                loop.call_soon_threadsafe(self._changed, names)

        self._unsubscribe = self._source.subscribe(changed)

    async def close(self) -> None:
        """End the connections; Envoy keeps serving what it holds."""
        if self._unsubscribe is not None:
            self._unsubscribe()
        if self._server is not None:
            self._server.close()
        for connection in tuple(self._connections):
            connection.end()

    def _changed(self, names: frozenset[str]) -> None:
        for connection in tuple(self._connections):
            connection.changed(names)

    # --- what connections need

    def admit(self, connection: _Connection) -> None:
        """Push changes to it from now on."""
        self._connections.add(connection)

    def leave(self, connection: _Connection) -> None:
        """It is gone."""
        self._connections.discard(connection)

    def subscriber(self) -> Subscriber:
        """What a new stream holds: nothing."""
        return Subscriber(self._source, self._pems)

    def refused(self, uid: int | None) -> None:
        """A user knocked that may not ask."""
        self._log.refused("envoy", f"uid {uid}")

    def said(self, reason: str) -> None:
        """Envoy said what is wrong with our answer, or something that makes no sense."""
        self._log.event("envoy-refused", reason=reason[:500])

    def messages(self, answer: Answer, stream: _Stream, peer: str) -> list[bytes]:
        """An answer as messages of bounded size."""
        messages = []
        removed = answer.removed
        for start in range(0, max(len(answer.secrets), 1), _SECRETS_PER_MESSAGE):
            resources = []
            for name, found, pem in answer.secrets[start : start + _SECRETS_PER_MESSAGE]:
                resources.append(sds_wire.secret(name, pem))
                self._log.handout("envoy", name, found.bundle, peer)
            messages.append(sds_wire.response(resources, removed, stream.next_nonce()))
            removed = []
        return messages


class _Stream:
    """One Envoy's subscription, and the changes that wait until it has taken what was sent."""

    def __init__(self, subscriber: Subscriber) -> None:
        self.subscriber = subscriber
        self.answer = Answer()
        self.waiting: set[str] = set()
        self.all_wait = False
        self.is_strange = False
        self._nonce = 0

    def next_nonce(self) -> str:
        self._nonce += 1
        return str(self._nonce)

    @property
    def is_behind(self) -> bool:
        return self.all_wait or bool(self.waiting)

    def wait(self, names: frozenset[str]) -> None:
        self.all_wait = self.all_wait or not names
        self.waiting |= names

    def waited(self) -> Answer:
        """The answer to the changes that waited."""
        names = frozenset() if self.all_wait else frozenset(self.waiting)
        self.all_wait, self.waiting = False, set()
        return self.subscriber.changed(names)


class _Connection(asyncio.BufferedProtocol):
    """One connection of an Envoy: what is asked in one turn of the loop is answered together.

    It reads into one buffer: asyncio's own of 256 KB is mapped anew for each read.
    """

    def __init__(self, server: SecretServer, uids: frozenset[int]) -> None:
        self._server = server
        self._uids = uids
        self._peer = "unix socket"
        self._loop = asyncio.get_running_loop()
        self._buffer = memoryview(bytearray(_READ_BYTES))
        self._grpc = GrpcConnection(self._asked, self._ended)
        self._streams: dict[int, _Stream] = {}
        self._is_full = False
        self._again: asyncio.TimerHandle | None = None

    def end(self) -> None:
        """Say goodbye and close."""
        self._transport.write(self._grpc.goodbye())
        self._transport.close()

    def changed(self, names: frozenset[str]) -> None:
        """Push what changed; an empty set means all."""
        for stream in self._streams.values():
            stream.wait(names)
        self._send()

    # --- called by asyncio

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast(asyncio.Transport, transport)
        uid = peers.peer_uid(transport.get_extra_info("socket"))
        if uid is None or uid not in self._uids:
            self._server.refused(uid)
            self._transport.abort()
            return
        self._peer = f"uid {uid}"
        self._server.admit(self)
        self._transport.write(self._grpc.take())

    def connection_lost(self, _error: Exception | None) -> None:
        self._server.leave(self)
        self._streams.clear()
        if self._again is not None:
            self._again.cancel()

    def get_buffer(self, _sizehint: int) -> memoryview:
        return self._buffer

    def buffer_updated(self, nbytes: int) -> None:
        data = bytes(self._buffer[:nbytes])
        try:
            self._grpc.receive(data)
        except Http2Error as error:
            self._server.said(str(error))
            self._transport.write(self._grpc.goodbye(error.code))
            self._transport.close()
            return
        self._send()

    def pause_writing(self) -> None:
        """Envoy does not read: it is not heard until it does, and changes wait."""
        self._is_full = True
        self._transport.pause_reading()

    def resume_writing(self) -> None:
        self._is_full = False
        self._transport.resume_reading()
        self._send()

    # ---

    def _asked(self, number: int, message: bytes) -> None:
        stream = self._streams.get(number)
        if stream is None:
            stream = self._streams[number] = _Stream(self._server.subscriber())
        try:
            request = sds_wire.read_request(message)
        except ValueError as error:
            raise Http2Error(1, f"no request for secrets: {error}") from error
        if request.type_url not in (b"", sds_wire.SECRET_TYPE):
            if not stream.is_strange:
                stream.is_strange = True
                self._server.said("it asks for something else than secrets")
            return
        if request.error:
            self._server.said(request.error)
        if request.subscribe or request.unsubscribe:
            asked = stream.subscriber.ask(request.subscribe, request.unsubscribe, request.held)
            stream.answer.add(asked)

    def _ended(self, number: int) -> None:
        self._streams.pop(number, None)

    def _send(self) -> None:
        """Send each stream's answer, and what changed meanwhile once it took all before."""
        pending = False
        for number, stream in tuple(self._streams.items()):
            pending = pending or bool(stream.subscriber.pending)
            if self._is_full or self._grpc.is_blocked(number):
                continue  # what it asks for meanwhile is a list of names, not of their secrets
            if stream.is_behind:
                stream.answer.add(stream.waited())
            if stream.answer:
                answer, stream.answer = stream.answer, Answer()
                for message in self._server.messages(answer, stream, self._peer):
                    self._grpc.send(number, message)
        out = self._grpc.take()
        if out:
            self._transport.write(out)
        if pending and self._again is None:
            self._again = self._loop.call_later(_LOOK_AGAIN_SECONDS, self._look_again)

    def _look_again(self) -> None:
        self._again = None
        for stream in self._streams.values():
            stream.answer.add(stream.subscriber.again())
        self._send()
