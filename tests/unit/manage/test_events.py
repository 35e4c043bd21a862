from __future__ import annotations

import sqlite3
import threading
from datetime import UTC, datetime
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from certshelf.errors import RecordError
from certshelf.manage.db.database import Database
from certshelf.manage.event_follow import follow
from certshelf.manage.events import FIRST_HASH, canonical, parse
from certshelf.secret import Secret

NOW = datetime(2030, 1, 1, 1, 2, 3, 456789, tzinfo=UTC)


def _write(database: Database, count: int) -> None:
    with database.write() as records:
        for i in range(count):
            records.events.append(NOW, "test.kind", f"s{i}", {"i": i, "x": "ü\r\n"}, actor="me")


def test_each_entry_follows_from_the_one_before(database: Database) -> None:
    _write(database, 3)
    with database.read() as records:
        assert records.events.verify() == 3
        first, second, third = records.events.all()
        assert (first.prev_hash, second.prev_hash) == (FIRST_HASH, first.hash)
        assert records.events.head() == (3, third.hash)
        assert third.data == {"i": 2, "x": "ü\r\n"}
        assert third.at == NOW


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ("UPDATE event SET subject = 'other' WHERE seq = 2", "entry 2 of the event log"),
        ("UPDATE event SET data = '{}' WHERE seq = 1", "entry 1 of the event log"),
        ("DELETE FROM event WHERE seq = 2", "entry 3 of the event log"),
        ("DELETE FROM event WHERE seq = 3", "ends at entry 2, but 3 were written"),
        ("DELETE FROM event", "ends at entry 0, but 3 were written"),
    ],
)
def test_a_changed_or_missing_entry_is_named(
    database: Database, tmp_path: Path, change: str, message: str
) -> None:
    _write(database, 3)
    with sqlite3.connect(tmp_path / "certshelf.db") as raw:
        raw.execute(change)
    raw.close()
    with database.read() as records, pytest.raises(RecordError, match=message):
        records.events.verify()


@pytest.mark.parametrize("data", [{"x": Secret("a")}, {"x": [b"a"]}, {1: "a"}, {"x": {"y": NOW}}])
def test_only_plain_data_is_logged(data: dict[str, object]) -> None:
    with pytest.raises(TypeError):
        canonical(data)


def test_too_much_data_is_refused() -> None:
    with pytest.raises(RecordError, match="at most"):
        canonical({"x": "a" * 70_000})


_json = st.recursive(
    st.none()
    | st.booleans()
    | st.integers()
    | st.floats(allow_nan=False, allow_infinity=False)
    | st.text(),
    lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner),
    max_leaves=10,
)


@given(st.dictionaries(st.text(), _json, max_size=5))
def test_the_canonical_text_is_read_back_and_is_its_own_canonical_text(
    data: dict[str, object],
) -> None:
    text = canonical(data)
    assert parse(text) == data
    assert canonical(parse(text)) == text
    assert text.isascii()


def test_the_latest_are_filtered(database: Database) -> None:
    with database.write() as records:
        for kind, subject in (("a.x", "1"), ("a.y", "2"), ("ab", "1"), ("a.x", "2")):
            records.events.append(NOW, kind, subject)
        latest = records.events.latest
        assert [e.seq for e in latest(2)] == [3, 4]
        assert [e.seq for e in latest(9, kind="a.x")] == [1, 4]
        assert [e.seq for e in latest(9, kind="a.")] == [1, 2, 4]
        assert [e.seq for e in latest(9, subject="1")] == [1, 3]


def test_following_gives_old_and_new_entries_until_it_is_stopped(database: Database) -> None:
    _write(database, 2)
    stop = threading.Event()
    seen = follow(database, 1, stop, every_seconds=0.01)
    assert next(seen).seq == 2
    _write(database, 1)
    assert next(seen).seq == 3
    stop.set()
    assert list(seen) == []
