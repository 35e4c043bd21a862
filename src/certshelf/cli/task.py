"""`certshelf task`: what is done before a request of a certificate and after it."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from certshelf.cli import output

if TYPE_CHECKING:
    from certshelf.manage.model import Task, TaskRun

_TRIGGERS = ["success", "error", "any", "manual", "skipped"]
_EDITS = {
    "rename": "name",
    "credential": "credential",
    "reason": "skip_reason",
    "order": "position",
    "timeout": "timeout_s",
}
"""Option of `edit` -> attribute of Task, for those that are taken as they are."""


@click.group()
def command() -> None:
    """Deploy certificates: copy, export, reload, tell others."""


@command.command()
@click.argument("certificate")
@click.argument("kind", metavar="TYPE")
@click.option("--name", help="A short name for it; default: its type.")
@click.option("--set", "texts", multiple=True, metavar="KEY=VALUE", help="A setting; repeatable.")
@click.option("--set-json", "values", multiple=True, metavar="KEY=JSON", help="The same, typed.")
@click.option("--credential", default="", help="The login or secret that it uses.")
@click.option("--before", is_flag=True, help="Run it before the request, not after it.")
@click.option("--on", "trigger", type=click.Choice(_TRIGGERS), default="success", help="When.")
@click.option("--reason", default="", help="Why it is skipped.")
@click.option("--order", type=click.IntRange(0, 10_000), help="Its place; the same: at once.")
@click.option("--timeout", type=float, default=60.0, show_default=True, help="Seconds that it has.")
@click.pass_obj
def add(
    home: Path | None,
    /,
    certificate: str,
    kind: str,
    name: str | None,
    texts: tuple[str, ...],
    values: tuple[str, ...],
    credential: str,
    before: bool,
    trigger: str,
    reason: str,
    order: int | None,
    timeout: float,
) -> None:
    """Add a task of a TYPE to CERTIFICATE; `task types` lists the types and their settings."""
    from certshelf.deploy.triggers import Phase, Trigger
    from certshelf.manage.manager import open_manager
    from certshelf.manage.model import Task
    from certshelf.manage.task_records import add_task

    task = Task(
        certificate_id=0,
        name=name or kind,
        kind=kind,
        phase=Phase.BEFORE if before else Phase.AFTER,
        trigger=Trigger(trigger),
        timeout_s=timeout,
        settings=_settings(texts, values),
        credential=credential,
        skip_reason=reason,
    )
    with open_manager(home) as manager:
        added = add_task(manager, certificate, task, position=order)
    output.ok(f"task {added.name} added: certshelf task run {certificate} {added.name} tries it")


@command.command()
@click.argument("certificate")
@click.argument("name")
@click.option("--rename", metavar="NEW", help="Another name for it.")
@click.option("--set", "texts", multiple=True, metavar="KEY=VALUE", help="A setting; repeatable.")
@click.option("--set-json", "values", multiple=True, metavar="KEY=JSON", help="The same, typed.")
@click.option("--unset", multiple=True, metavar="KEY", help="A setting that goes back to default.")
@click.option("--credential", help='The login or secret that it uses; "" for none.')
@click.option("--before/--after", default=None, help="Run it before the request, or after it.")
@click.option("--on", "trigger", type=click.Choice(_TRIGGERS), help="When.")
@click.option("--reason", help="Why it is skipped.")
@click.option("--order", type=click.IntRange(0, 10_000), help="Its place; the same: at once.")
@click.option("--timeout", type=float, help="Seconds that it has.")
@click.option("--dry-run", is_flag=True, help="Show the changes, make none.")
@click.pass_obj
def edit(
    home: Path | None,
    /,
    certificate: str,
    name: str,
    dry_run: bool,
    **given: Any,
) -> None:
    """Change what task NAME of CERTIFICATE shall be; what is not given stays, its runs too.

    A setting that is given replaces the one of that name. What it deployed before stays there.
    """
    from certshelf.manage.manager import open_manager
    from certshelf.manage.task_records import edit_task

    with open_manager(home) as manager:
        fields = edit_task(
            manager, certificate, name, lambda task: _edited(task, given), dry_run=dry_run
        )
    for field, was, new in fields:
        output.say(f"   {field}: {was} -> {new}")
    name = given["rename"] or name
    done = f"changed: certshelf task run {certificate} {name} does it now"
    if dry_run:
        done = "would change; nothing was changed"
    output.ok(f"task {name} {done if fields else 'is like that already'}")


def _edited(task: Task, given: Mapping[str, Any]) -> Task:
    """The task with what the options say."""
    from dataclasses import replace

    from certshelf.deploy.triggers import Phase, Trigger

    settings = {**task.settings, **_settings(given["texts"], given["values"])}
    for key in given["unset"]:
        settings.pop(key, None)
    changes: dict[str, Any] = {"settings": settings}
    if given["before"] is not None:
        changes["phase"] = Phase.BEFORE if given["before"] else Phase.AFTER
    if given["trigger"]:
        trigger = changes["trigger"] = Trigger(given["trigger"])
        changes["skip_reason"] = task.skip_reason if trigger is Trigger.SKIPPED else ""
    for option, attribute in _EDITS.items():
        if given[option] is not None:
            changes[attribute] = given[option]
    return replace(task, **changes)


@command.command("types")
@output.as_json
def list_types(as_json: bool) -> None:
    """List the types of tasks and their settings."""
    from certshelf.deploy.registry import TYPES
    from certshelf.deploy.settings import described

    rows = [(kind, *row) for kind, cls in TYPES.items() for row in described(cls)]
    if as_json:
        keys = ("type", "setting", "default", "meaning")
        output.print_json([dict(zip(keys, row, strict=True)) for row in rows])
    else:
        output.print_table(("TYPE", "SETTING", "DEFAULT", "MEANING"), rows)


@command.command("ls")
@click.argument("certificate")
@output.as_json
@click.pass_obj
def list_tasks(home: Path | None, certificate: str, as_json: bool) -> None:
    """List the tasks of CERTIFICATE in the order in which they run, and how the last runs went."""
    from certshelf.manage.manager import open_manager

    with open_manager(home) as manager, manager.database.read() as records:
        tasks = records.tasks.of(records.certificates.get(certificate).id)
        found = [(task, records.tasks.runs_of(task.id, 1)) for task in tasks]
    if as_json:
        output.print_json([_task_json(task, runs) for task, runs in found])
        return
    output.print_table(
        ("NAME", "TYPE", "WHEN", "ON", "ORDER", "LAST RUN", "STILL OLD"),
        [_row(task, runs[0] if runs else None) for task, runs in found],
    )


@command.command()
@click.argument("certificate")
@click.argument("name")
@output.as_json
@click.pass_obj
def show(home: Path | None, certificate: str, name: str, as_json: bool) -> None:
    """Show a task of CERTIFICATE, its settings and its last runs with their logs."""
    from certshelf.manage.manager import open_manager
    from certshelf.manage.tasks import find_task

    with open_manager(home) as manager, manager.database.read() as records:
        task = find_task(records, records.certificates.get(certificate), name)
        runs = records.tasks.runs_of(task.id)
    shown = _task_json(task, runs)
    if as_json:
        output.print_json(shown)
        return
    for key, value in shown.items():
        if key != "runs":
            text = json.dumps(value) if isinstance(value, (dict, list)) else value
            output.say(f"{key:<12} {text if text not in (None, '') else '-'}")
    for run in runs[:5]:
        _print_run(run)


@command.command()
@click.argument("certificate")
@click.argument("name")
@output.as_json
@click.pass_obj
def run(home: Path | None, certificate: str, name: str, as_json: bool) -> int:
    """Run a task of CERTIFICATE now, whatever its trigger, with what was issued last."""
    from certshelf.manage.manager import open_manager
    from certshelf.manage.tasks import run_by_hand

    with open_manager(home) as manager:
        ran = run_by_hand(manager, certificate, name)
    if as_json:
        output.print_json({"ok": ran.ok, **_run_json(ran.run)})
        return 0 if ran.ok else 1
    _print_run(ran.run)
    if ran.error:
        raise ran.error
    output.ok(f"task {name} {ran.run.outcome.value}")
    return 0


@command.command("rm")
@click.argument("certificate")
@click.argument("name")
@click.pass_obj
def remove(home: Path | None, certificate: str, name: str) -> None:
    """Forget a task of CERTIFICATE and its runs; what it deployed stays where it is."""
    from certshelf.manage.manager import open_manager
    from certshelf.manage.task_records import remove_task

    with open_manager(home) as manager:
        remove_task(manager, certificate, name)
    output.ok(f"task {name} removed")


def _settings(texts: tuple[str, ...], values: tuple[str, ...]) -> dict[str, Any]:
    """Settings by name: a name that is given again makes a list, `a.b` an entry of the table a."""
    settings: dict[str, Any] = {}
    for text in texts:
        key, value = _pair(text, "--set")
        _put(settings, key, value)
    for text in values:
        key, value = _pair(text, "--set-json")
        try:
            _put(settings, key, json.loads(value))
        except ValueError as error:
            raise click.UsageError(f"--set-json {key}: not JSON") from error
    return settings


def _pair(text: str, option: str) -> tuple[str, str]:
    key, equals, value = text.partition("=")
    if not key or not equals:
        raise click.UsageError(f"{option} takes KEY=VALUE")
    return key, value


def _put(settings: dict[str, Any], key: str, value: object) -> None:
    table, dot, inner = key.partition(".")
    if dot:
        settings, key = settings.setdefault(table, {}), inner
        if not isinstance(settings, dict):
            raise click.UsageError(f"{table} is given as a table and as a value")
    if key in settings:
        before = settings[key]
        value = [*before, value] if isinstance(before, list) else [before, value]
    settings[key] = value


def _task_json(task: Task, runs: list[TaskRun]) -> dict[str, object]:
    return {
        "name": task.name,
        "type": task.kind,
        "when": task.phase.value,
        "on": task.trigger.value,
        "order": task.position,
        "timeout": task.timeout_s,
        "settings": dict(task.settings),
        "credential": task.credential or None,
        "reason": task.skip_reason or None,
        "runs": [_run_json(run) for run in runs],
    }


def _run_json(run: TaskRun) -> dict[str, object]:
    from certshelf.clock import iso

    return {
        "outcome": run.outcome.value,
        "started_at": iso(run.started_at),
        "finished_at": iso(run.finished_at),
        "stale": list(run.stale),
        "log": run.log,
    }


def _row(task: Task, run: TaskRun | None) -> tuple[object, ...]:
    from certshelf.clock import iso

    last = f"{run.outcome.value} {iso(run.finished_at)}" if run else "-"
    stale = ", ".join(run.stale[:3]) + (" ..." if len(run.stale) > 3 else "") if run else ""
    on = f"skipped: {task.skip_reason}" if task.skip_reason else task.trigger.value
    return task.name, task.kind, task.phase.value, on, task.position, last, stale or "-"


def _print_run(run: TaskRun) -> None:
    from certshelf.clock import iso

    output.say(f"{iso(run.started_at)} {run.outcome.value}")
    for line in run.log.splitlines():
        output.say(
            "   " + "".join(c if c.isprintable() else "\N{REPLACEMENT CHARACTER}" for c in line)
        )
    for text in run.stale:
        output.say(f"   still old: {text}")
