"""Where the microseconds of a Python handshake from the shelf go: OpenSSL's switch, or ours.

    python bench/switch_cost.py [--handshakes 400] [--rounds 9]

Handshakes in memory, without sockets; only the server's half is timed. "static": one certificate.
"switch": a callback that does nothing but set another context. "shelf": server_context().
"""

from __future__ import annotations

import argparse
import ssl
import tempfile
import time
from pathlib import Path

import rig

from certshelf import open_shelf
from certshelf.resolve.resolver import Resolver
from certshelf.secret import generate_password
from certshelf.serve.python import load_bundle, server_context


def server_us(context: ssl.SSLContext, count: int) -> float:
    """CPU microseconds of the server's half of one handshake."""
    took = 0.0
    for _ in range(count):
        to_server, to_client = ssl.MemoryBIO(), ssl.MemoryBIO()
        client = rig.CLIENT.wrap_bio(to_client, to_server, server_hostname=rig.host(0))
        server = context.wrap_bio(to_server, to_client, server_side=True)
        waiting: list[ssl.SSLObject] = [client, server]
        while waiting:
            for side in tuple(waiting):
                began = time.thread_time()
                try:
                    side.do_handshake()
                    waiting.remove(side)
                except ssl.SSLWantReadError:
                    pass
                if side is server:
                    took += time.thread_time() - began
    return took / count * 1e6


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--handshakes", type=int, default=400)
    parser.add_argument("--rounds", type=int, default=9)
    options = parser.parse_args()
    password = generate_password()
    with tempfile.TemporaryDirectory() as temp:
        rig.fill(Path(temp), 1, password)
        resolver = Resolver(open_shelf(temp, password=password)).start()
        resolver.wait_ready(10)
        contexts = {
            "static": _static(),
            "switch": _switching(_static()),
            "shelf": server_context(resolver, tickets=False),
        }
        seen: dict[str, list[float]] = {kind: [] for kind in contexts}
        for _ in range(options.rounds):
            for kind, context in contexts.items():
                seen[kind].append(server_us(context, options.handshakes))
        find_us = _find_us(resolver)
        resolver.close()
    for kind, values in seen.items():
        ratios = [value / base for value, base in zip(values, seen["static"], strict=True)]
        print(f"{kind}: {rig.spread(values)} us; over static {rig.spread(ratios)}")
    print(f"of which the resolver's find(): {find_us:.1f} us")


def _static() -> ssl.SSLContext:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.options |= ssl.OP_NO_TICKET
    context.num_tickets = 0
    load_bundle(context, rig.make_bundle(rig.host(0)))
    return context


def _switching(to: ssl.SSLContext) -> ssl.SSLContext:
    def switch(connection: ssl.SSLObject, _sni: str | None, _: ssl.SSLContext) -> None:
        connection.context = to

    context = _static()
    context.sni_callback = switch
    return context


def _find_us(resolver: Resolver, count: int = 20_000) -> float:
    name = rig.host(0)
    began = time.thread_time()
    for _ in range(count):
        resolver.find(name)
    return (time.thread_time() - began) / count * 1e6


if __name__ == "__main__":
    main()
