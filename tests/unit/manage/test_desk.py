from __future__ import annotations

import asyncio
from datetime import UTC, datetime

import pytest

from certshelf.errors import RecordError
from certshelf.manage.db.database import Database
from certshelf.manage.db.records import Records
from certshelf.manage.desk import Desk

NOW = datetime(2030, 1, 1, tzinfo=UTC)


def _note(text: str, records: Records) -> int:
    return records.events.append(NOW, "test", text).seq


def test_changes_that_are_ready_together_share_one_transaction(database: Database) -> None:
    async def story() -> None:
        async with Desk(database) as desk:
            seqs = await asyncio.gather(
                *(desk.write(lambda r, i=i: _note(str(i), r)) for i in range(50))  # type: ignore[misc]
            )
            assert seqs == list(range(1, 51))
            assert desk.transactions == 1

    asyncio.run(story())


def test_a_change_that_fails_undoes_itself_and_no_other(database: Database) -> None:
    def bad(records: Records) -> None:
        _note("undone", records)
        raise RecordError("no")

    async def story() -> None:
        async with Desk(database) as desk:
            ends = await asyncio.gather(
                desk.write(lambda r: _note("a", r)),
                desk.write(bad),
                desk.write(lambda r: _note("b", r)),
                return_exceptions=True,
            )
            assert [isinstance(end, RecordError) for end in ends] == [False, True, False]
            subjects = await desk.read(lambda r: [e.subject for e in r.events.all()])
            assert subjects == ["a", "b"]

    asyncio.run(story())


def test_an_error_of_ours_reaches_who_asked(database: Database) -> None:
    async def story() -> None:
        async with Desk(database) as desk:
            with pytest.raises(ZeroDivisionError):
                await desk.write(lambda records: 1 / 0)

    asyncio.run(story())
