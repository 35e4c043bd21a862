"""What a flood of unknown names costs the reader, and what a known name's clients notice of it."""

from __future__ import annotations

import contextlib
import multiprocessing
import socket
import ssl
import statistics
import time
from collections import deque
from collections.abc import Callable
from multiprocessing.synchronize import Event

import rig
from _running import Running

MISSES_PER_SECOND = 200
SECONDS = 2.0
PAIRS = 3
AT_ONCE = 16
BUSY = 0.95
"""A rate says something of a server only where its core has no rest."""
HANDSHAKE_RECORD = b"\x16"


def flood(static: Running, lazy: Running) -> None:
    """Misses at a fixed rate beside handshakes with one known name, at both servers."""
    for word, handshakes in (("as many as it can serve", busy_rate), ("one at a time", calm_rate)):
        kept = {server: rate_kept(server, handshakes) for server in (static, lazy)}
        (shelf, shelf_busy), (usual, usual_busy) = kept[lazy], kept[static]
        aim = "; goal >= 90%" if min(shelf_busy, usual_busy) >= BUSY else ""
        print(f"        a known name, {word}, keeps {shelf:.0%} of its rate at {MISSES_PER_SECOND} "
              f"misses a second (core {shelf_busy:.0%} busy), static {usual:.0%} "
              f"({usual_busy:.0%}){aim}", flush=True)  # fmt: skip
    before, misses = lazy.reader_cpu_s(), 3000
    server, began = lazy.server_cpu_s(), time.perf_counter()
    ask_unknown(lazy.port, misses, "one")
    rate = misses / (time.perf_counter() - began)
    reader_us = (lazy.reader_cpu_s() - before) / misses * 1e6
    server_us = (lazy.server_cpu_s() - server) / misses * 1e6
    print(f"        unknown names, {rate:.0f} a second: reader {reader_us:.0f} us, server "
          f"{server_us:.0f} us each; goal: reader <= 50 us", flush=True)  # fmt: skip


def ask_unknown(port: int, count: int, word: str) -> None:
    """Names that nobody has, each another one, AT_ONCE at a time, as fast as it goes."""
    first = f"x{0:06}.{word}.flood.test"
    template = client_hello(first)
    waiting: deque[socket.socket] = deque()
    for number in range(count + AT_ONCE):
        if number < count:
            name = f"x{number:06}.{word}.flood.test"
            connection = socket.create_connection(("127.0.0.1", port), timeout=30)
            connection.sendall(template.replace(first.encode(), name.encode()))
            waiting.append(connection)
        if waiting and (len(waiting) >= AT_ONCE or number >= count):
            with contextlib.suppress(OSError), waiting.popleft() as connection:
                connection.recv(4096)  # the alert


def client_hello(name: str) -> bytes:
    """The first message of a handshake, made once: the flood costs its sender nearly nothing."""
    incoming, outgoing = ssl.MemoryBIO(), ssl.MemoryBIO()
    client = rig.CLIENT.wrap_bio(incoming, outgoing, server_hostname=name)
    with contextlib.suppress(ssl.SSLWantReadError):
        client.do_handshake()
    return outgoing.read()


def rate_kept(server: Running, handshakes: Callable[[int], int]) -> tuple[float, float]:
    """Handshakes a second with one name during a flood over those without, median of pairs; and
    how busy their core was, at least."""
    ratios, busy = [], []
    for _ in range(PAIRS):
        alone, how_busy = _rate(server, handshakes)
        busy.append(how_busy)
        stop = multiprocessing.Event()
        process = multiprocessing.Process(target=_flood, args=(server.port, stop))
        process.start()
        try:
            ratios.append(_rate(server, handshakes)[0] / alone)
        finally:
            stop.set()
            process.join()
    return statistics.median(ratios), min(busy)


def _rate(server: Running, handshakes: Callable[[int], int]) -> tuple[float, float]:
    """Handshakes a second, and the CPU seconds in each of server and reader, on one core."""
    cpu, began = server.server_cpu_s() + server.reader_cpu_s(), time.perf_counter()
    count = handshakes(server.port)
    took = time.perf_counter() - began
    return count / took, (server.server_cpu_s() + server.reader_cpu_s() - cpu) / took


def calm_rate(port: int) -> int:
    """Full handshakes one after the other: most of the time the server waits for us."""
    count, end = 0, time.perf_counter() + SECONDS
    while time.perf_counter() < end:
        rig.full_handshake(port, rig.host(0))
        count += 1
    return count


def busy_rate(port: int) -> int:
    """The server's half of handshakes, up to its Finished, so many at once that its core is busy:
    our half costs more than its, so we send a ClientHello that was made once and go away."""
    hello, count, end = client_hello(rig.host(0)), 0, time.perf_counter() + SECONDS
    waiting: deque[socket.socket] = deque()
    while time.perf_counter() < end:
        while len(waiting) < AT_ONCE:
            connection = socket.create_connection(("127.0.0.1", port), timeout=30)
            connection.sendall(hello)
            waiting.append(connection)
        with waiting.popleft() as connection:
            if connection.recv(4096)[:1] != HANDSHAKE_RECORD:
                raise OSError("no ServerHello for a known name")
        count += 1
    for connection in waiting:
        connection.close()
    return count


def _flood(port: int, stop: Event) -> None:
    """One miss each 1 / MISSES_PER_SECOND, late ones left out."""
    first = f"y{0:012}.flood.test"
    template = client_hello(first)
    due, number = time.perf_counter(), time.time_ns() % 10**11
    while not stop.is_set():
        number += 1
        hello = template.replace(first.encode(), f"y{number:012}.flood.test".encode())
        with (
            contextlib.suppress(OSError),
            socket.create_connection(("127.0.0.1", port), timeout=30) as connection,
        ):
            connection.sendall(hello)
            connection.recv(4096)
        due = max(due + 1 / MISSES_PER_SECOND, time.perf_counter())
        time.sleep(max(0.0, due - time.perf_counter()))
