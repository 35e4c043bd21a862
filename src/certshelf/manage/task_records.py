"""Add and remove deployment tasks, with what must hold for each and a line in the log."""

from __future__ import annotations

from dataclasses import replace

from certshelf.deploy.registry import parse_task
from certshelf.deploy.triggers import Trigger
from certshelf.errors import ConfigError, CredentialError
from certshelf.manage.manager import Manager
from certshelf.manage.model import Task
from certshelf.manage.tasks import find_task

_STEP = 10
"""Between the positions of tasks that run one after the other: there is room to put one between."""


def add_task(
    manager: Manager, certificate: str, task: Task, *, position: int | None = None
) -> Task:
    """Store a new task of a certificate, by default after all others of its phase.

    certificate: its name. Raises ConfigError for an unknown type or setting, RecordError when the
    name is taken, CredentialError when its credential is not there.
    """
    parse_task(task.kind, task.settings)
    if not 0 < task.timeout_s <= 3600:
        raise ConfigError("a task's timeout is more than 0 and at most 3600 seconds")
    if task.trigger is Trigger.SKIPPED and not task.skip_reason:
        raise ConfigError("a task that is switched off needs a reason", hint="--reason TEXT")
    with manager.database.write() as records:
        owner = records.certificates.get(certificate)
        if task.credential and records.credentials.find(task.credential) is None:
            raise CredentialError(
                f"there is no credential {task.credential[:64]!r}",
                hint=f"certshelf credential set {task.credential[:64]}",
            )
        if position is None:
            others = [t.position for t in records.tasks.of(owner.id) if t.phase is task.phase]
            position = max(others, default=0) + _STEP
        added = records.tasks.add(replace(task, certificate_id=owner.id, position=position))
        data = {"task": added.name, "type": added.kind}
        records.events.append(manager.clock.now(), "task.added", owner.name, data)
    return added


def remove_task(manager: Manager, certificate: str, name: str) -> None:
    """Forget a task and its runs. RecordError when there is none of that name."""
    with manager.database.write() as records:
        owner = records.certificates.get(certificate)
        task = find_task(records, owner, name)
        records.tasks.remove(task.id)
        data = {"task": task.name, "type": task.kind}
        records.events.append(manager.clock.now(), "task.removed", owner.name, data)
