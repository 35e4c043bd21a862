"""A manager killed or frozen at any step: no second order, no lost key, no duplicate publish."""

from __future__ import annotations

import asyncio
import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from datetime import datetime, timedelta
from pathlib import Path

import pytest

from certshelf.bundle.model import Bundle
from certshelf.clock import SystemClock
from certshelf.manage.certificates import add_certificate
from certshelf.manage.issuers import AcmeWish, add_acme
from certshelf.manage.manager import Manager
from certshelf.manage.model import ChallengeChoice, Step, Task
from certshelf.manage.pipeline import request_certificate
from certshelf.manage.task_records import add_task
from tests.support.homes import manager_in
from tests.support.pebble import Pebble, pebble
from tests.support.processes import wait_until
from tests.support.records import certificate

pytestmark = [
    pytest.mark.slow,
    pytest.mark.timeout(90),
    pytest.mark.skipif(sys.platform == "win32", reason="SIGKILL and SIGSTOP"),
]
WAY = [step for step in Step if step not in (Step.DONE, Step.FAILED, Step.PAUSED)]


class LaterClock(SystemClock):
    """The machine's clock, three minutes ahead: leases of the dead and frozen are over."""

    def now(self) -> datetime:
        return super().now() + timedelta(minutes=3)


@pytest.fixture(scope="module")
def ca(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Pebble]:
    with pebble(tmp_path_factory.mktemp("pebble")) as running:
        yield running


@pytest.fixture
def manager(tmp_path: Path, ca: Pebble) -> Iterator[Manager]:
    with manager_in(tmp_path) as manager:
        wish = AcmeWish(ca.directory_url, ca.ca_file, poll_interval=0.1)
        with manager.database.write() as records:
            add_acme(records, "pebble", wish, manager.clock)
        choice = ChallengeChoice("http-01", settings={"port": str(ca.http_port)})
        add_certificate(manager, certificate("web", issuer="pebble", challenges=(choice,)))
        yield manager


def orders(ca: Pebble) -> int:
    return ca.log.count("POST /order-plz -> calling handler")


def child(manager: Manager, *words: str) -> subprocess.Popen[str]:
    argv = [sys.executable, "-m", "tests.support.crashing_pipeline", str(manager.home.path), "web"]
    return subprocess.Popen([*argv, *words], stdout=subprocess.PIPE, text=True)


def on_shelf(manager: Manager) -> Bundle:
    blob = manager.shelf.store.get("web.example.test.pfx")
    assert blob
    return Bundle.from_pfx(blob.data, manager.shelf.passwords[0])


def events(manager: Manager, kind: str) -> int:
    with manager.database.read() as records:
        records.events.verify()
        return len(records.events.latest(100, kind=kind))


@pytest.mark.parametrize("when", ["before", "after"])
@pytest.mark.parametrize("step", WAY)
def test_killed_at_a_step_the_same_order_goes_on(
    manager: Manager, ca: Pebble, step: Step, when: str
) -> None:
    if step is Step.PUBLISHED:  # without tasks an order is done with its publication
        add_task(manager, "web", Task(0, "pause", "wait", settings={"seconds": 0.01}))
    ordered, made = orders(ca), ca.orders_made
    killed = child(manager, step.value, when)
    killed.communicate(timeout=60)
    assert killed.returncode == -signal.SIGKILL

    run = asyncio.run(request_certificate(manager, "web"))

    assert run.error is None
    # an answer to newOrder that was lost costs that order, which nobody finalises
    lost = 1 if (step, when) == (Step.NEW, "after") else 0
    assert orders(ca) - ordered == 1 + lost
    assert ca.orders_made - made == 1
    assert on_shelf(manager) == run.bundle
    record = manager.shelf.manifest.read("web.example.test.pfx")
    assert record
    assert record[0].generation == 1
    assert events(manager, "certificate.issued") == 1
    assert events(manager, "certificate.done") == 1


@pytest.mark.parametrize("step", [Step.ORDERED, Step.KEY_SEALED, Step.VERIFIED])
def test_a_holder_that_wakes_up_after_its_lease_changes_nothing(
    manager: Manager, ca: Pebble, step: Step
) -> None:
    ordered, made = orders(ca), ca.orders_made
    frozen = child(manager, step.value, "freeze")
    try:
        wait_until(lambda: os.waitpid(frozen.pid, os.WUNTRACED | os.WNOHANG)[0] != 0, "it stops")
        manager.clock = LaterClock()
        run = asyncio.run(request_certificate(manager, "web"))
    finally:
        frozen.send_signal(signal.SIGCONT)
    said, _ = frozen.communicate(timeout=30)
    assert run.error is None
    assert "RecordStale" in said
    assert orders(ca) - ordered == 1
    assert ca.orders_made - made == 1
    assert on_shelf(manager) == run.bundle
    assert events(manager, "certificate.done") == 1
