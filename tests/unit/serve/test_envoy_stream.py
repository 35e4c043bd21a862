"""The secret stream on its socket: asked by Google's gRPC, and by bytes that nobody should send."""

from __future__ import annotations

import asyncio
import io
import json
import os
import struct
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest
from tests.support.small_ca import SmallCa
from tests.support.source import FakeSource

from certshelf.clock import SYSTEM
from certshelf.serve import http2, sds_wire
from certshelf.serve.envoy import SecretServer
from certshelf.serve.http2 import MAX_STREAMS, PREFACE, GrpcConnection, Http2Error
from certshelf.serve.log import ReaderLog
from certshelf.serve.pems import Pem, PemCache

grpc_aio = pytest.importorskip("grpc.aio")
sds_pb2 = pytest.importorskip("tests.support.sds_pb2")

pytestmark = pytest.mark.skipif(
    not hasattr(os, "geteuid"), reason="Envoy is served over Unix sockets"
)
METHOD = "/envoy.service.discovery.v3.AggregatedDiscoveryService/DeltaAggregatedResources"
SECRET = sds_wire.SECRET_TYPE.decode()
BUNDLE = SmallCa().issue("www.one.test")
PEM = PemCache().of(BUNDLE)


@asynccontextmanager
async def served(
    source: FakeSource, folder: Path, log: io.StringIO, uids: frozenset[int] | None = None
) -> AsyncIterator[Path]:
    server = SecretServer(source, PemCache(), ReaderLog(log, SYSTEM))
    path = folder / "sds" / "s.sock"
    await server.listen(path, frozenset({os.geteuid()}) if uids is None else uids)
    try:
        yield path
    finally:
        await server.close()


def talk(tmp_path: Path, source: FakeSource, story: Callable[[Any], Awaitable[None]]) -> str:
    """Run a story over one stream of Google's client; the reader's log."""
    log = io.StringIO()

    async def run() -> None:
        async with served(source, tmp_path, log) as path:
            options = [("grpc.max_receive_message_length", -1)]
            async with grpc_aio.insecure_channel(f"unix:{path}", options=options) as channel:
                call = channel.stream_stream(
                    METHOD,
                    request_serializer=sds_pb2.DeltaRequest.SerializeToString,
                    response_deserializer=sds_pb2.DeltaResponse.FromString,
                )()
                await asyncio.wait_for(story(call), 30)
                call.cancel()

    asyncio.run(run())
    return log.getvalue()


def ask(*names: str, **more: Any) -> Any:
    return sds_pb2.DeltaRequest(type_url=SECRET, subscribe=names, **more)


def test_google_s_client_gets_the_secret_that_it_asks_for(tmp_path: Path) -> None:
    source = FakeSource()
    source.put("www.one.test", BUNDLE)

    async def story(call: Any) -> None:
        await call.write(ask("www.one.test"))
        answer = await call.read()
        assert (answer.type_url, answer.removed) == (SECRET, [])
        (resource,) = answer.resources
        assert (resource.name, resource.version) == ("www.one.test", BUNDLE.sha256)
        secret = sds_pb2.Secret.FromString(resource.resource.value)
        assert resource.resource.type_url == SECRET
        assert secret.name == "www.one.test"
        assert secret.tls_certificate.private_key.inline_bytes == PEM.key
        assert secret.tls_certificate.certificate_chain.inline_bytes == PEM.certificates

    log = talk(tmp_path, source, story)
    assert "key-handed-out" in log
    assert f"uid {os.geteuid()}" in log


def test_unknown_names_are_refused_one_after_the_other(tmp_path: Path) -> None:
    async def story(call: Any) -> None:
        for number in range(200):
            await call.write(ask(f"x{number}.test"))
            answer = await call.read()
            assert (answer.removed, len(answer.resources)) == ([f"x{number}.test"], 0)
            await call.write(sds_pb2.DeltaRequest(type_url=SECRET, nonce=answer.nonce))

    talk(tmp_path, FakeSource(), story)


def test_a_change_is_pushed_over_the_stream(tmp_path: Path) -> None:
    source = FakeSource()

    async def story(call: Any) -> None:
        await call.write(ask("www.one.test"))
        assert (await call.read()).removed == ["www.one.test"]
        source.put("www.one.test", BUNDLE)
        source.tell("www.one.test")
        assert [r.name for r in (await call.read()).resources] == ["www.one.test"]

    talk(tmp_path, source, story)


def test_ten_thousand_names_of_a_reconnected_envoy_are_answered(tmp_path: Path) -> None:
    """More bytes than any window holds, in both directions."""
    source = FakeSource()
    names = [f"n{number}.wild.test" for number in range(10_000)]
    source.put("*.wild.test", BUNDLE)

    async def story(call: Any) -> None:
        held = dict.fromkeys(names[:5000], BUNDLE.sha256)
        await call.write(ask(*names, initial_versions=held))
        got: set[str] = set()
        while len(got) < 5000:
            got.update(resource.name for resource in (await call.read()).resources)
        assert got == set(names[5000:])

    talk(tmp_path, source, story)


def test_a_name_on_its_way_is_answered_when_it_came(tmp_path: Path) -> None:
    source = FakeSource()
    source.index.add("www.one.test.pfx")

    async def story(call: Any) -> None:
        await call.write(ask("www.one.test"))
        asyncio.get_running_loop().call_later(0.05, source.put, "www.one.test", BUNDLE)
        assert [r.name for r in (await call.read()).resources] == ["www.one.test"]

    talk(tmp_path, source, story)


def test_what_envoy_says_of_our_answer_is_in_the_log(tmp_path: Path) -> None:
    async def story(call: Any) -> None:
        error = sds_pb2.Status(code=3, message="no such key")
        await call.write(sds_pb2.DeltaRequest(type_url=SECRET, nonce="1", error=error))
        await call.write(sds_pb2.DeltaRequest(type_url="type.googleapis.com/another"))
        await call.write(ask("x.test"))
        await call.read()

    log = talk(tmp_path, FakeSource(), story)
    assert "no such key" in log
    assert "something else than secrets" in log


def test_another_user_is_refused_before_a_word(tmp_path: Path) -> None:
    log = io.StringIO()

    async def run() -> bytes:
        async with served(FakeSource(), tmp_path, log, frozenset()) as path:
            reader, writer = await asyncio.open_unix_connection(str(path))
            writer.write(PREFACE)
            try:
                return await asyncio.wait_for(reader.read(), 10)
            except OSError:
                return b""

    if not hasattr(__import__("socket"), "SO_PEERCRED"):
        pytest.skip("this system does not say who connects")
    assert asyncio.run(run()) == b""
    assert f"uid {os.geteuid()}" in log.getvalue()


def test_a_request_reads_as_google_writes_it() -> None:
    sent = sds_pb2.DeltaRequest(
        type_url=SECRET,
        subscribe=["a.test", "b" * 300],
        unsubscribe=["c.test"],
        initial_versions={"a.test": "1", "d.test": ""},
        nonce="7",
        error=sds_pb2.Status(code=300, message="why"),
    )
    node = b"\x0a\x83\x01" + b"n" * 131  # Envoy's own description, which we skip
    request = sds_wire.read_request(node + sent.SerializeToString())
    assert request.type_url == sds_wire.SECRET_TYPE
    assert request.subscribe == ["a.test", "b" * 300]
    assert request.unsubscribe == ["c.test"]
    assert request.held == {"a.test": "1", "d.test": ""}
    assert request.error == "why"


def test_a_response_of_ours_is_the_one_that_google_writes() -> None:
    pem = Pem(b"KEY-----BEGIN CERTIFICATE-----x", "v1")
    read = sds_pb2.DeltaResponse.FromString(
        sds_wire.response([sds_wire.secret("a.test", pem)], ["b.test"], "3")
    )
    assert (read.nonce, read.system_version, read.removed) == ("3", "3", ["b.test"])
    assert read.resources[0].resource.type_url == SECRET


@pytest.mark.parametrize(
    "data", [b"\x1a\xff", b"\x1a\x05abc", b"\xff" * 20, b"\x0b", b"\x1a\x01\xff", b"\x80"]
)
def test_bytes_that_are_no_request_are_refused_and_crash_nothing(data: bytes) -> None:
    with pytest.raises(ValueError):
        sds_wire.read_request(data)


def frame(kind: int, flags: int, number: int, payload: bytes = b"") -> bytes:
    return struct.pack(">I", len(payload))[1:] + struct.pack(">BBI", kind, flags, number) + payload


OPEN = frame(1, 4, 1, b"anything")


@pytest.mark.parametrize(
    "data",
    [
        b"GET / HTTP/1.1\r\n\r\n",
        PREFACE + struct.pack(">I", 1 << 20)[1:] + bytes(6),
        PREFACE + frame(0, 0, 1, b"data of no stream"),
        PREFACE + frame(1, 4, 2),
        PREFACE + frame(1, 4, 0),
        PREFACE + frame(1, 0, 1) + frame(6, 0, 0, bytes(8)),
        PREFACE + frame(9, 4, 1),
        PREFACE + frame(1, 0, 1, b"h" * 16000) + frame(9, 0, 1, b"h" * 16000) * 5,
        PREFACE + OPEN + frame(0, 0, 1, b"\x01\x00\x00\x00\x00"),
        PREFACE + OPEN + frame(0, 0, 1, b"\x00\xff\xff\xff\xff"),
        PREFACE + OPEN + frame(0, 8, 1, b"\x09"),
        PREFACE + frame(4, 0, 0, b"12345"),
        PREFACE + frame(4, 0, 0, struct.pack(">HI", 4, 1 << 31)),
        PREFACE + frame(6, 0, 0, b"1"),
        PREFACE + frame(8, 0, 0, b"1"),
        PREFACE + frame(8, 0, 0, struct.pack(">I", 0x7FFFFFFF)),
        PREFACE + frame(5, 4, 1),
    ],
)
def test_a_peer_that_breaks_the_protocol_loses_its_connection(data: bytes) -> None:
    for step in (1, 7, len(data)):
        connection = GrpcConnection(lambda number, message: None, lambda number: None)
        with pytest.raises(Http2Error):
            for start in range(0, len(data), step):
                connection.receive(data[start : start + step])
        assert connection.goodbye(1).endswith(struct.pack(">I", 1))


def test_a_stopped_envoy_costs_one_push_however_often_its_name_changes(tmp_path: Path) -> None:
    source, log = FakeSource(), io.StringIO()
    source.put("www.one.test", BUNDLE)
    ca = SmallCa()

    async def run() -> None:
        async with served(source, tmp_path, log) as path:
            _reader, writer = await asyncio.open_unix_connection(str(path), limit=1)
            window = struct.pack(">I", 1 << 30)
            asked = ask("www.one.test").SerializeToString()
            message = struct.pack(">BI", 0, len(asked)) + asked
            settings = frame(4, 0, 0, struct.pack(">HI", 4, 1 << 30))
            writer.write(PREFACE + settings + frame(8, 0, 0, window) + OPEN)
            writer.write(frame(0, 0, 1, message))
            for number in range(2000):
                source.put("www.one.test", (BUNDLE, other)[number % 2])
                source.tell("www.one.test")
                await asyncio.sleep(0)
            writer.close()

    other = ca.issue("www.one.test")
    asyncio.run(run())
    pushed = [json.loads(line) for line in log.getvalue().splitlines()]
    count = sum(1 + line.get("suppressed", 0) for line in pushed)
    assert count < 1000


def test_windows_that_grow_too_large_end_the_connection() -> None:
    connection = GrpcConnection(lambda number, message: None, lambda number: None)
    connection.receive(PREFACE + OPEN + frame(8, 0, 1, struct.pack(">I", 1 << 30)))
    with pytest.raises(Http2Error):
        connection.receive(frame(4, 0, 0, struct.pack(">HI", 4, (1 << 31) - 1)))


def test_a_message_waits_for_the_window_of_the_peer() -> None:
    connection = GrpcConnection(lambda number, message: None, lambda number: None)
    connection.receive(PREFACE + frame(4, 0, 0, struct.pack(">HI", 4, 10)) + OPEN)
    connection.take()
    connection.send(1, b"0123456789")
    assert connection.take() == frame(0, 0, 1, b"\x00\x00\x00\x00\x0a01234")
    assert connection.is_blocked(1)
    connection.receive(frame(8, 0, 1, struct.pack(">I", 100)))
    assert connection.take() == frame(0, 0, 1, b"56789")
    assert not connection.is_blocked(1)


def silent() -> GrpcConnection:
    return GrpcConnection(lambda number, message: None, lambda number: None)


def test_a_stream_too_many_is_refused_and_the_others_go_on() -> None:
    connection = silent()
    connection.receive(PREFACE)
    for number in range(MAX_STREAMS):
        connection.receive(frame(1, 4, 2 * number + 1))
    connection.take()
    one_more = 2 * MAX_STREAMS + 1
    connection.receive(frame(1, 4, one_more))
    assert connection.take() == frame(3, 0, one_more, struct.pack(">I", 7))
    connection.send(1, b"still here")
    assert connection.take().endswith(b"still here")


def test_all_streams_together_hold_no_more_than_one_message(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(http2, "MAX_MESSAGE_BYTES", 100_000)
    connection = silent()
    connection.receive(PREFACE)
    begun, part = struct.pack(">BI", 0, 90_000), b"x" * 16_000
    with pytest.raises(Http2Error, match="do not end"):
        for number in range(1, 101, 2):
            connection.receive(frame(1, 4, number) + frame(0, 0, number, begun + part))
    assert number == 15
    connection = silent()
    connection.receive(PREFACE)
    whole = struct.pack(">BI", 0, len(part)) + part
    for number in range(1, 101, 2):  # what was read is not held, nor what was broken off
        connection.receive(frame(1, 4, number) + frame(0, 0, number, whole[:9000]))
        if number % 4 == 1:
            connection.receive(frame(0, 0, number, whole[9000:]))
        connection.receive(frame(3, 0, number, bytes(4)))


def test_many_settings_in_a_frame_are_one_change() -> None:
    connection = silent()
    connection.receive(PREFACE + OPEN)
    connection.take()
    windows = [(1 << 31) - 1, 5, 0] * 900 + [8]
    connection.receive(frame(4, 0, 0, b"".join(struct.pack(">HI", 4, w) for w in windows)))
    connection.send(1, b"0123456789")
    sent = frame(4, 1, 0) + frame(0, 0, 1, b"\x00\x00\x00\x00\x0a012")
    assert connection.take() == sent
    connection.receive(frame(8, 0, 0, struct.pack(">I", 1)) + frame(8, 0, 3, bytes(4)))
    assert connection.take() == b""
    connection.receive(frame(4, 0, 0, struct.pack(">HI", 4, 15)))
    assert connection.take() == frame(0, 0, 1, b"3456789") + frame(4, 1, 0)


def test_who_asks_and_never_takes_an_answer_is_owed_one(tmp_path: Path) -> None:
    source, log = FakeSource(), io.StringIO()
    source.put("www.one.test", BUNDLE)
    asked = ask("www.one.test").SerializeToString()
    message = frame(0, 0, 1, struct.pack(">BI", 0, len(asked)) + asked)

    async def run() -> None:
        async with served(source, tmp_path, log) as path:
            reader, writer = await asyncio.open_unix_connection(str(path))
            writer.write(PREFACE + frame(4, 0, 0, struct.pack(">HI", 4, 0)) + OPEN)
            writer.write(message * 3000 + frame(6, 0, 0, b"all said"))
            while b"all said" not in await asyncio.wait_for(reader.read(65536), 30):
                pass
            writer.close()

    asyncio.run(run())
    given = [json.loads(line) for line in log.getvalue().splitlines()]
    assert sum(1 + line.get("suppressed", 0) for line in given) == 1
