"""Advancing certificates: one engine while there is work, none while there is not."""

from __future__ import annotations

import asyncio
from collections import defaultdict
from collections.abc import AsyncIterator, Callable
from contextlib import AsyncExitStack, asynccontextmanager
from datetime import datetime, timedelta
from typing import TYPE_CHECKING

from certshelf.errors import CertshelfError, RecordBusy, RecordStale
from certshelf.manage.accounts import IN_FLIGHT
from certshelf.manage.claims import leases, tidy_up
from certshelf.manage.engine import Engine
from certshelf.manage.pipeline import Ask, request
from certshelf.manage.responders import Responders
from certshelf.manage.runner import ask_windows
from certshelf.manage.service.metrics import Counters

if TYPE_CHECKING:
    from certshelf.manage.manager import Manager
    from certshelf.manage.steps import Work


class Worker:
    """Opens an engine for the first certificate and closes it after the last.

    So an idle service holds no connection, and one that begins to work sees every issuer and
    account as it is then. The ports of challenges stand longer: they are the service's.
    """

    def __init__(
        self,
        manager: Manager,
        counters: Counters,
        *,
        lease: timedelta,
        opening: Callable[[datetime], datetime | None],
        responders: Responders | None = None,
    ) -> None:
        """opening: None when files may be deployed at a moment, else when they may."""
        self._responders = responders
        self._manager = manager
        self._counters = counters
        self._lease = lease
        self._opening = opening
        self._users = 0
        self._turn = asyncio.Lock()
        self._stack = AsyncExitStack()
        self._open: tuple[Engine, dict[int, Work]] | None = None
        self._slots: defaultdict[str, asyncio.Semaphore] = defaultdict(
            lambda: asyncio.Semaphore(IN_FLIGHT)
        )
        self._stopping = False

    async def advance(self, name: str) -> None:
        """One certificate, until it is done or must wait; what came of it is counted and kept."""
        try:
            async with self._engine() as (engine, held):
                issuers = await engine.desk.read(lambda r: r.certificates.issuers([name]))
                async with self._slots[issuers.get(name, "")]:
                    run = await request(engine, name, Ask(), held)
            self._counters.run(run.outcome)
        except (RecordBusy, RecordStale):
            self._counters.run("held elsewhere")
        except CertshelfError as error:
            self._counters.run("failed")
            await asyncio.to_thread(self._trouble, name, str(error))
        except Exception as error:  # noqa: BLE001 - a job's outer wall: the service goes on
            self._counters.run("failed")
            await asyncio.to_thread(self._trouble, name, type(error).__name__)

    async def look_up(self) -> None:
        """Ask the CAs for renewal windows whose time has come, and clean up after crashes."""
        async with self._engine() as (engine, _):
            await tidy_up(engine)
            await ask_windows(engine)

    def stop(self) -> None:
        """Let every order end at its next step: its lease is given back, and it can go on later."""
        self._stopping = True
        if self._open is not None:
            self._open[0].stopping = True

    @asynccontextmanager
    async def _engine(self) -> AsyncIterator[tuple[Engine, dict[int, Work]]]:
        async with self._turn:
            self._users += 1
            if self._open is None:
                self._open = await self._begin()
        try:
            yield self._open
        finally:
            async with self._turn:
                self._users -= 1
                if not self._users:
                    self._open = None
                    await self._stack.aclose()

    async def _begin(self) -> tuple[Engine, dict[int, Work]]:
        engine = Engine(
            self._manager,
            lease=self._lease,
            opening=self._opening,
            responders=self._responders,
        )
        engine.stopping = self._stopping
        try:
            await self._stack.enter_async_context(engine)
            return engine, await self._stack.enter_async_context(leases(engine))
        except BaseException:
            self._users -= 1
            await self._stack.aclose()
            raise

    def _trouble(self, name: str, what: str) -> None:
        with self._manager.database.write() as records:
            now = self._manager.clock.now()
            records.events.append(now, "service.trouble", name, {"error": what})
