"""Deployment tasks as `certs.toml` declares them: read, written out, and compared field by field.

No secret is in them: a task names its credentials.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from certshelf.deploy.registry import parse_task
from certshelf.deploy.triggers import Phase, Trigger
from certshelf.errors import CertshelfError, ConfigError
from certshelf.manage.model import Task, check_name

FIELDS = {
    "type": "kind",
    "when": "phase",
    "on": "trigger",
    "order": "position",
    "timeout": "timeout_s",
    "settings": "settings",
    "credential": "credential",
    "reason": "skip_reason",
}
"""Key in certs.toml -> attribute of Task, in the order of the file; `name` stands before them."""

SETTINGS_JSON = "settings_json"
"""Instead of `settings`, a text: for a null in a webhook's body, which TOML cannot say."""

STEP = 10
"""Between the orders of tasks that run one after the other: there is room to put one between."""

_TEXTS = ("name", "type", "when", "on", "credential", "reason", SETTINGS_JSON)
_ALWAYS = ("type", "order")


def parse_tasks(where: str, value: object) -> tuple[Task, ...]:
    """The tasks of one certificate; where: for messages. ConfigError says what is wrong."""
    if not isinstance(value, list) or not all(isinstance(table, dict) for table in value):
        raise ConfigError(f"{where}: tasks: expected [[certificate.tasks]] tables")
    tasks: dict[str, Task] = {}
    for table in value:
        task = _task(where, table, tasks.values())
        if task.name in tasks:
            raise ConfigError(f"{where}: there are two tasks {task.name!r}")
        tasks[task.name] = task
    return tuple(tasks.values())


def _task(where: str, table: Mapping[str, Any], before: Iterable[Task]) -> Task:
    name = table.get("name", table.get("type", ""))
    where = f"{where}: task {str(name)[:64]!r}"
    for key, given in table.items():
        if key not in ("name", SETTINGS_JSON, *FIELDS):
            words = ", ".join(("name", *FIELDS))
            raise ConfigError(f"{where}: {key!r} is no field of a task", hint=f"these are: {words}")
        if key in _TEXTS and not isinstance(given, str):
            raise ConfigError(f"{where}: {key}: expected a text in quotes")
    try:
        phase = Phase(table.get("when", Phase.AFTER))
        trigger = Trigger(table.get("on", Trigger.SUCCESS))
        others = [task.position for task in before if task.phase is phase]
        task = Task(
            certificate_id=0,
            name=check_name(name, "task"),
            kind=table.get("type", ""),
            phase=phase,
            trigger=trigger,
            position=_order(table.get("order", max(others, default=0) + STEP)),
            timeout_s=_seconds(table.get("timeout", 60.0)),
            settings=_settings(table),
            credential=table.get("credential", ""),
            skip_reason=table.get("reason", ""),
        )
        require_sound(task)
    except ValueError as error:
        raise ConfigError(f"{where}: {error}") from error
    except CertshelfError as error:
        raise ConfigError(f"{where}: {error}", hint=error.hint) from error
    return task


def require_sound(task: Task) -> None:
    """ConfigError for what no task can be: an unknown type or setting, no time, no reason."""
    parse_task(task.kind, task.settings)
    if not 0 < task.timeout_s <= 3600:
        raise ConfigError("a task's timeout is more than 0 and at most 3600 seconds")
    if task.trigger is Trigger.SKIPPED and not task.skip_reason:
        raise ConfigError("a task that is switched off needs a reason", hint="--reason TEXT")


def _order(value: object) -> int:
    if isinstance(value, bool) or not isinstance(value, int) or not 0 <= value <= 10_000:
        raise ValueError("order: expected a whole number from 0 to 10000")
    return value


def _seconds(value: object) -> float:
    if isinstance(value, bool) or not isinstance(value, (int, float)):
        raise ValueError("timeout: expected a number of seconds")
    return float(value)


def _settings(table: Mapping[str, Any]) -> dict[str, Any]:
    if "settings" in table and SETTINGS_JSON in table:
        raise ValueError(f"settings: expected this or {SETTINGS_JSON}, not both")
    found = json.loads(table[SETTINGS_JSON]) if SETTINGS_JSON in table else table.get("settings")
    if not isinstance(found or {}, dict):
        raise ValueError("settings: expected a table")
    return dict(found or {})


def as_table(task: Task) -> dict[str, object]:
    """A task as a plain object; what is as by default is left out."""
    bare = Task(0, "", "")
    table: dict[str, object] = {"name": task.name}
    for key, attribute in FIELDS.items():
        value = getattr(task, attribute)
        if key not in _ALWAYS and value == getattr(bare, attribute):
            continue
        if key == "settings" and _has_null(value):
            key, value = SETTINGS_JSON, json.dumps(value, ensure_ascii=False)
        table[key] = dict(value) if isinstance(value, Mapping) else value
    return table


def task_fields(was: Task | None, wish: Task | None) -> tuple[tuple[str, str, str], ...]:
    """What a change of one task changes: (field, was, shall be); empty when nothing."""
    task = was or wish
    assert task is not None  # noqa: S101 - nobody compares nothing with nothing
    if was is None or wish is None:
        return ((f"task {task.name}", _show(was), _show(wish)),)
    return tuple(
        (f"task {task.name}: {key}", _text(before), _text(after))
        for key, attribute in {"name": "name", **FIELDS}.items()
        if (before := getattr(was, attribute)) != (after := getattr(wish, attribute))
    )


def tasks_fields(there: Sequence[Task], wished: Sequence[Task]) -> tuple[tuple[str, str, str], ...]:
    """What makes the tasks of a certificate as wished, task by task."""
    known, wish = {task.name: task for task in there}, {task.name: task for task in wished}
    names = dict.fromkeys((*wish, *known))
    return tuple(f for name in names for f in task_fields(known.get(name), wish.get(name)))


def _show(task: Task | None) -> str:
    if task is None:
        return "-"
    table = as_table(task)
    return " ".join(f"{key}={_text(value)}" for key, value in table.items() if key != "name")


def _text(value: object) -> str:
    if isinstance(value, Mapping):
        return json.dumps(dict(value), ensure_ascii=False)
    return str(value) if value != "" else "-"


def _has_null(value: object) -> bool:
    if isinstance(value, Mapping):
        return any(map(_has_null, value.values()))
    return value is None or (isinstance(value, list) and any(map(_has_null, value)))
