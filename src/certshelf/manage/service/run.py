"""The service: look for what is due, have it advanced, check up, tell, until told to stop."""

from __future__ import annotations

import asyncio
import contextlib
import os
from collections.abc import Awaitable, Callable, Mapping, Sequence
from datetime import datetime, timedelta
from typing import TYPE_CHECKING, TypeVar

from certshelf.errors import CertshelfError
from certshelf.manage.engine import LEASE, is_dead, owner
from certshelf.manage.event_outputs import open_output
from certshelf.manage.maintenance import in_window, next_opening, parse_windows
from certshelf.manage.notify.tell import tell_what_is_wrong
from certshelf.manage.responders import Responders, http_ports, open_all, thumbprint_for
from certshelf.manage.service import systemd
from certshelf.manage.service.checkup import check_up
from certshelf.manage.service.forwarding import Forwarder
from certshelf.manage.service.handout import HandOut, InProcess
from certshelf.manage.service.http import status_server
from certshelf.manage.service.metrics import Counters, Stock, render
from certshelf.manage.service.schedule import BUDGET_SPAN, OpenOrder, plan_tick
from certshelf.manage.service.worker import Worker

if TYPE_CHECKING:
    from certshelf.manage.db.records import Records
    from certshelf.manage.manager import Manager

T = TypeVar("T")
FORWARD_SECONDS = 2.0
MINUTE = 60.0
SHARED_LEASE = timedelta(seconds=30)
"""How long a claim holds when several managers share the work: one that died is replaced soon."""


async def run_service(manager: Manager, stop: asyncio.Event, ready: Callable[[str], None]) -> None:
    """Do all that a manager does by itself until stop is set, then end in order.

    ready: told one line, once everything is up. Raises ConfigError for settings that cannot be
    used; later troubles are events, and the service goes on.
    """
    service = Service(manager)
    listen = manager.settings.service.listen
    async with (
        service.responders,
        status_server(listen, service.trouble, service.metrics) as address,
    ):
        service.note("service.started", {"holder": owner()})
        ready(await service.greeting(address))
        systemd.notify(os.environ, "READY=1")
        await service.run(stop)


class Service:
    """The parts, and what they share; see run_service()."""

    def __init__(self, manager: Manager) -> None:
        settings = manager.settings.service
        self._manager = manager
        self._settings = settings
        self._windows = parse_windows(settings.windows, settings.time_zone)
        self._counters = Counters()
        self._hand_out = _hand_out(manager)
        lease = LEASE if manager.database.is_sqlite else SHARED_LEASE
        self.responders = Responders(self._thumbprint_of)
        """The ports of http-01, which stand as long as the service runs."""
        self._worker = Worker(
            manager,
            self._counters,
            lease=lease,
            opening=self._opening,
            responders=self.responders,
        )
        output = open_output(settings.events_to)
        self._forwarder = (
            Forwarder(manager.database, output, settings.events_to) if output else None
        )
        self._last_tick = manager.clock.monotonic()
        self._last_tick_at = manager.clock.now()
        self._due = 0
        self._troubled: set[str] = set()

    async def run(self, stop: asyncio.Event) -> None:
        """All parts side by side; see run_service()."""
        parts = [
            asyncio.create_task(self._every(self._settings.tick_seconds, self._tick, stop)),
            asyncio.create_task(self._every(MINUTE, self._answer_challenges, stop)),
            asyncio.create_task(self._every(MINUTE, self._worker.look_up, stop)),
            asyncio.create_task(self._every(FORWARD_SECONDS, self._forward, stop)),
            asyncio.create_task(self._every(MINUTE, self._check_up, stop)),
            asyncio.create_task(self._every(MINUTE, self._tell, stop)),
        ]
        working = asyncio.create_task(self._hand_out.work(self._worker.advance, stop))
        first, _ = await asyncio.wait(
            [working, asyncio.create_task(stop.wait())], return_when=asyncio.FIRST_COMPLETED
        )
        if working in first:
            stop.set()  # the hand-out failed: say so, and let the service manager start us anew
        await self._drain(parts, working)

    async def _drain(self, parts: list[asyncio.Task[None]], working: asyncio.Task[None]) -> None:
        """Finish the steps under way and give the leases back, within the time for it."""
        systemd.notify(os.environ, "STOPPING=1")
        self._worker.stop()
        done, left = await asyncio.wait([working, *parts], timeout=self._settings.drain_seconds)
        for task in left:
            task.cancel()
        await asyncio.gather(*left, return_exceptions=True)
        self.note("service.stopped", {"holder": owner(), "left": len(left)})
        with contextlib.suppress(CertshelfError):  # what was not told is told at the next start
            await self._forward()
        if self._forwarder is not None:
            self._forwarder.close()
        for task in done:
            task.result()  # raises what ended it

    async def greeting(self, address: str) -> str:
        """The line that says that it is up."""

        def count() -> int:
            with self._manager.database.read() as records:
                return records.certificates.count()

        where = f", {address}/healthz" if address else ""
        return f"certshelf is ready: {await asyncio.to_thread(count)} certificates{where}"

    def note(self, kind: str, data: dict[str, str | int]) -> None:
        """One event about the service itself."""
        with self._manager.database.write() as records:
            records.events.append(self._manager.clock.now(), kind, owner().split(":")[0], data)

    def trouble(self) -> str:
        """Why the service is not well; "" when it is."""
        late = self._manager.clock.monotonic() - self._last_tick
        if late > max(MINUTE, 3 * self._settings.tick_seconds):
            return f"nothing was looked at for {round(late)} s"
        return ""

    async def metrics(self) -> str:
        """The text of /metrics."""
        stock = await asyncio.to_thread(self._stock)
        return render(stock, self._counters, int(self._last_tick_at.timestamp()))

    def _stock(self) -> Stock:
        with self._manager.database.read() as records:
            return Stock(
                states=records.certificates.by_state(),
                due=self._due,
                open_orders=records.orders.count_open(),
                next_expiry=records.certificates.next_expiry(self._manager.clock.now()),
                events=records.events.head()[0],
            )

    # --- the parts

    async def _every(
        self, seconds: float, action: Callable[[], Awaitable[None]], stop: asyncio.Event
    ) -> None:
        """Do one thing again and again; the first of a row of failures becomes an event."""
        part = action.__name__.strip("_").replace("_", " ")
        while not stop.is_set():
            try:
                await action()
                self._troubled.discard(part)
            except CertshelfError as error:
                await self._note_trouble(part, str(error))
            except Exception as error:  # noqa: BLE001 - a part's outer wall: the others go on
                await self._note_trouble(part, type(error).__name__)
            with contextlib.suppress(TimeoutError):
                await asyncio.wait_for(stop.wait(), seconds)

    async def _note_trouble(self, part: str, what: str) -> None:
        if part in self._troubled:
            return
        self._troubled.add(part)
        with contextlib.suppress(CertshelfError):  # the database itself may be the trouble
            await asyncio.to_thread(self.note, "service.trouble", {"part": part, "error": what})

    async def _tick(self) -> None:
        """Hand out what is due."""
        names = await asyncio.to_thread(self.plan)
        await self._hand_out.give(names)
        self._counters.ticks += 1
        self._last_tick = self._manager.clock.monotonic()
        self._last_tick_at = self._manager.clock.now()

    def plan(self) -> tuple[str, ...]:
        """The certificates to advance now, as the records say."""
        now, budget = self._manager.clock.now(), self._settings.budget_per_hour
        with self._manager.database.read() as records:
            due = records.certificates.due(now)
            under_way = [OpenOrder(*row) for row in records.orders.waiting()]
            begun = records.orders.begun_since(now - BUDGET_SPAN) if budget else 0
        self._due = len(due)
        return plan_tick(due, under_way, now, begun=begun, budget=budget, is_dead=is_dead)

    async def _answer_challenges(self) -> None:
        """Listen wherever a certificate's http-01 is to be answered; ConfigError: it cannot."""
        await open_all(self.responders, await asyncio.to_thread(self._ask, http_ports))

    async def _thumbprint_of(self, host: str) -> str:
        return await asyncio.to_thread(self._ask, lambda records: thumbprint_for(records, host))

    def _ask(self, question: Callable[[Records], T]) -> T:
        with self._manager.database.read() as records:
            return question(records)

    async def _forward(self) -> None:
        """Tell events to the place that the settings name."""
        if self._forwarder is not None:
            await asyncio.to_thread(self._forwarder.forward)

    async def _check_up(self) -> None:
        """The doctor, when it is time; of several managers one does it."""
        minutes = self._settings.doctor_minutes
        if minutes and await asyncio.to_thread(self._is_my_turn, "doctor", minutes * MINUTE):
            self._counters.findings = await asyncio.to_thread(check_up, self._manager)

    async def _tell(self) -> None:
        """Notifications, when there is something to tell; of several managers one does it."""
        if await asyncio.to_thread(self._is_my_turn, "notify", MINUTE / 2):
            outcome = await tell_what_is_wrong(self._manager)
            if outcome:
                self._counters.messages[outcome] += 1

    def _is_my_turn(self, what: str, every_seconds: float) -> bool:
        """Whether this manager is the one that does it now: a bucket of one for all of them."""

        def take(records: Records) -> bool:
            now = self._manager.clock.now()
            wait = records.buckets.take("service", what, now, capacity=1, per_second=rate)
            return not wait

        rate = 1 / every_seconds
        with self._manager.database.write() as records:
            return take(records)

    def _opening(self, now: datetime) -> datetime | None:
        return None if in_window(self._windows, now) else next_opening(self._windows, now)


def _hand_out(manager: Manager) -> HandOut:
    if manager.database.is_sqlite:

        def ask(names: Sequence[str]) -> Mapping[str, str]:
            with manager.database.read() as records:
                return records.certificates.issuers(names)

        async def issuers(names: Sequence[str]) -> Mapping[str, str]:
            return await asyncio.to_thread(ask, names)

        return InProcess(issuers)
    from certshelf.manage.service.shared import Shared

    return Shared(manager.settings.database.url)
