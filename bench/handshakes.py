"""Handshakes from the shelf against one static certificate: CPU each, start, memory.

    python bench/handshakes.py [--hosts 10000] [--rounds 7] [--handshakes 500]

Full TLS 1.3, ECDSA P-256, no resumption, one asyncio server process on one core, the loader on the
other. The loader saturates first, so server CPU per handshake is compared, in alternating pairs.
"""

from __future__ import annotations

import argparse
import random
import tempfile
import threading
import time
import tracemalloc
from pathlib import Path

import rig

from certshelf.resolve.index import NameIndex
from certshelf.secret import Secret, generate_password
from certshelf.store.folder import FolderStore


def cpu_each(server: rig.Server, names: list[str]) -> float:
    """Server CPU per handshake in microseconds."""
    before = server.figures()["cpu_s"]
    for name in names:
        rig.handshake(server.port, name)
    return (server.figures()["cpu_s"] - before) / len(names) * 1e6


def start_and_memory(folder: Path, password: Secret, names: int) -> tuple[float, float]:
    """Seconds from the process's start to its first answered handshake, and resident MB then."""
    began = time.perf_counter()
    with rig.a_server("shelf", folder, password) as server:
        rig.handshake(server.port, rig.host(names - 1))
        took = time.perf_counter() - began
        return took, server.ready["resident_bytes"] / 1e6


def index_bytes(folder: Path, names: int) -> float:
    """Bytes of the background index for each name, without what the first listing costs once."""
    store = FolderStore(folder)
    for _ in store.list():
        pass
    tracemalloc.start()
    before = tracemalloc.get_traced_memory()[0]
    index = NameIndex(store)
    index.refresh()
    used = tracemalloc.get_traced_memory()[0] - before
    tracemalloc.stop()
    return used / names


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--hosts", type=int, default=10_000)
    parser.add_argument("--rounds", type=int, default=7)
    parser.add_argument("--handshakes", type=int, default=500)
    options = parser.parse_args()
    password = generate_password()
    with tempfile.TemporaryDirectory() as temp:
        folder, single = Path(temp) / "many", Path(temp) / "one"
        rig.fill(folder, options.hosts, password)
        rig.fill(single, 1, password)
        pem = Path(temp) / "static.pem"
        pem.write_bytes(rig.make_bundle(rig.host(0)).to_pem())
        _starts(folder, single, password, options.hosts)
        rig.pin_loader()
        _compare(folder, pem, password, options)


def _starts(folder: Path, single: Path, password: Secret, hosts: int) -> None:
    one = [start_and_memory(single, password, 1) for _ in range(5)]
    many = [start_and_memory(folder, password, hosts) for _ in range(5)]
    ratio = sorted(b[0] / a[0] for a, b in zip(one, many, strict=True))[2]
    print(f"start to first handshake, 1 host:        {rig.spread([s for s, _ in one])} s")
    print(f"start to first handshake, {hosts} hosts: {rig.spread([s for s, _ in many])} s")
    print(f"  ratio, median of pairs: {ratio:.2f} (goal: start <= 0.5 s and ratio <= 1.10)")
    print(f"resident when listening: {one[0][1]:.1f} MB, {many[0][1]:.1f} MB")
    print(f"index: {index_bytes(folder, hosts):.0f} bytes a name (goal: <= 200)\n")


def _compare(folder: Path, pem: Path, password: Secret, options: argparse.Namespace) -> None:
    rng = random.Random(1)
    hot = [rig.host(0)] * options.handshakes
    with (
        rig.a_server("static", pem, password) as static,
        rig.a_server("shelf", folder, password) as shelf,
    ):
        for server in (static, shelf):
            cpu_each(server, hot[:100])
        began, count = shelf.figures()["cpu_s"], 0
        for number in range(options.hosts):
            rig.handshake(shelf.port, rig.host(number))
            count += 1
        cold = (shelf.figures()["cpu_s"] - began) / count * 1e6
        rows: dict[str, list[float]] = {"hot": [], "random": []}
        base: list[float] = []
        for _ in range(options.rounds):
            names = [rig.host(rng.randrange(options.hosts)) for _ in hot]
            base.append(cpu_each(static, hot))
            rows["hot"].append(cpu_each(shelf, hot))
            rows["random"].append(cpu_each(shelf, names))
        print(f"server CPU per handshake, static:  {rig.spread(base)} us")
        for kind, values in rows.items():
            ratios = [v / b for v, b in zip(values, base, strict=True)]
            print(f"server CPU per handshake, {kind}: {rig.spread(values)} us")
            print(f"  {kind} / static, pair by pair: {rig.spread(ratios)}")
        print(f"first handshake of a name (cold):  {cold:.0f} us of server CPU")
        print("goal: hot / static <= 1.05")


if __name__ == "__main__":
    assert threading.active_count() == 1
    main()
