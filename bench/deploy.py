"""Deploying and previewing a certificate with 100 names.

    python bench/deploy.py [--names 100]

One real Samba (root and Debian's `samba` needed), a home of its own, one run. Prints: the preview
against the share; three targets at once (share, folder, second folder of the share) against the
slowest of them alone.
"""

from __future__ import annotations

import argparse
import asyncio
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from tests.support.homes import manager_in
from tests.support.records import certificate
from tests.support.samba import Samba, running_samba

from certshelf.clock import SYSTEM
from certshelf.manage.certificates import add_certificate
from certshelf.manage.credentials import set_credential
from certshelf.manage.manager import Manager
from certshelf.manage.model import Credential, CredentialKind, Task
from certshelf.manage.pipeline import request_certificate
from certshelf.manage.preview import preview_certificate
from certshelf.manage.task_records import add_task, remove_task
from certshelf.secret import Secret

DELAY_SECONDS = 0.001
"""Each way, between us and a share that is not on this machine."""


def timed(what: Callable[[], object]) -> float:
    """Wall seconds."""
    began = time.perf_counter()
    what()
    return time.perf_counter() - began


def request(manager: Manager) -> None:
    """A new certificate, published on the local shelf and deployed by the tasks."""
    run = asyncio.run(request_certificate(manager, "web", force=True))
    assert run.ok, run.error


def tasks_time(manager: Manager, stores: list[str], login: str) -> float:
    """Seconds that the tasks of one renewal take, all of one order."""
    for number, store in enumerate(stores):
        settings = {"store": store}
        credential = login if store.startswith("smb:") else ""
        task = Task(0, f"t{number}", "deploy-to-shelf", settings=settings, credential=credential)
        add_task(manager, "web", task, position=1)
    request(manager)  # the files are there: what is measured replaces
    request(manager)
    with manager.database.read() as records:
        tasks = records.tasks.of(records.certificates.get("web").id)
        runs = [records.tasks.runs_of(task.id, 1)[0] for task in tasks]
    for number in range(len(stores)):
        remove_task(manager, "web", f"t{number}")
    began, ended = min(r.started_at for r in runs), max(r.finished_at for r in runs)
    return (ended - began).total_seconds()


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
    print("the servers on this machine, all work on its cores:")
    three_targets(manager, {"share": shares[0], "folder": str(second), "other": shares[1]})
    with delayed(samba.port) as port:
        far = [share.replace(f":{samba.port}/", f":{port}/") for share in shares]
        print(f"the same with {2000 * DELAY_SECONDS:.0f} ms to the shares and back:")
        three_targets(manager, {"share": far[0], "folder": str(second), "other": far[1]})


def three_targets(manager: Manager, targets: dict[str, str]) -> None:
    """Each alone, then all at once."""
    alone = {name: tasks_time(manager, [store], "share") for name, store in targets.items()}
    for name, seconds in alone.items():
        print(f"   {name} alone: {seconds:.2f} s")
    together = tasks_time(manager, list(targets.values()), "share")
    ratio = together / max(alone.values())
    print(f"   all three at once: {together:.2f} s, {ratio:.2f} of the slowest (goal: 1.3)")


@contextmanager
def delayed(port: int) -> Iterator[int]:
    """A port that leads to another one, with a delay each way."""
    script = str(Path(__file__).with_name("_delay_proxy.py"))
    command = [sys.executable, script, str(port), str(DELAY_SECONDS)]
    proxy = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
    assert proxy.stdin is not None and proxy.stdout is not None
    try:
        yield int(proxy.stdout.readline())
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
