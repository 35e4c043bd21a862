"""Deployment tasks and their runs in the database."""

from __future__ import annotations

from typing import Any

from sqlalchemy import Connection, Row, bindparam, select

from certshelf.deploy.triggers import Outcome, Phase, Trigger
from certshelf.manage.db import rows
from certshelf.manage.db.tables import task as table
from certshelf.manage.db.tables import task_run as runs
from certshelf.manage.model import Task, TaskRun, check_name

_MAX_LOG = 64 * 1024
_OF = (
    select(table)
    .where(table.c.certificate_id == bindparam("of"))
    .order_by(table.c.phase.desc(), table.c.position, table.c.id)
)
_HAS = select(table.c.id).where(table.c.certificate_id == bindparam("of")).limit(1)


class Tasks:
    """The tasks of certificates, in the order in which they run."""

    def __init__(self, connection: Connection) -> None:
        self._connection = connection

    def add(self, task: Task) -> Task:
        """Store a new one; the same with its id. RecordError when its name is taken there."""
        check_name(task.name, "task")
        values = rows.columns(task, without=("id",))
        key = rows.insert(self._connection, table, values, f"task {task.name!r}")
        return self.get(key)

    def get(self, task_id: int) -> Task:
        """The task of that number; RecordError when there is none."""
        row = self._connection.execute(select(table).where(table.c.id == task_id)).first()
        if row is None:
            raise rows.missing(f"task number {task_id}")
        return _task(row)

    def of(self, certificate_id: int) -> list[Task]:
        """All tasks of a certificate: before, then after, each by position."""
        return [_task(row) for row in self._connection.execute(_OF, {"of": certificate_id})]

    def has(self, certificate_id: int) -> bool:
        """Whether a certificate has any."""
        return self._connection.execute(_HAS, {"of": certificate_id}).first() is not None

    def all(self) -> list[Task]:
        """Every task of every certificate."""
        return [_task(row) for row in self._connection.execute(select(table).order_by(table.c.id))]

    def by_certificate(self) -> dict[int, list[Task]]:
        """The tasks of each certificate that has some, as of() gives them, by its number."""
        found: dict[int, list[Task]] = {}
        ordered = select(table).order_by(table.c.phase.desc(), table.c.position, table.c.id)
        for row in self._connection.execute(ordered):
            found.setdefault(row.certificate_id, []).append(_task(row))
        return found

    def find(self, certificate_id: int, name: str) -> Task | None:
        """The task of that name, or None."""
        where = (table.c.certificate_id == certificate_id) & (table.c.name == name)
        row = self._connection.execute(select(table).where(where)).first()
        return None if row is None else _task(row)

    def edit(self, task: Task) -> None:
        """Store a changed one, by id."""
        check_name(task.name, "task")
        values = rows.columns(task, without=("id", "certificate_id"))
        where = table.c.id == task.id
        rows.update(self._connection, table, where, values, f"task {task.name!r}")

    def count_anew(self, task_id: int) -> None:
        """Its runs are kept and count for no order: what they did is not what is wanted now."""
        update = runs.update().where(runs.c.task_id == task_id).values(order_id=None)
        self._connection.execute(update)

    def remove(self, task_id: int) -> None:
        """Forget one and its runs."""
        rows.delete(self._connection, table, table.c.id == task_id, f"task number {task_id}")

    def add_run(self, run: TaskRun) -> TaskRun:
        """Store how a run ended; the end of a long log is kept."""
        values = rows.columns(run, without=("id",)) | {"log": run.log[-_MAX_LOG:]}
        key = rows.insert(self._connection, runs, values, f"run of task number {run.task_id}")
        row = self._connection.execute(select(runs).where(runs.c.id == key)).one()
        return _run(row)

    def runs_of(self, task_id: int, limit: int = 20) -> list[TaskRun]:
        """The newest runs of a task, newest first."""
        found = select(runs).where(runs.c.task_id == task_id)
        ordered = found.order_by(runs.c.id.desc()).limit(limit)
        return [_run(row) for row in self._connection.execute(ordered)]


def _task(row: Row[Any]) -> Task:
    values = rows.mapping(row)
    return Task(**values | {"phase": Phase(row.phase), "trigger": Trigger(row.trigger)})


def _run(row: Row[Any]) -> TaskRun:
    values = rows.mapping(row)
    return TaskRun(**values | {"outcome": Outcome(row.outcome), "stale": tuple(row.stale)})
