"""Envoy asks here for each name's secret at its first handshake, and is pushed every change.

Delta discovery over one aggregated stream: with one stream a name, Envoy stops at 1,024 names.
gRPC shows no peer's user id, so the socket lies in a folder that only the allowed group enters.
Needs certshelf[envoy] (grpcio, protobuf), imported when a server is started.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
from collections.abc import Callable
from importlib import import_module
from pathlib import Path
from typing import TYPE_CHECKING, Any

from certshelf.errors import ConfigError
from certshelf.serve import peers
from certshelf.serve.log import ReaderLog
from certshelf.serve.pems import PemCache
from certshelf.serve.sds import Answer, Subscriber
from certshelf.serve.source import BundleSource

if TYPE_CHECKING:
    from certshelf.serve import sds_pb2

SECRET_TYPE = "type.googleapis.com/envoy.extensions.transport_sockets.tls.v3.Secret"  # noqa: S105
_SERVICES = {
    "envoy.service.discovery.v3.AggregatedDiscoveryService": "DeltaAggregatedResources",
    "envoy.service.secret.v3.SecretDiscoveryService": "DeltaSecrets",
}
_LOOK_AGAIN_SECONDS = 0.1
_SECRETS_PER_MESSAGE = 100
_STOP_SECONDS = 1.0
_MAX_MESSAGE_BYTES = 64 * 1024 * 1024  # a reconnected Envoy lists every name that it holds


class SecretServer:
    """The gRPC server; runs in the event loop that starts it."""

    def __init__(self, source: BundleSource, pems: PemCache, log: ReaderLog) -> None:
        self._source = source
        self._pems = pems
        self._log = log
        self._streams: set[_Stream] = set()
        self._eof: object = None
        self._server: Any = None
        self._unsubscribe: Callable[[], None] | None = None

    async def listen(self, path: Path, gid: int) -> None:
        """Listen on a Unix socket that this group may use. ConfigError when that cannot be."""
        grpc, handlers = _import_grpc(self._stream)
        self._eof = grpc.aio.EOF
        peers.private_folder(path.parent, gid)
        peers.clear_socket(path)
        options = [
            ("grpc.max_receive_message_length", _MAX_MESSAGE_BYTES),
            ("grpc.max_concurrent_streams", 1024),
        ]
        self._server = grpc.aio.server(options=options)
        self._server.add_generic_rpc_handlers(handlers)
        try:
            self._server.add_insecure_port(f"unix:{path}")
            await self._server.start()
            os.chown(path, -1, gid)
            path.chmod(0o660)
        except (OSError, RuntimeError) as error:
            raise ConfigError(f"cannot listen on {path}: {error}") from error
        loop = asyncio.get_running_loop()

        def changed(names: frozenset[str]) -> None:
            with contextlib.suppress(RuntimeError):  # the loop is closed: we are stopping
                loop.call_soon_threadsafe(self._changed, names)

        self._unsubscribe = self._source.subscribe(changed)

    async def close(self) -> None:
        """End the streams; Envoy keeps serving what it holds."""
        if self._unsubscribe is not None:
            self._unsubscribe()
        for stream in self._streams:
            stream.end.set()
        if self._server is not None:
            await self._server.stop(grace=_STOP_SECONDS)

    def _changed(self, names: frozenset[str]) -> None:
        for stream in self._streams:
            stream.changes.put_nowait(names)

    async def _stream(self, _requests: object, context: Any) -> None:
        """One Envoy: answer what it asks, and beside that push what changes."""
        stream = _Stream(Subscriber(self._source, self._pems), context, self._messages)
        self._streams.add(stream)
        pushes = asyncio.create_task(stream.push_forever())
        reading = asyncio.create_task(self._read_forever(stream, context))
        ending = asyncio.create_task(stream.end.wait())
        try:
            await asyncio.wait((reading, ending), return_when=asyncio.FIRST_COMPLETED)
        finally:
            self._streams.discard(stream)
            for task in (pushes, reading, ending):
                task.cancel()

    async def _read_forever(self, stream: _Stream, context: Any) -> None:
        while (request := await context.read()) is not self._eof:
            if request.type_url and request.type_url != SECRET_TYPE:
                continue
            if request.error.message:
                self._log.event("envoy-refused", reason=request.error.message[:500])
            if request.subscribe or request.unsubscribe:
                await stream.ask(request)

    def _messages(self, answer: Answer) -> list[sds_pb2.DeltaResponse]:
        from certshelf.serve import sds_pb2

        messages = []
        removed = answer.removed
        for start in range(0, max(len(answer.secrets), 1), _SECRETS_PER_MESSAGE):
            message = sds_pb2.DeltaResponse(type_url=SECRET_TYPE, removed=removed)
            removed = []
            for name, found, pem in answer.secrets[start : start + _SECRETS_PER_MESSAGE]:
                certificate = sds_pb2.TlsCertificate(
                    certificate_chain=sds_pb2.DataSource(inline_bytes=pem.certificates),
                    private_key=sds_pb2.DataSource(inline_bytes=pem.key),
                )
                secret = sds_pb2.Secret(name=name, tls_certificate=certificate)
                value = sds_pb2.Any(type_url=SECRET_TYPE, value=secret.SerializeToString())
                message.resources.add(name=name, version=pem.version, resource=value)
                self._log.handout("envoy", name, found.bundle, "unix socket")
            if message.resources or message.removed:
                messages.append(message)
        return messages


class _Stream:
    """What one stream sends, one message at a time: answers and pushes share it."""

    def __init__(
        self,
        subscriber: Subscriber,
        context: Any,
        messages: Callable[[Answer], list[sds_pb2.DeltaResponse]],
    ) -> None:
        self.end = asyncio.Event()
        self.changes: asyncio.Queue[frozenset[str] | None] = asyncio.Queue()
        self._subscriber = subscriber
        self._context = context
        self._messages = messages
        self._lock = asyncio.Lock()
        self._nonce = 0

    async def ask(self, request: sds_pb2.DeltaRequest) -> None:
        """Answer a request."""
        held = request.initial_versions
        await self._send(self._subscriber.ask(request.subscribe, request.unsubscribe, held))
        if self._subscriber.pending:
            self.changes.put_nowait(None)  # wakes push_forever(), which looks again

    async def push_forever(self) -> None:
        """Push every change, and look again at what is pending."""
        while True:
            names: frozenset[str] | None = None
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(
                    _LOOK_AGAIN_SECONDS if self._subscriber.pending else None
                ):
                    names = await self.changes.get()
            if names is not None:
                await self._send(self._subscriber.changed(names))
            elif self._subscriber.pending:
                await self._send(self._subscriber.again())

    async def _send(self, answer: Answer) -> None:
        if not answer:
            return
        async with self._lock:
            for message in self._messages(answer):
                self._nonce += 1
                message.nonce = message.system_version = str(self._nonce)
                await self._context.write(message)


def _import_grpc(stream: Callable[..., object]) -> tuple[Any, tuple[Any, ...]]:
    """The grpc module, and handlers that call stream for both of Envoy's services."""
    try:
        grpc: Any = import_module("grpc")  # typed only where somebody installed its stubs
        grpc.aio = import_module("grpc.aio")
        from certshelf.serve import sds_pb2
    except ImportError as error:
        raise ConfigError(
            "Envoy needs gRPC, which is not installed", hint="pip install 'certshelf[envoy]'"
        ) from error
    handler = grpc.stream_stream_rpc_method_handler(
        stream,
        request_deserializer=sds_pb2.DeltaRequest.FromString,
        response_serializer=sds_pb2.DeltaResponse.SerializeToString,
    )
    return grpc, tuple(
        grpc.method_handlers_generic_handler(service, {method: handler})
        for service, method in _SERVICES.items()
    )
