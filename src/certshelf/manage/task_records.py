"""Add, change and remove deployment tasks, with what must hold for each and a line in the log."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from datetime import datetime
from typing import TYPE_CHECKING

from certshelf.errors import CredentialError
from certshelf.manage.declared_tasks import STEP, require_sound, task_fields
from certshelf.manage.manager import Manager
from certshelf.manage.model import ManagedCertificate, Task
from certshelf.manage.tasks import find_task

if TYPE_CHECKING:
    from certshelf.manage.db.records import Records


def add_task(
    manager: Manager, certificate: str, task: Task, *, position: int | None = None
) -> Task:
    """Store a new task of a certificate, by default after all others of its phase.

    certificate: its name. Raises ConfigError for an unknown type or setting, RecordError when the
    name is taken, CredentialError when its credential is not there.
    """
    with manager.database.write() as records:
        owner = records.certificates.get(certificate)
        if position is None:
            others = [t.position for t in records.tasks.of(owner.id) if t.phase is task.phase]
            position = max(others, default=0) + STEP
        return _add(records, owner, replace(task, position=position), manager.clock.now())


def edit_task(
    manager: Manager,
    certificate: str,
    name: str,
    change: Callable[[Task], Task],
    *,
    dry_run: bool = False,
) -> tuple[tuple[str, str, str], ...]:
    """Change one task of a certificate; (field, was, shall be) of what changes.

    change: gives the task as it shall be, of the task as it is. dry_run: only say it. Its runs are
    kept. Raises as add_task does.
    """
    with manager.database.read() if dry_run else manager.database.write() as records:
        owner = records.certificates.get(certificate)
        was = find_task(records, owner, name)
        wish = change(was)
        _require_possible(records, wish)
        fields = task_fields(was, wish)
        if not dry_run:
            _edit(records, owner, was, wish, manager.clock.now())
    return fields


def remove_task(manager: Manager, certificate: str, name: str) -> None:
    """Forget a task and its runs. RecordError when there is none of that name."""
    with manager.database.write() as records:
        owner = records.certificates.get(certificate)
        _remove(records, owner, find_task(records, owner, name), manager.clock.now())


def put_tasks(
    records: Records, owner: ManagedCertificate, wished: Sequence[Task], now: datetime
) -> None:
    """Make the tasks of a certificate as wished, by name; those that stay keep their runs."""
    there = {task.name: task for task in records.tasks.of(owner.id)}
    names = {task.name for task in wished}
    for name, task in there.items():
        if name not in names:
            _remove(records, owner, task, now)
    for task in wished:
        if task.name in there:
            _require_possible(records, task)
            _edit(records, owner, there[task.name], task, now)
        else:
            _add(records, owner, task, now)


def _require_possible(records: Records, task: Task) -> None:
    require_sound(task)
    if task.credential and records.credentials.find(task.credential) is None:
        raise CredentialError(
            f"there is no credential {task.credential[:64]!r}",
            hint=f"certshelf credential set {task.credential[:64]}",
        )


def _add(records: Records, owner: ManagedCertificate, task: Task, now: datetime) -> Task:
    _require_possible(records, task)
    added = records.tasks.add(replace(task, certificate_id=owner.id))
    data = {"task": added.name, "type": added.kind}
    records.events.append(now, "task.added", owner.name, data)
    return added


def _edit(
    records: Records, owner: ManagedCertificate, was: Task, wish: Task, now: datetime
) -> None:
    fields = [field for field, _, _ in task_fields(was, wish)]
    if not fields:
        return
    records.tasks.edit(replace(wish, id=was.id, certificate_id=owner.id))
    if (was.kind, was.settings, was.credential) != (wish.kind, wish.settings, wish.credential):
        records.tasks.count_anew(was.id)  # else a run under way takes it for done
    data = {"task": was.name, "type": wish.kind, "fields": fields}
    records.events.append(now, "task.changed", owner.name, data)


def _remove(records: Records, owner: ManagedCertificate, task: Task, now: datetime) -> None:
    records.tasks.remove(task.id)
    data = {"task": task.name, "type": task.kind}
    records.events.append(now, "task.removed", owner.name, data)
