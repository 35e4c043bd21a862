"""What one question costs Envoy's secret discovery: ours for hits and misses, and grpcio's floor.

    python bench/sds_cost.py [--messages 3000]

The client is in another process and asks as Envoy does: one subscription, then one acknowledgement
without an answer. "grpcio": that server library with a handler that returns constant bytes: why we
do not use it.
"""

from __future__ import annotations

import argparse
import asyncio
import io
import multiprocessing
import os
import sys
import tempfile
import time
from collections.abc import AsyncIterator
from pathlib import Path

import grpc
import grpc.aio

sys.path.insert(0, str(Path(__file__).parent.parent))

import rig
from tests.support import sds_pb2

from certshelf import open_shelf
from certshelf.clock import SYSTEM
from certshelf.resolve.resolver import Resolver
from certshelf.secret import generate_password
from certshelf.serve import sds_wire
from certshelf.serve.envoy import SecretServer
from certshelf.serve.log import ReaderLog
from certshelf.serve.pems import PemCache

SECRET_TYPE = sds_wire.SECRET_TYPE.decode()
SERVICE = "envoy.service.discovery.v3.AggregatedDiscoveryService"
METHOD = "DeltaAggregatedResources"
NAMES = 300
PASSWORD = generate_password()
ACKNOWLEDGEMENT = sds_pb2.DeltaRequest(type_url=SECRET_TYPE, nonce="1").SerializeToString()


async def client(path: str, messages: int, what: str) -> None:
    """Ask one name after the other, as one Envoy with one new connection each would."""
    async with grpc.aio.insecure_channel(f"unix:{path}") as channel:
        call = channel.stream_stream(f"/{SERVICE}/{METHOD}")()
        for number in range(messages):
            name = rig.host(number % NAMES) if what == "hit" else f"x{number}.flood.test"
            ask = sds_pb2.DeltaRequest(type_url=SECRET_TYPE, subscribe=[name])
            if what == "hit":
                ask.unsubscribe.append(name)
            await call.write(ask.SerializeToString())
            await call.read()
            await call.write(ACKNOWLEDGEMENT)
        call.cancel()


def run_client(path: str, messages: int, what: str) -> None:
    asyncio.run(client(path, messages, what))


async def floor(path: str) -> grpc.aio.Server:
    """A server that answers every second message with constant bytes."""
    answer = sds_pb2.DeltaResponse(type_url=SECRET_TYPE, removed=["x.test"], nonce="1")
    constant = answer.SerializeToString()

    async def stream(_: AsyncIterator[bytes], context: grpc.aio.ServicerContext) -> None:
        while await context.read() is not grpc.aio.EOF:
            await context.write(constant)
            await context.read()

    server = grpc.aio.server()
    handler = {METHOD: grpc.stream_stream_rpc_method_handler(stream)}
    server.add_generic_rpc_handlers((grpc.method_handlers_generic_handler(SERVICE, handler),))
    server.add_insecure_port(f"unix:{path}")
    await server.start()
    return server


async def cost(folder: Path, messages: int, what: str) -> float:
    """CPU microseconds of this process for one question and its acknowledgement."""
    path = folder / "sds" / f"{what}.sock"
    if what == "grpcio":
        path.parent.mkdir(mode=0o750, exist_ok=True)
        plain = await floor(str(path))
    else:
        resolver = Resolver(open_shelf(folder / "shelf", password=PASSWORD)).start()
        resolver.wait_ready(30)
        ours = SecretServer(resolver, PemCache(), ReaderLog(io.StringIO(), SYSTEM))
        await ours.listen(path, frozenset({os.geteuid()}))
    took = 0.0
    for count in (NAMES, messages):  # the first round warms up
        process = multiprocessing.get_context("spawn").Process(
            target=run_client, args=(str(path), count, what)
        )
        process.start()
        began = time.process_time()
        await asyncio.to_thread(process.join)
        took = time.process_time() - began
    if what == "grpcio":
        await plain.stop(0)
    else:
        await ours.close()
        resolver.close()
    return took / messages * 1e6


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--messages", type=int, default=3000)
    parser.add_argument("--rounds", type=int, default=3)
    options = parser.parse_args()
    seen: dict[str, list[float]] = {"grpcio": [], "miss": [], "hit": []}
    with tempfile.TemporaryDirectory(prefix="cs-") as folder:
        rig.fill(Path(folder) / "shelf", NAMES, PASSWORD)
        time.sleep(0.1)  # a listing trusts the folder's time stamp when it is not quite new
        for _ in range(options.rounds):
            for what, values in seen.items():
                values.append(asyncio.run(cost(Path(folder), options.messages, what)))
    for what, values in seen.items():
        print(f"{what}: {rig.spread(values)} us of reader CPU a question")
    print("goal: miss <= 50 us")


if __name__ == "__main__":
    main()
