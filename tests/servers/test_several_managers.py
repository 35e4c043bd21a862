"""Several managers on one PostgreSQL: shared work, a killed one, a frozen one; one order each."""

from __future__ import annotations

import signal
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest

from certshelf.clock import SYSTEM
from certshelf.manage.certificates import add_certificate
from certshelf.manage.credentials import set_credential
from certshelf.manage.home import find_home
from certshelf.manage.issuers import AcmeWish, add_acme
from certshelf.manage.manager import open_manager
from certshelf.manage.model import ChallengeChoice, Credential, State
from certshelf.manage.opening import create_home
from certshelf.opening import open_shelf
from certshelf.secret import generate_password
from tests.support.pebble import Pebble, pebble
from tests.support.postgres import postgres
from tests.support.processes import wait_until
from tests.support.records import certificate
from tests.support.service import Running, running

pytestmark = [pytest.mark.slow, pytest.mark.timeout(180)]


@pytest.fixture
def database() -> Iterator[str]:
    pytest.importorskip("procrastinate")
    with postgres() as url:
        yield url.replace("postgresql+psycopg", "postgresql")


@pytest.fixture
def ca(tmp_path: Path) -> Iterator[Pebble]:
    with pebble(tmp_path / "pebble", always_valid=True) as running:
        yield running


def slow(ca: Pebble, seconds: int) -> None:
    """Let each validation take up to so many seconds."""
    ca.options |= {"PEBBLE_VA_NOSLEEP": "0", "PEBBLE_VA_SLEEPTIME": str(seconds)}
    ca.restart()


def home_on(folder: Path, database: str, ca: Pebble, count: int) -> Path:
    """A home that every manager of the test uses, with so many certificates to issue."""
    home = find_home(folder / "home", {})
    (folder / "shelf").mkdir()
    (folder / "webroot").mkdir()
    create_home(
        home,
        {
            "shelf.store": str(folder / "shelf"),
            "shelf.owner": "test",
            "database.url": database,
            "service.listen": "127.0.0.1:0",
            "service.tick_seconds": 1,
            "service.doctor_minutes": 0,
        },
    )
    with open_manager(home.path) as manager:
        name = manager.settings.shelf.password_credential
        set_credential(manager.database, Credential(name), generate_password(), SYSTEM)
        wish = AcmeWish(ca.directory_url, ca.ca_file, poll_interval=0.2)
        with manager.database.write() as records:
            add_acme(records, "pebble", wish, manager.clock)
    add_certificates(home.path, count)
    return home.path


def add_certificates(home: Path, count: int) -> None:
    choice = ChallengeChoice("http-01", settings={"webroot": str(home.parent / "webroot")})
    with open_manager(home) as manager:
        for i in range(count):
            add_certificate(manager, certificate(f"n{i}", issuer="pebble", challenges=(choice,)))


def ask(home: Path, question: Callable[..., int]) -> int:
    with open_manager(home) as manager, manager.database.read() as records:
        return question(records)


def valid(home: Path) -> int:
    return ask(home, lambda r: r.certificates.by_state().get(State.VALID.value, 0))


def issued(home: Path) -> int:
    return ask(home, lambda r: len(r.events.latest(1000, kind="certificate.issued")))


def started(services: ExitStack, home: Path, *names: str) -> list[Running]:
    found = [services.enter_context(running(home, log=name)) for name in names]
    for service in found:
        service.says("certshelf is ready")
    return found


def done_by(service: Running) -> int:
    return service.metric('runs_total{outcome="issued"}')


def test_two_managers_share_the_work_and_nothing_is_ordered_twice(
    tmp_path: Path, database: str, ca: Pebble
) -> None:
    count = 60
    home = home_on(tmp_path, database, ca, 0)
    with ExitStack() as services:
        one, two = started(services, home, "one", "two")
        add_certificates(home, count)
        wait_until(lambda: valid(home) == count, "all are issued", 90)
        wait_until(lambda: done_by(one) + done_by(two) == count, "all are counted")
        shares = done_by(one), done_by(two)
        assert (one.stop(), two.stop()) == (0, 0)
    assert min(shares) > 0, shares
    assert issued(home) == ca.orders_made == count
    assert len(list((tmp_path / "shelf").glob("*.pfx"))) == count


def test_the_work_of_a_killed_manager_moves_within_a_minute(
    tmp_path: Path, database: str, ca: Pebble
) -> None:
    slow(ca, 4)
    count = 12
    home = home_on(tmp_path, database, ca, count)
    with ExitStack() as services:
        (one,) = started(services, home, "one")
        wait_until(lambda: one.metric("orders_open") == count, "all are under way", 30)
        (two,) = started(services, home, "two")
        one.stop(signal.SIGKILL)
        begun = time.monotonic()
        wait_until(lambda: valid(home) == count, "all are issued", 60)
        print(f"moved and done after {time.monotonic() - begun:.0f} s")
        assert two.stop() == 0
    assert issued(home) == ca.orders_made == count


def test_a_manager_that_was_frozen_past_its_lease_writes_nothing(
    tmp_path: Path, database: str, ca: Pebble
) -> None:
    slow(ca, 6)
    home = home_on(tmp_path, database, ca, 4)
    with ExitStack() as services:
        (one,) = started(services, home, "one")
        wait_until(lambda: one.metric("orders_open") == 4, "all are under way", 30)
        one.send(signal.SIGSTOP)
        left = 4 - valid(home)
        (two,) = started(services, home, "two")
        wait_until(lambda: valid(home) == 4, "all are issued", 90)
        assert done_by(two) == left
        before = {p.name: p.read_bytes() for p in (tmp_path / "shelf").glob("*.pfx")}
        one.send(signal.SIGCONT)
        refused = 'runs_total{outcome="held elsewhere"}'
        wait_until(lambda: one.metric(refused) >= left, "late writes are refused", 60)
        assert one.get("/healthz") == "ok\n"
        after = {p.name: p.read_bytes() for p in (tmp_path / "shelf").glob("*.pfx")}
        assert (one.stop(), two.stop()) == (0, 0)
    assert before == after
    assert left > 0
    assert issued(home) == ca.orders_made == 4
    assert ask(home, lambda r: len(r.events.latest(100, kind="certificate.failed"))) == 0
    assert set(found_on_shelf(home)) == {f"n{i}.example.test.pfx" for i in range(4)}


def found_on_shelf(home: Path) -> list[str]:
    return [file.file for file in open_shelf(home=home).inventory()]
