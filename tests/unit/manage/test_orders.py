from __future__ import annotations

from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from tests.support.records import certificate

from certshelf.errors import RecordError, RecordStale
from certshelf.manage.db.database import Database
from certshelf.manage.model import ChallengeRecord, OrderRecord, Step
from certshelf.secret import Secret

NOW = datetime(2030, 1, 1, tzinfo=UTC)
MINUTE = timedelta(minutes=1)


def _start(database: Database, name: str = "web") -> OrderRecord:
    with database.write() as records:
        added = records.certificates.add(certificate(name))
        return records.orders.start(added.id, "local", NOW)


def _claim(database: Database, owner: str, now: datetime = NOW) -> list[OrderRecord]:
    with database.write() as records:
        return records.orders.claim_due(now, owner, now + MINUTE, 10)


def test_a_certificate_has_one_open_order_at_a_time(database: Database) -> None:
    order = _start(database)
    with pytest.raises(RecordError, match="there is one already"), database.write() as records:
        records.orders.start(order.certificate_id, "local", NOW)
    with database.write() as records:
        records.orders.checkpoint(order, step=Step.DONE, finished_at=NOW)
        again = records.orders.start(order.certificate_id, "local", NOW)
        assert records.orders.open_of(order.certificate_id) == again
        assert [one.step for one in records.orders.of(order.certificate_id)] == ["new", "done"]


def test_an_order_is_held_by_one_until_its_lease_ends(database: Database) -> None:
    _start(database)
    assert [one.lease_owner for one in _claim(database, "a")] == ["a"]
    assert _claim(database, "b") == []
    assert [one.lease_owner for one in _claim(database, "b", NOW + MINUTE)] == ["b"]


def test_the_late_write_of_a_former_holder_is_refused(database: Database) -> None:
    _start(database)
    (late,) = _claim(database, "a")
    (holder,) = _claim(database, "b", NOW + 2 * MINUTE)
    with pytest.raises(RecordStale), database.write() as records:
        records.orders.checkpoint(late, step=Step.PUBLISHED)
    with database.write() as records:
        records.orders.checkpoint(holder, step=Step.ORDERED, order_url="https://ca/1")
        assert records.orders.get(late.id).step is Step.ORDERED


def test_an_order_that_waits_is_not_due(database: Database) -> None:
    _start(database)
    (order,) = _claim(database, "a")
    with database.write() as records:
        records.orders.release(order, NOW + MINUTE)
    assert _claim(database, "b") == []
    with database.write() as records:
        assert records.orders.claim(order.id, NOW, "b", NOW + MINUTE) is not None
        assert records.orders.claim(order.id, NOW, "c", NOW + MINUTE) is None


def test_the_key_lies_sealed_in_the_row(database: Database, tmp_path: Path) -> None:
    order = _start(database)
    with database.write() as records:
        records.orders.checkpoint(order, Secret("CANARY-KEY"), step=Step.KEY_SEALED)
    with database.read() as records:
        assert records.orders.key(order.id) == Secret("CANARY-KEY")
    for path in tmp_path.iterdir():
        assert b"CANARY-KEY" not in path.read_bytes()


def test_a_checkpoint_cannot_change_who_holds_the_order(database: Database) -> None:
    order = _start(database)
    with pytest.raises(TypeError), database.write() as records:
        records.orders.checkpoint(order, generation=7)


def test_a_final_step_closes_the_order_and_pruning_forgets_it(database: Database) -> None:
    order = _start(database)
    with database.write() as records:
        records.orders.checkpoint(order, step=Step.FAILED, finished_at=NOW, error="no")
        assert records.orders.count_open() == 0
        assert records.orders.prune(NOW) == 0
        assert records.orders.prune(NOW + MINUTE) == 1


def test_challenges_of_finished_orders_are_left_to_clean_up(database: Database) -> None:
    order = _start(database)
    presented = ChallengeRecord(order.id, "web.example.test", "http-01", "tok")
    with database.write() as records:
        records.challenges.put(presented)
        records.challenges.put(presented)
        assert records.challenges.of(order.id) == [presented]
        assert records.challenges.by_token("tok") == presented
        assert records.challenges.to_clean_up() == []
        records.orders.checkpoint(order, step=Step.FAILED)
        assert records.challenges.to_clean_up() == [presented]


def test_a_bucket_gives_what_it_holds_and_then_says_how_long_to_wait(database: Database) -> None:
    def take(now: datetime) -> float:
        with database.write() as records:
            wait = records.buckets.take("le", "new-order", now, capacity=2, per_second=0.5)
            return wait.total_seconds()

    assert [take(NOW), take(NOW), take(NOW)] == [0, 0, 2]
    assert take(NOW - MINUTE) == 2
    assert take(NOW + timedelta(seconds=2)) == 0
    assert [take(NOW + MINUTE) for _ in range(3)] == [0, 0, 2]
