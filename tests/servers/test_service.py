"""`certshelf run` as users run it: a process that works, tells how it is, and stops in order."""

from __future__ import annotations

import asyncio
import os
import socket
import subprocess
import sys
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from certshelf.manage.certificates import add_certificate
from certshelf.manage.engine import LEASE
from certshelf.manage.manager import Manager, open_manager
from certshelf.manage.model import State, Step
from certshelf.manage.pipeline import request_certificate
from certshelf.manage.service.metrics import Counters
from certshelf.manage.service.worker import Worker
from certshelf.manage.settings import update_settings
from tests.support.homes import make_home
from tests.support.processes import wait_until
from tests.support.records import certificate
from tests.support.service import running

pytestmark = [pytest.mark.slow, pytest.mark.timeout(90)]


def home_with(folder: Path, *names: str, **settings: str | int) -> Path:
    home = make_home(folder)
    chosen = {"listen": "127.0.0.1:0", "tick_seconds": 1, "doctor_minutes": 0, **settings}
    update_settings(home.settings, {f"service.{key}": value for key, value in chosen.items()})
    with open_manager(home.path) as manager:
        for name in names:
            add_certificate(manager, certificate(name))
    return home.path


def state_of(home: Path, name: str) -> State:
    with open_manager(home) as manager, manager.database.read() as records:
        return records.certificates.get(name).status.state


def test_a_service_issues_what_is_due_tells_how_it_is_and_stops_in_order(tmp_path: Path) -> None:
    home = home_with(tmp_path, "one", "two")
    with running(home) as service:
        service.says("certshelf is ready: 2 certificates")
        wait_until(lambda: (tmp_path / "shelf" / "two.example.test.pfx").exists(), "a file", 40)
        service.says("certificate.done two")
        assert service.get("/healthz") == "ok\n"
        metrics = service.get("/metrics")
        assert 'certshelf_runs_total{outcome="issued"} 2' in metrics
        assert 'certshelf_certificates{state="valid"} 2' in metrics
        assert service.stop() == 0
    assert "service.stopped" in service.text
    with open_manager(home) as manager, manager.database.read() as records:
        assert records.orders.count_open() == 0
        assert records.events.verify() > 6
        (event,) = records.events.latest(9, kind="file.published", subject="one.example.test.pfx")
        issued = records.certificates.get("one").status.thumbprint
    assert (event.data["old_thumbprint"], event.data["thumbprint"]) == ("", issued)
    assert event.data["credentials"] == ["shelf-password"]


def test_systemd_is_told_when_it_is_ready_and_when_it_stops(tmp_path: Path) -> None:
    home = home_with(tmp_path, "one")
    path = tmp_path / "n"
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as manager:
        manager.bind(str(path))
        manager.settimeout(40)
        with running(home, NOTIFY_SOCKET=str(path)) as service:
            assert manager.recv(100) == b"READY=1"
            assert service.stop() == 0
            assert manager.recv(100) == b"STOPPING=1"


def test_a_closed_input_stops_it_when_that_was_asked_for(tmp_path: Path) -> None:
    home = home_with(tmp_path)
    with running(home, "--until-eof") as service:
        service.says("certshelf is ready")
        assert service.process.stdin
        service.process.stdin.close()
        assert service.process.wait(60) == 0
    assert "service.stopped" in service.text


def closed_now() -> str:
    """A window on the day that is neither today nor tomorrow nor yesterday."""
    days = ("mon", "tue", "wed", "thu", "fri", "sat", "sun")
    return f"{days[(datetime.now(UTC).weekday() + 3) % 7]} 02:00-03:00"


def test_outside_the_windows_it_issues_and_deploys_nothing(tmp_path: Path) -> None:
    home = home_with(tmp_path, "one", windows=closed_now())
    with running(home) as service:
        service.says("certificate.issued one")

        def is_waiting() -> bool:
            with open_manager(home) as manager, manager.database.read() as records:
                status = records.certificates.get("one").status
            return "maintenance window" in status.last_error

        wait_until(is_waiting, "the order waits", 40)
        assert service.stop() == 0
    assert not (tmp_path / "shelf" / "one.example.test.pfx").exists()
    assert "file.published" not in service.text
    assert "certificate.failed" not in service.text
    with open_manager(home) as manager:
        run = asyncio.run(request_certificate(manager, "one"))
        assert run.outcome == "issued"  # a person who asks does not wait
    assert (tmp_path / "shelf" / "one.example.test.pfx").exists()


def test_the_budget_of_an_hour_holds(tmp_path: Path) -> None:
    home = home_with(tmp_path, *(f"n{i}" for i in range(5)), budget_per_hour=2)
    with running(home) as service:
        wait_until(lambda: service.metric("ticks_total") >= 4, "4 ticks", 60)
        assert service.stop() == 0
    done = [name for name in (f"n{i}" for i in range(5)) if state_of(home, name) is State.VALID]
    assert len(done) == 2


def make_worker(manager: Manager) -> Worker:
    def opening(now: datetime) -> datetime | None:
        return None

    return Worker(manager, Counters(), lease=LEASE, opening=opening)


def test_a_stop_ends_an_order_at_its_next_step_and_the_next_start_goes_on(tmp_path: Path) -> None:
    home = home_with(tmp_path, "one")
    with open_manager(home) as manager:
        stopped = make_worker(manager)
        stopped.stop()
        asyncio.run(stopped.advance("one"))
        with manager.database.read() as records:
            order = records.orders.open_of(records.certificates.get("one").id)
            assert order is not None
            assert (order.step, order.lease_owner) == (Step.NEW, "")
            assert records.certificates.get("one").status.state is State.NEW
        asyncio.run(make_worker(manager).advance("one"))
        with manager.database.read() as records:
            assert records.orders.get(order.id).step is Step.DONE


def test_a_service_that_was_killed_goes_on_with_its_orders(tmp_path: Path) -> None:
    home = home_with(tmp_path, "one")
    with open_manager(home) as manager, manager.database.write() as records:
        now = manager.clock.now()
        found = records.certificates.get("one")
        order = records.orders.start(found.id, found.issuer, now)
        ended = subprocess.Popen([sys.executable, "-c", ""])
        ended.wait()
        namespace = os.stat("/proc/self/ns/pid").st_ino if os.path.exists("/proc") else 0
        holder = f"{socket.gethostname()}:{ended.pid}:{namespace}"
        records.orders.claim(order.id, now, holder, now + timedelta(days=1))
    with running(home) as service:
        service.says("certificate.done one")
        assert service.stop() == 0
    with open_manager(home) as manager, manager.database.read() as records:
        assert records.orders.get(order.id).step is Step.DONE
