"""Deploying and previewing a certificate with 100 names.

    python bench/deploy.py [--names 100]

One real Samba (root and Debian's `samba` needed), a home of its own, one run. Prints: the preview
against the share; three targets at once (share, folder, second folder of the share) against the
slowest of them alone; the same behind a proxy that holds back every byte, as a network does. The
file server and the proxy use the same cores as certshelf, so each row tells who used how much;
bench/deploy_floor.py tells what these cores allow.
"""

from __future__ import annotations

import argparse
import asyncio
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from _procfs import all_cpu_s
from tests.support.homes import manager_in
from tests.support.records import certificate
from tests.support.samba import Samba, running_samba

from certshelf.bundle.model import Bundle
from certshelf.clock import SYSTEM
from certshelf.deploy.triggers import Phase
from certshelf.manage.certificates import add_certificate
from certshelf.manage.credentials import set_credential
from certshelf.manage.manager import Manager
from certshelf.manage.model import Credential, CredentialKind, Task
from certshelf.manage.pipeline import request_certificate
from certshelf.manage.preview import preview_certificate
from certshelf.manage.task_records import add_task, remove_task
from certshelf.manage.tasks import Situation, run_tasks
from certshelf.secret import Secret
from certshelf.store.base import StoreCredentials
from certshelf.store.smb import SmbStore

DELAYS_S = (0.001, 0.005)
"""Each way, between us and a share that is not on this machine."""


def timed(what: Callable[[], object]) -> float:
    """Wall seconds."""
    began = time.perf_counter()
    what()
    return time.perf_counter() - began


def request(manager: Manager) -> Bundle:
    """A new certificate, published on the local shelf and deployed by the tasks."""
    run = asyncio.run(request_certificate(manager, "web", force=True))
    assert run.ok, run.error
    assert isinstance(run.bundle, Bundle)
    return run.bundle


@dataclass(frozen=True)
class Took:
    """Of the tasks of one renewal, in seconds: wall, our CPU, and that of server and proxy."""

    wall: float
    ours: float
    rig: float

    def __str__(self) -> str:
        return f"{self.wall:.2f} s (CPU: ours {self.ours:.2f}, server and proxy {self.rig:.2f})"


def tasks_time(manager: Manager, rig: tuple[int, ...], stores: list[str]) -> Took:
    """What the tasks take that replace every file, all of one order; the best of three."""
    for number, store in enumerate(stores):
        settings = {"store": store}
        credential = "share" if store.startswith("smb:") else ""
        task = Task(0, f"t{number}", "deploy-to-shelf", settings=settings, credential=credential)
        add_task(manager, "web", task, position=1)
    bundles = [request(manager), request(manager)]
    with manager.database.read() as records:
        web = records.certificates.get("web")
        tasks = records.tasks.of(web.id)
    found = []
    for turn in range(3):
        situation = Situation(Phase.AFTER, bundles[turn % 2])
        before = time.process_time(), all_cpu_s(*rig), time.perf_counter()
        ran = run_tasks(manager, web, tasks, situation)
        wall = time.perf_counter() - before[2]
        assert all(one.ok for one in ran), [one.error for one in ran]
        time.sleep(0.3)  # processes of the server that end tell their CPU then
        ours, others = time.process_time() - before[0], all_cpu_s(*rig) - before[1]
        found.append(Took(wall, ours, others))
    for number in range(len(stores)):
        remove_task(manager, "web", f"t{number}")
    return min(found, key=lambda took: took.wall)


def deploy(manager: Manager, samba: Samba, folder: Path) -> None:
    """Preview, then the three targets alone and at once."""
    second = folder / "second"
    second.mkdir()
    shares = [samba.url(samba.new_folder()) for _ in range(2)]
    login = Credential("share", CredentialKind.LOGIN, samba.writer.name)
    set_credential(manager.database, login, Secret(samba.writer.password), SYSTEM)
    task = Task(0, "p", "deploy-to-shelf", settings={"store": shares[0]}, credential="share")
    add_task(manager, "web", task)
    request(manager)
    seconds = timed(lambda: preview_certificate(manager, "web"))
    print(f"preview against the local shelf and the share: {seconds:.2f} s (goal: under 2)")
    remove_task(manager, "web", "p")
    print("no delay: the file server on the same cores:")
    targets = {"share": shares[0], "folder": str(second), "other": shares[1]}
    three_targets(manager, (samba.pid,), targets)
    for delay in DELAYS_S:
        with delayed(samba.port, delay) as (port, pid):
            far = {name: at.replace(f":{samba.port}/", f":{port}/") for name, at in targets.items()}
            a_look = look_time(far["share"], samba)
            print(f"{2000 * delay:.0f} ms to the shares and back (a look at a file: {a_look:.1f}):")
            three_targets(manager, (samba.pid, pid), far)


def look_time(address: str, samba: Samba) -> float:
    """Milliseconds of one round trip with the proxy's own time, the least of 20."""
    store = SmbStore.from_url(address, StoreCredentials("", Secret(samba.writer.password)))
    try:
        return 1000 * min(timed(lambda: store.look("h000.bench.test.pfx")) for _ in range(20))
    finally:
        store.close()


def three_targets(manager: Manager, rig: tuple[int, ...], targets: dict[str, str]) -> None:
    """Each alone, then all at once; and what no program could be faster than on these cores."""
    alone = {name: tasks_time(manager, rig, [at]) for name, at in targets.items()}
    for name, took in alone.items():
        print(f"   {name} alone: {took}")
    together = tasks_time(manager, rig, list(targets.values()))
    slowest = max(took.wall for took in alone.values())
    ratio = together.wall / slowest
    print(f"   all three at once: {together}")
    print(f"   that is {ratio:.2f} of the slowest (goal: 1.3)")
    cores = len(os.sched_getaffinity(0))
    least = (together.ours + together.rig) / cores / slowest
    print(f"   all CPU of it spread evenly on {cores} cores alone would be {least:.2f}")


@contextmanager
def delayed(port: int, seconds: float) -> Iterator[tuple[int, int]]:
    """A port that leads to another one, with a delay each way, and the process that does it."""
    script = str(Path(__file__).with_name("_delay_proxy.py"))
    command = [sys.executable, script, str(port), str(seconds)]
    proxy = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
    assert proxy.stdin is not None and proxy.stdout is not None
    try:
        yield int(proxy.stdout.readline()), proxy.pid
    finally:
        proxy.stdin.close()
        proxy.wait(10)


def main() -> None:
    """Run it all."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--names", type=int, default=100)
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as name, running_samba() as samba:
        folder = Path(name)
        with manager_in(folder) as manager:
            hosts = [f"h{number:03}.bench.test" for number in range(options.names)]
            add_certificate(manager, certificate("web", *hosts))
            print(f"a certificate with {options.names} names")
            deploy(manager, samba, folder)


if __name__ == "__main__":
    main()
