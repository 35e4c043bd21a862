"""When a task runs, and when it does not."""

from __future__ import annotations

import pytest

from certshelf.deploy.triggers import Trigger, should_run

RUNS = {
    (Trigger.SUCCESS, True): True,
    (Trigger.SUCCESS, False): False,
    (Trigger.ERROR, True): False,
    (Trigger.ERROR, False): True,
    (Trigger.ANY, True): True,
    (Trigger.ANY, False): True,
    (Trigger.MANUAL, True): False,
    (Trigger.MANUAL, False): False,
    (Trigger.SKIPPED, True): False,
    (Trigger.SKIPPED, False): False,
}


@pytest.mark.parametrize(("trigger", "ok"), RUNS)
def test_a_trigger_decides_by_the_outcome_so_far(trigger: Trigger, ok: bool) -> None:
    why = should_run(trigger, ok=ok)
    assert (why == "") is RUNS[trigger, ok], why


@pytest.mark.parametrize("trigger", Trigger)
def test_by_hand_everything_runs_but_what_is_switched_off(trigger: Trigger) -> None:
    why = should_run(trigger, ok=False, by_hand=True)
    assert (why == "") is (trigger is not Trigger.SKIPPED)
