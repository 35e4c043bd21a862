from __future__ import annotations

from datetime import UTC, datetime, timedelta

import pytest

from certshelf.manage.budget import (
    LETS_ENCRYPT,
    NONE,
    Budget,
    Limit,
    Limits,
    registered_domain,
    share_left,
)
from certshelf.manage.db.database import Database

NOW = datetime(2030, 1, 1, tzinfo=UTC)
THREE_HOURLY = Limits(orders=Limit(3, timedelta(hours=1)))


def _spend(
    database: Database,
    budget: Budget,
    host: str,
    now: datetime,
    limits: Limits = THREE_HOURLY,
    *,
    waited: bool = False,
    exempt: bool = False,
) -> datetime | None:
    with database.write() as records:
        return budget.spend(records, "le", limits, (host,), now, waited=waited, exempt=exempt)


def test_orders_beyond_the_limit_get_a_place_in_line_each_its_own(database: Database) -> None:
    budget = Budget()
    ends = [_spend(database, budget, f"{i}.test", NOW) for i in range(6)]
    assert ends[:3] == [None] * 3
    step = timedelta(minutes=20)
    waits = [end - NOW - timedelta(seconds=1) for end in ends[3:] if end]
    assert waits == [pytest.approx(step * n, abs=timedelta(seconds=1)) for n in (1, 2, 3)]


def test_who_waited_gets_the_token_before_who_comes_new(database: Database) -> None:
    budget = Budget()
    ends = [_spend(database, budget, f"{i}.test", NOW) for i in range(5)]
    slot, last = ends[3], ends[4]
    assert slot
    assert last
    assert _spend(database, budget, "new.test", slot) > last  # type: ignore[operator]
    assert _spend(database, budget, "3.test", slot, waited=True) is None


def test_a_restart_forgets_nothing_that_was_spent(database: Database) -> None:
    for i in range(3):
        assert _spend(database, Budget(), f"{i}.test", NOW) is None
    assert _spend(database, Budget(), "3.test", NOW) is not None


def test_an_ari_renewal_is_exempt(database: Database) -> None:
    for _ in range(10):
        assert _spend(database, Budget(), "a.test", NOW, exempt=True) is None


def test_the_same_names_are_ordered_five_times_a_week(database: Database) -> None:
    ends = [_spend(database, Budget(), "a.test", NOW, LETS_ENCRYPT) for _ in range(6)]
    assert ends[:5] == [None] * 5
    assert ends[5]
    assert _spend(database, Budget(), "b.test", NOW, LETS_ENCRYPT) is None


def test_a_registered_domain_has_its_own_limit(database: Database) -> None:
    ends = [_spend(database, Budget(), f"{i}.shop.test", NOW, LETS_ENCRYPT) for i in range(51)]
    assert ends[:50] == [None] * 50
    assert ends[50]
    assert _spend(database, Budget(), "other.test", NOW, LETS_ENCRYPT) is None
    assert registered_domain("*.a.b.shop.test") == "shop.test"


def test_an_address_is_its_own_domain_and_a_64_network_is_one() -> None:
    assert registered_domain("192.0.2.7") == "192.0.2.7"
    assert registered_domain("2001:db8::7") == registered_domain("2001:db8::1:8") == "2001:db8::/64"


def test_nothing_is_taken_from_one_limit_when_another_says_no(database: Database) -> None:
    limits = Limits(orders=Limit(2, timedelta(hours=1)), per_names=Limit(1, timedelta(days=7)))
    assert _spend(database, Budget(), "a.test", NOW, limits) is None
    assert _spend(database, Budget(), "a.test", NOW, limits) is not None
    assert _spend(database, Budget(), "b.test", NOW, limits) is None


def test_five_failed_validations_hold_a_name_up_for_a_while(database: Database) -> None:
    names, budget = ("a.test",), Budget()
    with database.write() as records:
        for _ in range(5):
            budget.failed(records, "le", LETS_ENCRYPT, names, NOW)
    until = _spend(database, budget, "a.test", NOW, LETS_ENCRYPT, exempt=True)
    assert until
    assert until - NOW < timedelta(minutes=13)
    assert _spend(database, budget, "b.test", NOW, LETS_ENCRYPT) is None


def test_what_is_left_is_that_of_the_limit_nearest_to_its_end(database: Database) -> None:
    limits = Limits(orders=Limit(4, timedelta(hours=4)), per_domain=Limit(2, timedelta(days=1)))
    budget = Budget()

    def left(now: datetime) -> float | None:
        with database.read() as records:
            return share_left(records.buckets.of("le"), limits, now)

    assert left(NOW) == 1.0
    assert share_left([], NONE, NOW) is None
    _spend(database, budget, "a.test", NOW, limits)
    assert left(NOW) == 0.5
    assert left(NOW + timedelta(days=1)) == 1.0
    _spend(database, budget, "b.a.test", NOW, limits)
    assert left(NOW) == 0.0
