"""Real servers that the reader serves against their own static configurations, in one run.

    python bench/servers.py [--servers nginx,envoy] [--hosts 10000] [--rounds 7] [--full]

Start, memory (PSS of server and reader, a mirror's files added), server CPU of one full TLS 1.3
handshake in alternating pairs, cold first handshakes, publish to served, a flood of unknown names.
ECDSA P-256, X25519, no resumption, one connection at a time; server CPU is read from the kernel,
so what is compared is not what the loader can do. Linux, as root. About ten minutes; --full adds
static configurations of 100,000 names (minutes each, 4 GB), and so do, alone:

    python bench/servers.py --only static --servers lua,haproxy --sizes 100000
"""

from __future__ import annotations

import argparse
import os
import random
import statistics
import sys
import tempfile
import threading
import time
from pathlib import Path

import _running as running
import rig
from _flood import flood
from _running import Kind, Running, handshakes
from tests.support.reader import PASSWORD

from certshelf import open_shelf
from certshelf.secret import Secret

Pairs = list[tuple[float, float]]


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--servers", default="", help="words of names, such as nginx,envoy")
    parser.add_argument("--hosts", type=int, default=10_000, help="for handshakes")
    parser.add_argument("--sizes", default="1,1000,10000", help="names, for start and memory")
    parser.add_argument("--many", type=int, default=100_000, help="names on demand, start only")
    parser.add_argument("--rounds", type=int, default=7)
    parser.add_argument("--handshakes", type=int, default=300, help="in each half of a pair")
    parser.add_argument("--publishes", type=int, default=50)
    parser.add_argument("--full", action="store_true")
    parser.add_argument(
        "--only", choices=("start", "static"), help="start and memory; of static servers alone"
    )
    options = parser.parse_args()
    if sys.platform != "linux":
        sys.exit("reads the figures of Linux's /proc")
    load = os.getloadavg()[0]
    print(f"load average at the start: {load:.1f} on {os.cpu_count()} cores\n", flush=True)
    rig.pin_loader()
    with tempfile.TemporaryDirectory(prefix="cs-bench-") as temp:
        bench = Bench(Path(temp), options)
        words = [word for word in options.servers.lower().split(",") if word]
        for kind in running.KINDS:
            if words and not any(word in kind.name.lower() for word in words):
                continue
            if kind.missing():
                print(f"## {kind.name}: unmeasured, not installed: {kind.missing()}\n")
                continue
            print(f"## {kind.name}", flush=True)
            bench.starts(kind)
            if not options.only:
                bench.measure(kind)
            print(flush=True)


class Bench:
    """Shelves and PEM files by size, made when first asked for."""

    def __init__(self, work: Path, options: argparse.Namespace) -> None:
        self.work = work
        self.options = options
        self.password = Secret(PASSWORD)
        self.sizes = [int(size) for size in options.sizes.split(",")]
        most = max(
            [
                options.hosts if not options.only else 1,
                *self.sizes,
                *([100_000] if options.full else []),
            ]
        )
        self.pems = work / "pems"
        rig.fill_pems(self.pems, most)

    def shelf(self, names: int) -> Path:
        """A shelf of real files, but for --many names of links."""
        folder = self.work / f"shelf-{names}"
        if not folder.exists():
            real = names <= max(self.options.hosts, *self.sizes)
            fill = rig.fill if real else rig.fill_names
            fill(folder, names, self.password)
        return folder

    def starts(self, kind: Kind) -> None:
        """One line for each number of names."""
        static_sizes = [*self.sizes, *([100_000] if self.options.full else [])]
        lazy_sizes: list[int] = []
        if self.options.only != "static":
            lazy_sizes = self.sizes if kind.holds_all else [*self.sizes, self.options.many]
        for names in sorted({*static_sizes, *lazy_sizes}):
            cells, seen = [], []
            if names in static_sizes:
                with running.static(kind, self.work / "static", self.pems, names) as server:
                    seen.append((server.start_s, server.memory_mb()))
                    cells.append(f"static {seen[-1][0]:.2f} s, {seen[-1][1]:.0f} MB")
            if names in lazy_sizes:
                with running.on_demand(kind, self.work / "lazy", self.shelf(names)) as server:
                    server.settle()
                    seen.append((server.start_s, server.memory_mb()))
                    word = "held" if kind.holds_all else "on demand"
                    cells.append(f"{word} {seen[-1][0]:.2f} s, {seen[-1][1]:.0f} MB")
                    if kind.holds_all:
                        cells.append(f"filled in {server.fill_s:.1f} s")
            if len(seen) == 2 and not kind.holds_all:
                (a, b), (c, d) = seen
                cells.append(f"ratio: start 1/{a / c:.1f}, memory 1/{b / d:.1f}")
            print(f"{names:>7} names: {'; '.join(cells)}", flush=True)

    def measure(self, kind: Kind) -> None:
        """CPU in pairs, cold, publish to served, flood; both servers run beside each other."""
        hosts = self.options.hosts
        shelf = self.shelf(hosts)
        with (
            running.static(kind, self.work / "static", self.pems, hosts) as static,
            running.on_demand(kind, self.work / "lazy", shelf) as lazy,
        ):
            lazy.settle()
            cold(lazy, hosts, "first handshakes" if kind.holds_all else "cold first handshakes")
            names = [rig.host(number) for number in range(hosts)]
            for name in names:
                rig.full_handshake(static.port, name)
            print(f"        memory after every name: {lazy.memory_mb():.0f} MB, "
                  f"static {static.memory_mb():.0f} MB")  # fmt: skip
            self.compare(kind, static, lazy)
            self.publishes(kind, lazy, shelf)
            flood(static, lazy)

    def compare(self, kind: Kind, static: Running, lazy: Running) -> None:
        """Server CPU of a handshake, hot and uniformly random over warm names."""
        count, rng = self.options.handshakes, random.Random(1)
        hot: Pairs = []
        random_: Pairs = []
        reader = lazy.reader_cpu_s()
        for number in range(self.options.rounds):
            names = [rig.host(rng.randrange(self.options.hosts)) for _ in range(count)]
            for pairs, asked in ((hot, [rig.host(0)] * count), (random_, names)):
                order = [(0, static), (1, lazy)][:: 1 if number % 2 else -1]
                cpu = {which: handshakes(server, asked) for which, server in order}
                pairs.append((cpu[0], cpu[1]))
        each = (lazy.reader_cpu_s() - reader) / (2 * count * self.options.rounds) * 1e6
        for word, pairs, goal in (
            ("hot", hot, kind.hot_goal), ("random", random_, kind.random_goal)
        ):  # fmt: skip
            a, b = (statistics.median(side) for side in zip(*pairs, strict=True))
            ratio = rig.spread([lazy_us / static_us for static_us, lazy_us in pairs])
            aim = f"; goal <= {goal}" if goal else ""
            print(f"        CPU per handshake, {word}: static {a:.0f} us, shelf {b:.0f} us; "
                  f"ratio {ratio}{aim}", flush=True)  # fmt: skip
        if lazy.reader_pid:
            print(f"        the reader's own CPU per warm handshake: {each:.0f} us")

    def publishes(self, kind: Kind, lazy: Running, folder: Path) -> None:
        """From publish() returning to the handshake that shows it, asking all the time."""
        shelf = open_shelf(folder, password=self.password, owner="bench")
        name, times, failed = "published.bench.test", [], 0
        assert shelf.publish(rig.make_bundle(name)).ok
        running.first_handshake(lazy, name)
        rig.full_handshake(lazy.port, name)
        for _ in range(5 if kind.slow_to_change else self.options.publishes):
            bundle = rig.make_bundle(name)
            assert shelf.publish(bundle).ok
            began = time.perf_counter()
            while time.perf_counter() - began < 30:
                try:
                    if rig.full_handshake(lazy.port, name) == bundle.leaf_der:
                        times.append((time.perf_counter() - began) * 1000)
                        break
                except OSError:
                    failed += 1
        aim = f"; goal p50 <= {kind.publish_goal_ms:.0f} ms" if kind.publish_goal_ms else ""
        print(f"        publish to served: {milliseconds(times)}, {len(times)} served, "
              f"{failed} failed handshakes{aim}", flush=True)  # fmt: skip


def cold(lazy: Running, hosts: int, what: str) -> None:
    """Every name once: the warm-up pass, and what each first handshake takes."""
    times, server, reader = [], lazy.server_cpu_s(), lazy.reader_cpu_s()
    for number in range(hosts):
        began = time.perf_counter()
        rig.full_handshake(lazy.port, rig.host(number))
        times.append((time.perf_counter() - began) * 1000)
    server_us = (lazy.server_cpu_s() - server) / hosts * 1e6
    reader_us = (lazy.reader_cpu_s() - reader) / hosts * 1e6
    print(f"        {what}: {milliseconds(times)}; CPU server {server_us:.0f} us, "
          f"reader {reader_us:.0f} us; goal p50 <= 5 ms, p99 <= 20 ms", flush=True)  # fmt: skip


def milliseconds(times: list[float]) -> str:
    """Median and 99th percentile."""
    if not times:
        return "never"
    return f"p50 {rig.percentile(times, 0.5):.1f} ms, p99 {rig.percentile(times, 0.99):.1f} ms"


if __name__ == "__main__":
    assert threading.active_count() == 1
    main()
