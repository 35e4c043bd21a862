"""The records' one thread: all that is ready to be written goes to the disk in one transaction.

Orders that reach a checkpoint at the same time share one fsync. A change is a function of the
records; it may run twice (a batch that fails is done again one by one), so it does nothing else.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING, Any, TypeVar

from certshelf.errors import RecordBusy

if TYPE_CHECKING:
    from certshelf.manage.db.database import Database
    from certshelf.manage.db.records import Records

T = TypeVar("T")
_Change = tuple["Callable[[Records], Any]", "asyncio.Future[Any]"]
_End = tuple[Any, BaseException | None]


class Desk:
    """Reads and writes for many tasks of one loop; use it as an async context manager."""

    def __init__(self, database: Database) -> None:
        self._database = database
        self._thread = ThreadPoolExecutor(1, thread_name_prefix="certshelf-records")
        self._waiting: list[_Change] = []
        self._drain: asyncio.Task[None] | None = None
        self.transactions = 0
        """How many write transactions were made; fewer than changes, when there is much to do."""

    async def __aenter__(self) -> Desk:
        return self

    async def __aexit__(self, *error: object) -> None:
        if self._drain is not None:
            await self._drain
        await asyncio.to_thread(self._thread.shutdown)

    async def read(self, ask: Callable[[Records], T]) -> T:
        """What ask gives; it sees everything that was written before."""
        return await asyncio.get_running_loop().run_in_executor(self._thread, self._read, ask)

    async def write(self, change: Callable[[Records], T]) -> T:
        """What change gives, once it is on the disk; its error, when nothing of it is."""
        future: asyncio.Future[T] = asyncio.get_running_loop().create_future()
        self._waiting.append((change, future))
        if self._drain is None or self._drain.done():
            self._drain = asyncio.create_task(self._write_all())
        return await future

    async def _write_all(self) -> None:
        loop = asyncio.get_running_loop()
        while self._waiting:
            batch, self._waiting = self._waiting, []
            ends = await loop.run_in_executor(self._thread, self.commit, [c for c, _ in batch])
            for (_, future), (value, error) in zip(batch, ends, strict=True):
                if future.cancelled():
                    continue
                if error is not None:
                    future.set_exception(error)
                else:
                    future.set_result(value)

    def _read(self, ask: Callable[[Records], T]) -> T:
        with self._database.read() as records:
            return ask(records)

    def commit(self, changes: list[Callable[[Records], Any]]) -> list[_End]:
        """Do all changes in one transaction; when one of them fails, each in its own."""
        self.transactions += 1
        try:
            with self._database.write() as records:
                return [(change(records), None) for change in changes]
        except RecordBusy as error:
            return [(None, error)] * len(changes)
        except Exception as error:  # noqa: BLE001 - handed to the task that asked for it
            if len(changes) == 1:
                return [(None, error)]
        return [self.commit([change])[0] for change in changes]
