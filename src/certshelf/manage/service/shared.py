"""Several managers on one PostgreSQL: procrastinate hands out the work.

One job is: advance this certificate until it is done or must wait. A job is locked by its
certificate and queued once; workers tell that they live every few seconds, and the jobs of one
that fell silent are given to another. What a job may do twice is guarded in the records: the
generation of an order refuses a late writer, whatever became of the job.
Source: procrastinate.readthedocs.io, "lock", "queueing lock", "retry stalled jobs".
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Iterable
from typing import TYPE_CHECKING, Any

from certshelf.errors import ConfigError, RecordError
from certshelf.manage.service.handout import Advance

if TYPE_CHECKING:
    from procrastinate import App
    from procrastinate.tasks import Task

QUEUE = "certshelf"
AT_ONCE = 16
"""Certificates that one manager advances at a time; small, so that the others get their share."""
HEARTBEAT_SECONDS = 5.0
SILENT_SECONDS = 20.0
"""After so long without a heartbeat a worker's jobs are handed to another."""
_OPEN_JOBS = """
SELECT queueing_lock FROM procrastinate_jobs
WHERE queue_name = %(queue)s AND status IN ('todo', 'doing')
"""
_SCHEMA_LOCK = 0x63657275  # any number, the same in every manager
_OTHERS_SECONDS = 5.0


class Shared:
    """See HandOut."""

    def __init__(self, url: str, at_once: int = AT_ONCE) -> None:
        """url: the database's, as libpq reads it."""
        self._url = url
        self._at_once = at_once
        self._app, self._task = _application(url)
        self._advance: Advance | None = None
        self._is_open = asyncio.Event()

    async def give(self, names: Iterable[str]) -> None:
        """See HandOut: what is queued or being worked on is left alone."""
        from procrastinate.exceptions import AlreadyEnqueued, ConnectorException

        await self._is_open.wait()
        try:
            known = await self._known()
            for name in names:
                if name not in known:
                    with contextlib.suppress(AlreadyEnqueued):  # another manager was faster
                        await self._task.configure(lock=name, queueing_lock=name).defer_async(
                            name=name
                        )
        except ConnectorException as error:
            raise RecordError("the queue in PostgreSQL does not answer") from error

    async def work(self, advance: Advance, stop: asyncio.Event) -> None:
        """See HandOut."""
        await asyncio.to_thread(make_schema, self._url)
        self._advance = advance
        asyncio.get_running_loop().set_exception_handler(_unexpected)
        async with self._app.open_async():
            self._is_open.set()
            worker = asyncio.create_task(self._run_worker())
            takeover = asyncio.create_task(self._take_over())
            stopping = asyncio.create_task(stop.wait())
            await asyncio.wait([worker, stopping], return_when=asyncio.FIRST_COMPLETED)
            takeover.cancel()
            worker.cancel()  # it takes no new job, and waits for those under way
            with contextlib.suppress(asyncio.CancelledError):
                await worker

    async def run_job(self, name: str) -> None:
        """One job."""
        assert self._advance is not None  # noqa: S101 - set before the worker begins
        await self._advance(name)

    async def _run_worker(self) -> None:
        await self._app.run_worker_async(
            queues=[QUEUE],
            concurrency=self._at_once,
            install_signal_handlers=False,
            delete_jobs="always",
            update_heartbeat_interval=HEARTBEAT_SECONDS,
            stalled_worker_timeout=SILENT_SECONDS,
            additional_context={"shared": self},
        )

    async def _take_over(self) -> None:
        """Give the jobs of silent workers back to the queue, again and again."""
        from procrastinate.exceptions import ConnectorException

        manager = self._app.job_manager
        while True:
            with contextlib.suppress(ConnectorException):  # the database is away: next time
                silent = await manager.get_stalled_jobs(
                    queue=QUEUE, seconds_since_heartbeat=SILENT_SECONDS
                )
                for job in silent:
                    await manager.retry_job(job)
            await asyncio.sleep(_OTHERS_SECONDS)

    async def _known(self) -> set[str]:
        """The certificates that are queued or being worked on; only the names are fetched."""
        found = await self._app.connector.execute_query_all_async(_OPEN_JOBS, queue=QUEUE)
        return {row["queueing_lock"] for row in found}


def _unexpected(loop: asyncio.AbstractEventLoop, context: dict[str, Any]) -> None:
    """Say nothing of a job that another worker took over and finished; all else as always."""
    import psycopg

    error = context.get("exception")
    if not isinstance(getattr(error, "__cause__", None), psycopg.errors.RaiseException):
        loop.default_exception_handler(context)


def make_schema(url: str) -> None:
    """Make procrastinate's tables beside ours, once, whichever manager comes first."""
    import psycopg
    from procrastinate.schema import SchemaManager

    try:
        with psycopg.connect(url, connect_timeout=10) as connection:
            connection.execute("SELECT pg_advisory_xact_lock(%s)", (_SCHEMA_LOCK,))
            found = connection.execute("SELECT to_regclass('procrastinate_jobs')").fetchone()
            if found is not None and found[0] is None:
                connection.execute(SchemaManager.get_schema())
    except psycopg.Error as error:
        raise RecordError("the queue cannot be made in PostgreSQL") from error


def _application(url: str) -> tuple[App, Task[..., Any, Any]]:
    try:
        from procrastinate import App, JobContext, PsycopgConnector
    except ModuleNotFoundError as error:
        raise ConfigError(
            "the service on PostgreSQL needs procrastinate",
            hint="pip install 'certshelf[postgres]'",
        ) from error
    app = App(connector=PsycopgConnector(conninfo=url, min_size=1, max_size=8))

    @app.task(queue=QUEUE, name="certshelf.advance", pass_context=True)
    async def advance(context: JobContext, name: str) -> None:
        await context.additional_context["shared"].run_job(name)

    return app, advance
