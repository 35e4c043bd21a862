"""Whatever fails: the run is red, names what is old and where, old files stay, the next run mends.

The same table is run against copy-and-forget, to show what it would have reported.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from certshelf.manage.certificates import add_certificate
from certshelf.manage.manager import Manager
from certshelf.manage.model import State
from certshelf.manage.pipeline import Run, request_certificate
from certshelf.manage.tasks import stale_files
from tests.faults.deploy_cases import CASES, FIRST, HOSTS, Case, Farm, farm_in
from tests.faults.deploy_proxies import PROXY_CASES
from tests.support.homes import manager_in
from tests.support.records import certificate

pytestmark = pytest.mark.slow
ALL = (*CASES, *PROXY_CASES)
MAKE = pytest.mark.parametrize("make", ALL, ids=lambda make: make.__name__)


OVERWRITTEN = (
    "one_name_was_changed_by_others",
    "a_record_is_torn",
    "disk_full",
    "share_became_read_only",
)
"""There a copy gets through: over what somebody else had put there, or in place of the old file,
which is gone before the new one is known to fit."""


@pytest.fixture
def manager(tmp_path: Path) -> Iterator[Manager]:
    with manager_in(tmp_path) as manager:
        add_certificate(manager, certificate("web", *HOSTS))
        yield manager


@pytest.fixture
def farm(tmp_path: Path, manager: Manager, monkeypatch: pytest.MonkeyPatch) -> Iterator[Farm]:
    with farm_in(tmp_path, manager, monkeypatch) as farm:
        yield farm


def request(manager: Manager, *, force: bool = False) -> Run:
    return asyncio.run(request_certificate(manager, "web", force=force))


def deployed(farm: Farm, make: Callable[[Farm], Case]) -> tuple[Case, str]:
    """The case with the first certificate on its target."""
    case = make(farm)
    run = request(farm.manager)
    assert run.ok, run.error
    assert run.bundle is not None
    assert case.holds() == run.bundle.sha256
    return case, run.bundle.sha256


def test_the_table_is_long_enough() -> None:
    assert len(ALL) >= 40


@MAKE
def test_a_failure_is_red_exact_harmless_and_mended_by_the_next_run(
    farm: Farm, make: Callable[[Farm], Case]
) -> None:
    case, old = deployed(farm, make)
    case.break_()
    run = request(farm.manager, force=True)

    assert not run.ok
    with farm.manager.database.read() as records:
        web = records.certificates.get("web")
        ((task, last),) = stale_files(records, web.id)
        kinds = [event.kind for event in records.events.after(0)]
    assert web.status.state is State.FAILED
    assert web.status.retry_at is not None
    assert "task.failed" in kinds
    assert task.name == "case"
    for wanted in case.stale:
        assert any(wanted in text for text in last.stale), (wanted, last.stale)
        assert case.others_are_new is False or len(last.stale) == len(case.stale)
    assert case.stale[0].split(" on ")[0] in str(run.error)
    assert last.log

    seen = case.holds()
    assert seen in (old, "foreign"), "the old file is whole"
    assert run.bundle is not None
    on_shelf = farm.pfx(farm.folder / "shelf" / f"{FIRST}.pfx")
    assert on_shelf == run.bundle.sha256, "a task's failure keeps nothing from the shelf"

    case.mend()
    again = request(farm.manager)
    assert again.ok, again.error
    assert again.bundle == run.bundle, "without a new order"
    assert case.holds() == run.bundle.sha256
    with farm.manager.database.read() as records:
        web = records.certificates.get("web")
        assert stale_files(records, web.id) == []
    assert (web.status.state, web.status.last_error) == (State.VALID, "")


def copy_and_forget(copy: Callable[[bytes], object], data: bytes) -> str:
    """One file over the old one; an exception goes to a log, and the task reports success.

    Source: simple-acme's CentralSsl.Save catches each name's exception, logs it and returns
    success; Certify's task for CCS reports success when the copy failed.
    """
    try:
        copy(data)
    except Exception as error:
        logging.getLogger("incumbent").error("%s", error)
    return "success"


@MAKE
def test_copy_and_forget_would_have_reported_success(
    farm: Farm, make: Callable[[Farm], Case]
) -> None:
    case, _ = deployed(farm, make)
    assert bool(case.copy) != bool(case.not_compared)
    if case.copy is None:
        pytest.skip(case.not_compared)
    case.break_()
    run = request(farm.manager, force=True)
    new = run.bundle
    assert new is not None
    assert not run.ok
    data = new.to_pfx(farm.manager.shelf.passwords[0])
    (farm.folder / "new.pfx").write_bytes(data)
    assert copy_and_forget(case.copy, data) == "success"
    if make.__name__ not in OVERWRITTEN:
        assert case.holds() != new.sha256, "reported as deployed, and it is not"
    case.mend()
