"""Faults of a real farm: each is found by its own check, no other turns red, mended it is green."""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import ExitStack
from typing import Any

import pytest

from tests.doctor.farm import load
from tests.doctor.farm_actions import ACTIONS
from tests.doctor.real_farm import RIGS, RealFarm, remarks, wait_for
from tests.support.pebble import pebble
from tests.support.samba import running_samba

pytestmark = [pytest.mark.slow, pytest.mark.timeout(120)]
FAULTS: list[dict[str, Any]] = load("farm_faults.yaml")["faults"]
RED = ("error", "warning")


@pytest.fixture(scope="module")
def farm(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RealFarm]:
    missing = [kind.missing() for kind in RIGS if kind.missing()]
    if missing:
        pytest.skip(f"not installed: {', '.join(missing)}")
    work = tmp_path_factory.mktemp("farm")
    with ExitStack() as stack:
        samba = stack.enter_context(running_samba())
        ca = stack.enter_context(pebble(work / "ca"))
        farm = RealFarm(work, samba, ca, stack)
        farm.wait_green()
        wait_for(lambda: not remarks(farm.doctor()), "a server has not looked yet")
        yield farm


@pytest.mark.xdist_group("farm-1")
def test_the_whole_farm_is_green_and_nothing_is_left_out(farm: RealFarm) -> None:
    found = farm.doctor("--deep")
    assert {(f["id"], f["severity"]) for f in found if f["severity"] != "ok"} == set()
    current = {f["subject"] for f in found if f["id"] == "served-current"}
    kinds = ("nginx", "haproxy", "envoy", "caddy", "traefik", "python")
    assert {subject.split()[0] for subject in current} == set(kinds)
    assert len(current) == len(kinds) * 4


def test_there_are_enough_seeded_faults_and_every_action_is_used() -> None:
    assert len(FAULTS) >= 30
    assert {fault["with"]["do"] for fault in FAULTS} == set(ACTIONS)
    assert len({fault["what"] for fault in FAULTS}) == len(FAULTS)


def on_two_farms() -> list[Any]:
    """Every fault, each second one on a farm of its own: two workers share the time."""
    groups = [pytest.mark.xdist_group(name) for name in ("farm-1", "farm-2")]
    return [
        pytest.param(fault, id=fault["what"], marks=groups[number % 2])
        for number, fault in enumerate(FAULTS)
    ]


@pytest.mark.parametrize("fault", on_two_farms())
def test_a_fault_is_found_by_its_own_check_alone_and_mended_it_is_green(
    farm: RealFarm, fault: dict[str, Any]
) -> None:
    action = dict(fault["with"])
    expected = (fault["finds"], fault.get("severity", "error"))
    with ACTIONS[action.pop("do")](farm, **action):
        found: list[dict[str, str]] = []

        def is_found() -> bool:
            found[:] = farm.doctor(*(["--deep"] if fault.get("deep") else []))
            return expected in remarks(found)

        wait_for(is_found, f"never found: {expected}")
        red = {one for one in remarks(found) if one[1] in RED}
        assert red <= {expected}, [f for f in found if f["severity"] in RED]
        assert "hunter2" not in json.dumps(found)
        if "cause" in fault:
            causes = {f["why"].split(":")[0] for f in found if f["id"] == fault["finds"]}
            assert causes == {fault["cause"]}
    farm.wait_green()
