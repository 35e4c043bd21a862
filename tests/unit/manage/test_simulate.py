from __future__ import annotations

from dataclasses import replace

import pytest

from certshelf.manage.simulate import (
    Outage,
    Scenario,
    accounts_needed,
    by_cohorts,
    simulate,
    simulate_exactly,
)

pytestmark = pytest.mark.slow
SMALL = Scenario(names=1000, lifetime_days=47, days=120)


@pytest.mark.parametrize(
    "scenario",
    [
        SMALL,
        replace(SMALL, lifetime_days=90),
        replace(SMALL, lifetime_days=6, days=60),
        replace(SMALL, failure_rate=0.2),
        replace(SMALL, outages=(Outage(500, 48),)),
        replace(SMALL, at_once=True, per_minute=10),
        replace(SMALL, ari=False),
        replace(SMALL, ari=False, at_once=True),
    ],
    ids=["47d", "90d", "6d", "failures", "outage", "at-once", "no-ari", "no-ari-at-once"],
)
def test_cohorts_tell_what_exact_events_tell(scenario: Scenario) -> None:
    exact, rough = simulate_exactly(scenario), by_cohorts(scenario)
    assert exact.expired == rough.expired == 0
    assert rough.orders == pytest.approx(exact.orders, rel=0.02)
    # the busiest hour of few names is mostly chance
    slack = 4 * exact.most_orders_an_hour**0.5 + 2
    assert rough.most_orders_an_hour == pytest.approx(exact.most_orders_an_hour, abs=slack)
    assert rough.least_left_h == pytest.approx(exact.least_left_h, abs=30)


def test_a_year_at_47_days_expires_nothing_through_a_day_of_outage() -> None:
    outcome = simulate(replace(SMALL, days=365, outages=(Outage(24 * 100, 24),)))
    assert outcome.exact
    assert outcome.expired == 0


def test_an_outage_longer_than_what_is_left_expires_certificates() -> None:
    outcome = simulate(replace(SMALL, lifetime_days=6, days=60, outages=(Outage(500, 24 * 5),)))
    assert outcome.expired > 0
    assert outcome.least_left_h < 0


def test_without_ari_many_names_need_more_accounts() -> None:
    hoster = Scenario(names=200_000, lifetime_days=47, days=120, ari=False)
    assert by_cohorts(hoster).expired > 0
    needed = accounts_needed(hoster)
    assert 2 <= needed <= 4
    assert by_cohorts(replace(hoster, accounts=needed)).expired == 0
    assert accounts_needed(replace(hoster, ari=True)) == 1


def test_a_mass_reissue_takes_as_long_as_the_managers_take() -> None:
    storm = Scenario(names=5000, lifetime_days=90, days=3, at_once=True, per_minute=20)
    outcome = simulate(storm)
    assert outcome.most_orders_an_hour <= 1201
    assert outcome.held_hours == 4
