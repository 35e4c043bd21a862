"""Tasks of a certificate: what runs in which order, what is remembered, and how a failure mends."""

from __future__ import annotations

import asyncio
import os
import sys
from collections.abc import Iterator
from dataclasses import replace
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from tests.support.clock import FakeClock
from tests.support.homes import manager_in
from tests.support.records import certificate

from certshelf.bundle.model import Bundle
from certshelf.clock import SYSTEM
from certshelf.deploy.triggers import Outcome, Phase, Trigger
from certshelf.errors import ConfigError, CredentialError, RecordError
from certshelf.manage.certificates import add_certificate
from certshelf.manage.credentials import set_credential
from certshelf.manage.groups import Group, add_group
from certshelf.manage.manager import Manager
from certshelf.manage.model import Credential, CredentialKind, Mode, State, Task
from certshelf.manage.pipeline import Run, request_certificate
from certshelf.manage.task_records import add_task, edit_task, remove_task
from certshelf.manage.tasks import run_by_hand, stale_files
from certshelf.secret import Secret

HOSTS = ("www.example.test", "*.example.test")


@pytest.fixture
def clock() -> FakeClock:
    return FakeClock()


@pytest.fixture
def manager(tmp_path: Path, clock: FakeClock) -> Iterator[Manager]:
    with manager_in(tmp_path, clock) as manager:
        add_certificate(manager, certificate("web", *HOSTS))
        yield manager


def add(manager: Manager, name: str, store: Path, **options: Any) -> Task:
    position = options.pop("position", None)
    task = Task(0, name, "deploy-to-shelf", settings={"store": str(store)}, **options)
    return add_task(manager, "web", task, position=position)


def request(manager: Manager) -> Run:
    return asyncio.run(request_certificate(manager, "web"))


def outcomes(manager: Manager) -> dict[str, list[str]]:
    with manager.database.read() as records:
        tasks = records.tasks.of(records.certificates.get("web").id)
        return {t.name: [r.outcome.value for r in records.tasks.runs_of(t.id)] for t in tasks}


def test_a_request_publishes_and_then_runs_the_tasks(manager: Manager, tmp_path: Path) -> None:
    (tmp_path / "second").mkdir()
    add(manager, "copy", tmp_path / "second")
    run = request(manager)
    assert run.ok, run.error
    files = {path.name for path in (tmp_path / "second").glob("*.pfx")}
    assert files == {"www.example.test.pfx", "_.example.test.pfx"}
    assert outcomes(manager) == {"copy": ["ok"]}


def test_a_failed_task_makes_the_run_failed_and_names_what_is_old(
    manager: Manager, tmp_path: Path
) -> None:
    add(manager, "copy", tmp_path / "second")
    run = request(manager)
    assert not run.ok
    assert f"www.example.test.pfx on {tmp_path / 'second'}" in str(run.error)
    with manager.database.read() as records:
        web = records.certificates.get("web")
        ((task, last),) = stale_files(records, web.id)
    assert web.status.state is State.FAILED
    assert web.status.not_after is not None, "what is on the shelf counts"
    assert (task.name, len(last.stale)) == ("copy", 2)


def test_the_next_run_repairs_it_without_a_new_order(
    manager: Manager, tmp_path: Path, clock: FakeClock
) -> None:
    (tmp_path / "first").mkdir()
    add(manager, "first", tmp_path / "first")
    add(manager, "copy", tmp_path / "second")
    thumbprint = request(manager).bundle
    (tmp_path / "second").mkdir()
    clock.advance(timedelta(minutes=5).total_seconds())
    with manager.database.read() as records:
        assert records.certificates.due(clock.now()) == ["web"]
    run = request(manager)
    assert run.ok, run.error
    assert run.bundle == thumbprint
    assert outcomes(manager) == {"first": ["skipped", "ok"], "copy": ["ok", "failed"]}
    with manager.database.read() as records:
        web = records.certificates.get("web")
        assert stale_files(records, web.id) == []
        assert records.certificates.due(clock.now()) == []
    assert (web.status.state, web.status.failures) == (State.VALID, 0)


def test_a_task_that_is_changed_before_the_next_run_is_done_again(
    manager: Manager, tmp_path: Path
) -> None:
    for name in ("first", "other"):
        (tmp_path / name).mkdir()
    add(manager, "first", tmp_path / "first")
    add(manager, "copy", tmp_path / "second")
    assert not request(manager).ok
    settings = {"store": str(tmp_path / "other")}
    edit_task(manager, "web", "first", lambda task: replace(task, settings=settings))
    (tmp_path / "second").mkdir()
    assert request(manager).ok
    assert len(list((tmp_path / "other").glob("*.pfx"))) == 2
    assert outcomes(manager) == {"first": ["ok", "ok"], "copy": ["ok", "failed"]}


def test_the_back_off_grows_with_each_failure(
    manager: Manager, tmp_path: Path, clock: FakeClock
) -> None:
    add(manager, "copy", tmp_path / "missing")
    waits = []
    for _ in range(3):
        request(manager)
        with manager.database.read() as records:
            status = records.certificates.get("web").status
        assert status.retry_at is not None
        waits.append((status.retry_at - clock.now()).total_seconds())
        clock.advance(waits[-1] + 1)
    assert waits[0] < waits[1] < waits[2]


def test_a_task_that_never_succeeds_does_not_keep_a_renewal_away(
    manager: Manager, tmp_path: Path, clock: FakeClock
) -> None:
    add(manager, "copy", tmp_path / "missing")
    first = request(manager).bundle
    with manager.database.read() as records:
        renew_at = records.certificates.get("web").status.renew_at
    assert renew_at is not None
    clock.advance((renew_at - clock.now()).total_seconds() + 1)
    second = request(manager)
    assert second.bundle != first
    assert second.bundle is not None
    found = manager.shelf.look_at("www.example.test.pfx")
    assert found is not None
    assert found.bundle == second.bundle


def test_after_a_failure_the_next_on_success_waits_and_those_on_error_run(
    manager: Manager, tmp_path: Path
) -> None:
    for name in ("told", "after", "always"):
        (tmp_path / name).mkdir()
    add(manager, "told", tmp_path / "told", trigger=Trigger.ERROR)
    add(manager, "broken", tmp_path / "missing")
    add(manager, "after", tmp_path / "after")
    add(manager, "always", tmp_path / "always", trigger=Trigger.ANY)
    add(manager, "hand", tmp_path / "hand", trigger=Trigger.MANUAL)
    add(manager, "off", tmp_path / "off", trigger=Trigger.SKIPPED, skip_reason="moved away")
    assert not request(manager).ok
    assert outcomes(manager) == {
        "told": ["ok"],
        "broken": ["failed"],
        "after": ["skipped"],
        "always": ["ok"],
        "hand": ["skipped"],
        "off": ["skipped"],
    }


def test_what_did_not_get_its_turn_is_old_too_until_a_run_in_which_all_went_well(
    manager: Manager, tmp_path: Path, clock: FakeClock
) -> None:
    (tmp_path / "after").mkdir()
    add(manager, "told", tmp_path / "nowhere", trigger=Trigger.ERROR)
    add(manager, "broken", tmp_path / "late")
    add(manager, "after", tmp_path / "after")
    run = request(manager)
    assert f"everything on {tmp_path / 'after'}" in str(run.error)
    with manager.database.read() as records:
        web = records.certificates.get("web")
        assert [task.name for task, _ in stale_files(records, web.id)] == [
            "told",
            "broken",
            "after",
        ]
    (tmp_path / "late").mkdir()
    clock.advance(300)
    assert request(manager).ok
    with manager.database.read() as records:
        assert stale_files(records, web.id) == []


def test_a_publication_that_fails_runs_the_tasks_on_error(manager: Manager, tmp_path: Path) -> None:
    (tmp_path / "told").mkdir()
    add(manager, "told", tmp_path / "told", trigger=Trigger.ERROR)
    add(manager, "copy", tmp_path / "told")
    (tmp_path / "shelf").rmdir()
    assert not request(manager).ok
    assert outcomes(manager) == {"told": ["ok"], "copy": ["skipped"]}
    with manager.database.read() as records:
        web = records.certificates.get("web")
        assert [task.name for task, _ in stale_files(records, web.id)] == ["copy"]


def test_when_nothing_was_issued_no_target_is_old(manager: Manager, tmp_path: Path) -> None:
    (tmp_path / "copy").mkdir()
    add(manager, "copy", tmp_path / "copy")
    add(manager, "early", tmp_path / "missing", phase=Phase.BEFORE)
    assert not request(manager).ok
    with manager.database.read() as records:
        web = records.certificates.get("web")
        assert [task.name for task, _ in stale_files(records, web.id)] == ["early"]


def test_a_task_before_the_request_that_fails_stops_it(manager: Manager, tmp_path: Path) -> None:
    add(manager, "early", tmp_path / "missing", phase=Phase.BEFORE)
    run = request(manager)
    assert "task early failed" in str(run.error)
    assert run.bundle is None
    assert not list((tmp_path / "shelf").glob("*.pfx"))


@pytest.mark.parametrize("mode", [Mode.SHELF_ONLY, Mode.NONE])
def test_no_task_runs_in_the_other_modes(manager: Manager, tmp_path: Path, mode: Mode) -> None:
    add(manager, "copy", tmp_path / "missing")
    with manager.database.write() as records:
        records.certificates.edit(replace(records.certificates.get("web"), mode=mode))
    assert request(manager).ok
    assert outcomes(manager) == {"copy": []}
    on_shelf = bool(list((tmp_path / "shelf").glob("*.pfx")))
    assert on_shelf is (mode is Mode.SHELF_ONLY)


def test_by_hand_a_task_runs_whatever_its_trigger(manager: Manager, tmp_path: Path) -> None:
    (tmp_path / "hand").mkdir()
    add(manager, "hand", tmp_path / "hand", trigger=Trigger.MANUAL)
    assert run_by_hand(manager, "web", "hand").error is not None, "nothing was issued yet"
    assert request(manager).ok
    ran = run_by_hand(manager, "web", "hand")
    assert ran.run.outcome is Outcome.OK
    assert len(list((tmp_path / "hand").glob("*.pfx"))) == 2


def test_a_task_that_cannot_work_is_refused_when_it_is_added(
    manager: Manager, tmp_path: Path
) -> None:
    with pytest.raises(ConfigError, match="no task type"):
        add_task(manager, "web", Task(0, "x", "shell", settings={}))
    with pytest.raises(ConfigError, match="needs store"):
        add_task(manager, "web", Task(0, "x", "deploy-to-shelf"))
    with pytest.raises(CredentialError, match="no credential"):
        add(manager, "x", tmp_path, credential="nobody")
    add(manager, "x", tmp_path)
    with pytest.raises(RecordError, match="already"):
        add(manager, "x", tmp_path)
    remove_task(manager, "web", "x")
    with pytest.raises(RecordError, match="no task"):
        remove_task(manager, "web", "x")


@pytest.mark.skipif(os.name != "posix", reason="the program is a script of Unix")
def test_a_secret_of_a_task_is_nowhere_in_clear(manager: Manager, tmp_path: Path) -> None:
    canary = "task-canary-6H"
    login = Credential("login", CredentialKind.LOGIN, "me")
    set_credential(manager.database, login, Secret(canary), manager.clock)
    program = tmp_path / "echo"
    program.write_text(f"#!{sys.executable}\nimport sys; print(sys.argv, sys.stdin.read())")
    program.chmod(0o755)
    settings = {"command": str(program), "include_key": "true"}
    add_task(manager, "web", Task(0, "echo", "script", settings=settings, credential="login"))
    assert request(manager).ok
    ran = run_by_hand(manager, "web", "echo")
    assert "***" in ran.run.log
    with manager.database.read() as records:
        said = [str(event) for event in records.events.after(0)]
    assert canary not in "".join(said) + ran.run.log + str(ran)
    for file in manager.home.path.rglob("*"):
        if file.is_file():
            data = file.read_bytes()
            assert canary.encode() not in data, file
            assert b"-----BEGIN PRIVATE KEY" not in data, file


@pytest.mark.skipif(os.name != "posix", reason="the programs are scripts of Unix")
def test_tasks_with_one_order_run_side_by_side(manager: Manager, tmp_path: Path) -> None:
    """Each waits until the other has begun: one after the other, both would fail."""
    program = tmp_path / "meet"
    program.write_text(
        f"#!{sys.executable}\nimport pathlib, sys, time\n"
        "me, other = map(pathlib.Path, sys.argv[1:])\nme.touch()\n"
        "ends = time.monotonic() + 20\nwhile not other.exists():\n"
        "    assert time.monotonic() < ends\n    time.sleep(0.01)\n"
    )
    program.chmod(0o755)
    for me, other in (("a", "b"), ("b", "a")):
        command = [str(program), str(tmp_path / me), str(tmp_path / other)]
        task = Task(0, me, "script", settings={"command": command}, timeout_s=30)
        add_task(manager, "web", task, position=10)
    run = request(manager)
    assert run.ok, run.error
    assert outcomes(manager) == {"a": ["ok"], "b": ["ok"]}


def in_groups(manager: Manager, tmp_path: Path, **passwords: str) -> None:
    """The certificate belongs to these groups of servers, each with a PFX password of its own."""
    manager.clock = SYSTEM  # as the shelves of groups have it
    with manager.database.write() as records:
        for name in passwords:
            (tmp_path / name).mkdir()
            group = Group(name, str(tmp_path / name), password_credential=f"pfx-{name}")
            add_group(records, group, manager.clock)
        web = records.certificates.get("web")
        records.certificates.edit(replace(web, groups=tuple(passwords)))
    for name, text in passwords.items():
        set_credential(manager.database, Credential(f"pfx-{name}"), Secret(text), manager.clock)


def test_a_groups_tasks_write_under_the_groups_password(manager: Manager, tmp_path: Path) -> None:
    in_groups(manager, tmp_path, one="of group one")
    (tmp_path / "second").mkdir()
    add(manager, "copy", tmp_path / "second")
    run = request(manager)
    assert run.ok, run.error
    for folder in ("one", "second"):
        data = (tmp_path / folder / "www.example.test.pfx").read_bytes()
        assert Bundle.from_pfx(data, Secret("of group one")) == run.bundle


def test_groups_with_different_passwords_leave_a_task_to_choose(
    manager: Manager, tmp_path: Path
) -> None:
    in_groups(manager, tmp_path, one="of group one", two="of group two")
    (tmp_path / "second").mkdir()
    add(manager, "copy", tmp_path / "second")
    run = request(manager)
    assert "have different PFX passwords" in str(run.error)
    assert run.error
    assert "--set password=CREDENTIAL" in run.error.hint
    edit_task(
        manager,
        "web",
        "copy",
        lambda task: replace(task, settings={**task.settings, "password": "pfx-two"}),
    )
    again = request(manager)
    assert again.ok, again.error
    data = (tmp_path / "second" / "www.example.test.pfx").read_bytes()
    assert Bundle.from_pfx(data, Secret("of group two")) == run.bundle
