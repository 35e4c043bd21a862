"""Servers of the benches that run: static ones, and those that a reader serves, by one shape."""

from __future__ import annotations

import shutil
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

import _procfs as procfs
import _static_servers as static_servers
import rig
from tests.support.ports import free_port

sys.path.insert(0, str(Path(__file__).parent.parent))

from tests.support.apache import Apache
from tests.support.caddy import Caddy
from tests.support.envoy import Envoy
from tests.support.haproxy import Haproxy
from tests.support.nginx import CachedNginx, LuaNginx, PlainNginx
from tests.support.reader import PASSWORD, ReaderProcess
from tests.support.rig import Rig
from tests.support.server_process import Process
from tests.support.tls_probe import wait_until
from tests.support.traefik import Traefik

from certshelf.names import HostName
from certshelf.secret import Secret

WHOLE_MIRROR_SECONDS = 1200.0
StaticCommand = Callable[[Path, Path, int, int], list[str]]


@dataclass(eq=False)
class Running:
    """A server that answers. start_s: from nothing (server and reader) to the first handshake.

    fill_s: until a whole mirror was written; 0 without one. mirror: its folder.
    """

    port: int
    server_pid: int
    reader_pid: int | None = None
    start_s: float = 0.0
    fill_s: float = 0.0
    mirror: Path | None = None
    closers: list[Callable[[], object]] = field(default_factory=list)

    def server_cpu_s(self) -> float:
        return procfs.cpu_s(self.server_pid)

    def reader_cpu_s(self) -> float:
        return procfs.cpu_s(self.reader_pid) if self.reader_pid else 0.0

    def memory_mb(self) -> float:
        """Server, reader, and the mirror's files, which lie on tmpfs."""
        pids = [self.server_pid, *([self.reader_pid] if self.reader_pid else [])]
        return procfs.pss_mb(*pids) + (procfs.size_mb(self.mirror) if self.mirror else 0.0)

    def settle(self) -> None:
        """Wait until server and reader rest: an index is built behind the first answers."""
        for _ in range(120):
            before = self.server_cpu_s() + self.reader_cpu_s()
            time.sleep(0.25)
            if self.server_cpu_s() + self.reader_cpu_s() - before < 0.01:
                return

    def close(self) -> None:
        for close in self.closers:
            close()


@dataclass(frozen=True)
class Kind:
    """One server, static and on demand. rig, static: None for Python, which has its own process.

    holds_all: it, or its mirror, holds every certificate: start and fill are reported, no ratio.
    cpu_goals: hot and random over static; publish_goal_ms: p50.
    slow_to_change: by seconds, so that few changes are timed.
    """

    name: str
    rig: type[Rig] | None = None
    static: StaticCommand | None = None
    holds_all: bool = False
    hot_goal: float | None = None
    random_goal: float | None = None
    publish_goal_ms: float | None = None
    slow_to_change: bool = False

    def missing(self) -> str:
        return self.rig.missing() if self.rig else ""


KINDS = (
    Kind("nginx, Lua", LuaNginx, static_servers.nginx, False, 1.05, 1.25, 50.0),
    Kind("nginx, variable", PlainNginx, static_servers.nginx, True, publish_goal_ms=10.0),
    Kind(
        "nginx, ssl_certificate_cache",
        CachedNginx,
        static_servers.nginx,
        True,
        None,
        None,
        2000.0,
        True,
    ),
    Kind("HAProxy, pushed", Haproxy, static_servers.haproxy, True),
    Kind("Apache", Apache, static_servers.apache, True, slow_to_change=True),
    Kind("Traefik", Traefik, static_servers.traefik, True, slow_to_change=True),
    Kind("Envoy", Envoy, static_servers.envoy, False, 1.05, 1.2, 10.0),
    Kind("Caddy", Caddy, static_servers.caddy, False, 1.05, None, 10.0),
    Kind("Python", None, None, False, 1.05, None, 10.0),
)


@contextmanager
def static(kind: Kind, work: Path, pems: Path, hosts: int) -> Iterator[Running]:
    """The conventional configuration, with so many certificates."""
    work = fresh(work)
    began = time.perf_counter()
    if kind.static is None:
        python = rig.Server("preload", static_servers.linked(work, pems, hosts), Secret("-"))
        running = Running(python.port, python.process.pid, closers=[python.close])
    else:
        port = free_port()
        command = kind.static(work, pems, hosts, port)
        with rig.beside_loader():
            process = Process(command, work / "out.log", cwd=work)
        running = Running(port, process.pid, closers=[process.stop])
        began = time.perf_counter()  # writing the configuration is not part of the start
    with closed(running):
        first_handshake(running, rig.host(hosts - 1))
        running.start_s = time.perf_counter() - began
        yield running


@contextmanager
def on_demand(kind: Kind, work: Path, shelf: Path) -> Iterator[Running]:
    """The server and its reader over a shelf; returns when the shelf's first name is served."""
    work = fresh(work)
    began = time.perf_counter()
    if kind.rig is None:
        python = rig.Server("shelf", shelf, Secret(PASSWORD))
        running = Running(python.port, python.process.pid, closers=[python.close])
    else:
        server = kind.rig(work)
        flags = [*server.reader_flags(), "--poll", "60"]
        with rig.beside_loader():
            reader = ReaderProcess(work / "reader", str(shelf), flags)
        running = Running(server.port, 0, closers=[server.close, reader.close])
        try:
            if "--mirror" in flags:
                running.mirror = work / "mirror"
            if kind.holds_all:
                filled = wait_until(lambda: "mirror-filled" in reader.log, WHOLE_MIRROR_SECONDS)
                assert filled, reader.log[-2000:]
                running.fill_s = time.perf_counter() - began
                began = time.perf_counter()
            with rig.beside_loader():
                server.start((HostName.parse(rig.host(0)),))
            assert reader.process is not None
            running.server_pid, running.reader_pid = server.process.pid, reader.process.pid
        except BaseException:
            running.close()
            raise
    with closed(running):
        first_handshake(running, rig.host(0))
        running.start_s = time.perf_counter() - began
        yield running


@contextmanager
def closed(running: Running) -> Iterator[None]:
    try:
        yield
    finally:
        running.close()


def fresh(work: Path) -> Path:
    shutil.rmtree(work, ignore_errors=True)
    work.mkdir(parents=True)
    return work


def first_handshake(running: Running, name: str, seconds: float = 300.0) -> None:
    """Poll until a handshake is good."""
    end = time.perf_counter() + seconds
    while True:
        try:
            rig.full_handshake(running.port, name)
            return
        except OSError:
            if time.perf_counter() > end or procfs.is_gone(running.server_pid):
                raise
            time.sleep(0.005)


def handshakes(running: Running, names: Sequence[str]) -> float:
    """Server CPU of one handshake in microseconds, over these; the reader's is not in it."""
    before = running.server_cpu_s()
    for name in names:
        rig.full_handshake(running.port, name)
    return (running.server_cpu_s() - before) / len(names) * 1e6
