"""Run the deployment tasks of a certificate: in order, each with its own time and log, in records.

Tasks with one position run side by side, others one after the other. What failed is named file by
file, and stays the run's failure until a later run has repaired it.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field, replace
from functools import partial
from itertools import groupby
from typing import TYPE_CHECKING

from certshelf.bundle.model import Bundle, LeafChain
from certshelf.deploy.base import Context, Login, Stale, TaskOutcome
from certshelf.deploy.registry import parse_task
from certshelf.deploy.triggers import Outcome, Phase, Trigger, should_run
from certshelf.errors import CertshelfError, DeployError, RecordError
from certshelf.manage.credentials import note_use, read_credential
from certshelf.manage.manager import Manager
from certshelf.manage.model import ManagedCertificate, Task, TaskRun
from certshelf.manage.publishing import issued_bundle, password_credential
from certshelf.manage.shelves import signing_key
from certshelf.secret import Secret
from certshelf.shelf.once import PfxWriter

if TYPE_CHECKING:
    from certshelf.manage.db.records import Records

_AT_ONCE = 8


@dataclass(frozen=True, slots=True)
class Situation:
    """What the tasks are run for. ok, error: how the request went. order_id: None by hand.

    issued: whether there is something that targets have not got yet; not so when the CA said no.
    """

    phase: Phase
    bundle: Bundle | LeafChain | None
    ok: bool = True
    error: str = ""
    order_id: int | None = None
    by_hand: bool = False
    issued: bool = True
    done: frozenset[int] = field(default_factory=frozenset)
    """The tasks that went well earlier in this very order: they are not done twice."""
    make_pfx: PfxWriter = field(default_factory=PfxWriter, repr=False)
    """Makes the PFX once for all targets that have the same password."""


@dataclass(frozen=True, slots=True)
class Ran:
    """A task and how it went."""

    task: Task
    run: TaskRun
    target: str = ""
    error: CertshelfError | None = None

    @property
    def ok(self) -> bool:
        """Whether nothing is wrong: done, or rightly not run."""
        return self.run.outcome is not Outcome.FAILED


def run_tasks(
    manager: Manager,
    certificate: ManagedCertificate,
    tasks: Iterable[Task],
    situation: Situation,
    progress: Callable[[str], None] = lambda text: None,
) -> list[Ran]:
    """Run what the triggers say, in order, those on error last: they hear of every failure.

    Writes nothing: see record(). Call it from a thread.
    """
    ran: list[Ran] = []
    for _, group in groupby(sorted(tasks, key=_place), key=_place):
        side_by_side = list(group)
        now = _so_far(situation, ran)
        with ThreadPoolExecutor(_AT_ONCE, thread_name_prefix="certshelf-task") as pool:
            ran += pool.map(partial(_run, manager, certificate, now, progress), side_by_side)
    return ran


def failure(ran: Sequence[Ran]) -> DeployError | None:
    """One error for all tasks that failed, with the files that are still old, or None."""
    failed = [one for one in ran if not one.ok]
    if not failed:
        return None
    first = failed[0]
    names = ", ".join(one.task.name for one in failed)
    stale = [text for one in ran for text in one.run.stale]
    what = f"task {names} failed: {first.error}; still old: {_few(stale)}"
    error = DeployError(what, hint=first.error.hint if first.error else "", output=first.run.log)
    error.__cause__ = first.error
    return error


def record(records: Records, certificate: ManagedCertificate, ran: Iterable[Ran]) -> None:
    """Store every run, and one event for each that did something or failed."""
    for one in ran:
        records.tasks.add_run(one.run)
        if one.run.outcome is Outcome.SKIPPED:
            continue
        kind = "task.done" if one.ok else "task.failed"
        data: dict[str, object] = {
            "task": one.task.name,
            "type": one.task.kind,
            "target": one.target,
        }
        if one.error is not None:
            data |= {"error": str(one.error), "stale": list(one.run.stale[:100])}
        records.events.append(one.run.finished_at, kind, certificate.name, data)


def done_in(records: Records, order_id: int, tasks: Iterable[Task]) -> frozenset[int]:
    """The tasks on success that went well in this order already."""
    found = set()
    for task in tasks:
        runs = records.tasks.runs_of(task.id)
        if task.trigger is Trigger.SUCCESS and any(
            run.order_id == order_id and run.outcome is Outcome.OK for run in runs
        ):
            found.add(task.id)
    return frozenset(found)


def stale_files(records: Records, certificate_id: int) -> list[tuple[Task, TaskRun]]:
    """The tasks whose target still has something old, with the run that says what.

    A task that did not get its turn since another one failed counts; one on error counts only
    until a run in which nothing failed.
    """
    found = []
    for task in records.tasks.of(certificate_id):
        runs = records.tasks.runs_of(task.id)
        if task.trigger is not Trigger.ERROR:
            runs = [run for run in runs if run.stale or run.outcome is not Outcome.SKIPPED]
        if runs and runs[0].stale:
            found.append((task, runs[0]))
    return found


def run_by_hand(manager: Manager, name: str, task_name: str) -> Ran:
    """Run one task of a certificate now, whatever its trigger, with what was issued last.

    RecordError when there is no such task.
    """
    with manager.database.read() as records:
        certificate = records.certificates.get(name)
        task = find_task(records, certificate, task_name)
        issued = records.issued.newest(certificate.id)
        bundle = issued_bundle(records, certificate) if issued else None
    situation = Situation(task.phase, bundle, by_hand=True)
    (ran,) = run_tasks(manager, certificate, [task], situation)
    with manager.database.write() as records:
        record(records, certificate, [ran])
    return ran


def find_task(records: Records, certificate: ManagedCertificate, name: str) -> Task:
    """The task of that name; RecordError when there is none."""
    found = records.tasks.find(certificate.id, name)
    if found is None:
        raise RecordError(
            f"{certificate.name} has no task {name[:64]!r}",
            hint=f"certshelf task ls {certificate.name}",
        )
    return found


def context_of(
    manager: Manager, certificate: ManagedCertificate, task: Task, situation: Situation
) -> Context:
    """All that a task needs; its login is opened, other secrets when it asks for them."""

    def credential(name: str) -> Login:
        found = read_credential(manager.home, manager.settings, name)
        with manager.database.write() as records:
            what_for = f"task {task.name} of {certificate.name}"
            note_use(records, name, what_for, manager.clock.now())
        return Login(found.username, found.secret)

    def password() -> Secret | None:
        return credential(password_credential(manager, certificate)).secret

    return Context(
        certificate=certificate.name,
        hosts=certificate.hosts,
        addresses=certificate.addresses,
        has_key=not certificate.csr,
        bundle=situation.bundle,
        ends_at=manager.clock.monotonic() + task.timeout_s,
        phase=situation.phase,
        ok=situation.ok,
        error=situation.error,
        password=password,
        login=credential(task.credential) if task.credential else None,
        credential=credential,
        owner=manager.settings.shelf.owner,
        signing_key=signing_key(manager.home, manager.settings),
        clock=manager.clock,
        make_pfx=situation.make_pfx,
    )


def _place(task: Task) -> tuple[bool, int]:
    return task.trigger is Trigger.ERROR, task.position


def _so_far(situation: Situation, ran: Sequence[Ran]) -> Situation:
    error = failure(ran)
    if error is None:
        return situation
    return replace(situation, ok=False, error=situation.error or str(error))


def _run(
    manager: Manager,
    certificate: ManagedCertificate,
    situation: Situation,
    progress: Callable[[str], None],
    task: Task,
) -> Ran:
    started = manager.clock.now()
    target = ""
    why = should_run(task.trigger, ok=situation.ok, by_hand=situation.by_hand)
    if task.trigger is Trigger.SKIPPED and task.skip_reason:
        why = task.skip_reason
    done = situation.done
    if not why and task.id in done:
        why = "done earlier in this run"
    if why:
        waits = task.trigger is Trigger.SUCCESS and not situation.ok and task.id not in done
        waits = waits and situation.issued
        old = (str(Stale(_target(task))),) if waits else ()
        run = TaskRun(task.id, Outcome.SKIPPED, started, started, why, old, situation.order_id)
        return Ran(task, run)
    progress(f"task {task.name}")
    try:
        target = parse_task(task.kind, task.settings).target
        outcome = _outcome(manager, certificate, task, situation, target)
    except CertshelfError as error:
        outcome = TaskOutcome(str(error), (Stale(target or task.kind),), error)
    run = TaskRun(
        task_id=task.id,
        outcome=Outcome.OK if outcome.ok else Outcome.FAILED,
        started_at=started,
        finished_at=manager.clock.now(),
        log=outcome.log,
        stale=tuple(map(str, outcome.stale)),
        order_id=situation.order_id,
    )
    return Ran(task, run, target, outcome.error)


def _outcome(
    manager: Manager,
    certificate: ManagedCertificate,
    task: Task,
    situation: Situation,
    target: str,
) -> TaskOutcome:
    """What a task gives; a mistake in a task is that task's failure, not the end of the run."""
    work = parse_task(task.kind, task.settings)
    context = context_of(manager, certificate, task, situation)
    try:
        return work.run(context)
    except CertshelfError as error:
        said = getattr(error, "output", "")
        log = f"{error}\n{said}" if said else str(error)
        return TaskOutcome(log, (Stale(target),), error)
    except Exception as error:  # noqa: BLE001 - a job's outer wall
        wrong = DeployError(f"a mistake in the task {task.kind}: {type(error).__name__}")
        return TaskOutcome(str(wrong), (Stale(target),), wrong)


def _target(task: Task) -> str:
    """Where a task works; its type, when its settings are no good any more."""
    try:
        return parse_task(task.kind, task.settings).target
    except CertshelfError:
        return task.kind


def _few(texts: Sequence[str]) -> str:
    shown = ", ".join(texts[:5])
    return f"{shown} and {len(texts) - 5} more" if len(texts) > 5 else shown or "nothing"
