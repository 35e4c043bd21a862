"""Envoy asks here for each name's secret at its first handshake, and is pushed every change.

Delta discovery over one aggregated stream: with one stream a name, Envoy stops at 1,024 names.
gRPC shows no peer's user id, so the socket lies in a folder that only the allowed group enters.
Needs certshelf[envoy] (grpcio, protobuf), imported when a server is started.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
from collections.abc import AsyncIterator, Callable
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
_MOST_AT_ONCE = 500
_MAX_MESSAGE_BYTES = 64 * 1024 * 1024  # a reconnected Envoy lists every name that it holds

Inbox = asyncio.Queue["sds_pb2.DeltaRequest | frozenset[str] | None"]


class SecretServer:
    """The gRPC server; runs in the event loop that starts it."""

    def __init__(self, source: BundleSource, pems: PemCache, log: ReaderLog) -> None:
        self._source = source
        self._pems = pems
        self._log = log
        self._inboxes: set[Inbox] = set()
        self._server: Any = None
        self._unsubscribe: Callable[[], None] | None = None

    async def listen(self, path: Path, gid: int) -> None:
        """Listen on a Unix socket that this group may use. ConfigError when that cannot be."""
        grpc, handlers = _import_grpc(self._stream)
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
        if self._server is not None:
            await self._server.stop(grace=None)

    def _changed(self, names: frozenset[str]) -> None:
        for inbox in self._inboxes:
            inbox.put_nowait(names)

    async def _stream(
        self, requests: AsyncIterator[sds_pb2.DeltaRequest], _context: object
    ) -> AsyncIterator[sds_pb2.DeltaResponse]:
        subscriber = Subscriber(self._source, self._pems)
        inbox: Inbox = asyncio.Queue()
        pump = asyncio.create_task(_pump(requests, inbox))
        self._inboxes.add(inbox)
        nonce = 0
        try:
            while True:
                for message in self._messages(await self._next(inbox, subscriber)):
                    nonce += 1
                    message.nonce = message.system_version = str(nonce)
                    yield message
        except asyncio.QueueEmpty:
            return  # Envoy ended the stream
        finally:
            self._inboxes.discard(inbox)
            pump.cancel()

    async def _next(self, inbox: Inbox, subscriber: Subscriber) -> Answer:
        """Wait for what is next, and answer all that waits at once: Envoy confirms each message.

        QueueEmpty at the end of the stream.
        """
        try:
            async with asyncio.timeout(_LOOK_AGAIN_SECONDS if subscriber.pending else None):
                items = [await inbox.get()]
        except TimeoutError:
            return subscriber.again()
        while len(items) < _MOST_AT_ONCE and not inbox.empty():
            items.append(inbox.get_nowait())
        answer = Answer()
        for item in items:
            if item is None:
                raise asyncio.QueueEmpty
            answer.add(self._answer(item, subscriber))
        return answer

    def _answer(
        self, item: sds_pb2.DeltaRequest | frozenset[str], subscriber: Subscriber
    ) -> Answer:
        if isinstance(item, frozenset):
            return subscriber.changed(item)
        if item.type_url and item.type_url != SECRET_TYPE:
            return Answer()
        if item.error.message:
            self._log.event("envoy-refused", reason=item.error.message[:500])
        return subscriber.ask(item.subscribe, item.unsubscribe, item.initial_versions)

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


async def _pump(requests: AsyncIterator[sds_pb2.DeltaRequest], inbox: Inbox) -> None:
    try:
        async for request in requests:
            inbox.put_nowait(request)
    finally:
        inbox.put_nowait(None)


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
