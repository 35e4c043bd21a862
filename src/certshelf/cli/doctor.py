"""`certshelf doctor`: look at everything, ask every member, say what is wrong and what to do."""

from __future__ import annotations

import signal
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from threading import Event
from typing import TYPE_CHECKING, BinaryIO

import click

from certshelf.cli import output
from certshelf.cli.iis import read_answer

if TYPE_CHECKING:
    from certshelf.finding import Finding


@click.command()
@click.option("--only", multiple=True, metavar="ID", help="This check only (may be repeated).")
@output.as_json
@click.option("--junit", is_flag=True, help="Print JUnit XML, for a pipeline.")
@click.option(
    "--iis-answer",
    "answers",
    multiple=True,
    type=click.File("rb"),
    help="What `iis check-script` wrote on a server (may be repeated).",
)
@click.option("--deep", is_flag=True, help="Also try the challenges, and ask the CAs for the time.")
@click.option("--watch", is_flag=True, help="Look again and again; print what changed.")
@click.option(
    "--every",
    type=click.FloatRange(min=0.1),
    default=60.0,
    show_default=True,
    metavar="SECONDS",
    help="How long --watch waits between two looks.",
)
@click.option("--list", "list_checks", is_flag=True, help="List the checks and end.")
@click.pass_obj
def command(
    home: Path | None,
    only: tuple[str, ...],
    as_json: bool,
    junit: bool,
    answers: tuple[BinaryIO, ...],
    deep: bool,
    watch: bool,
    every: float,
    list_checks: bool,
) -> int:
    """Check shelf, servers, renewals and this machine; exit status 1 when anything is red."""
    if as_json + junit + watch > 1:
        raise click.UsageError("give one of --json, --junit and --watch")
    if list_checks:
        return _list()
    if watch:
        texts = [read_answer(file) for file in answers]
        return _watch(lambda: _examine(home, only, texts, deep), every)
    from certshelf.doctor import report

    findings = _examine(home, only, [read_answer(file) for file in answers], deep)
    show = report.as_json if as_json else report.junit if junit else report.text
    output.say(show(findings), nl=False)
    return report.exit_status(findings)


def _examine(
    home: Path | None, only: Sequence[str], answers: Sequence[str], deep: bool
) -> tuple[Finding, ...]:
    from certshelf.errors import RecordBusy, RecordError
    from certshelf.manage.doctor import no_database, run_doctor
    from certshelf.manage.manager import open_manager

    try:
        with open_manager(home) as manager:
            return run_doctor(manager, only, answers, deep=deep)
    except RecordBusy:
        raise
    except RecordError as error:
        return no_database(error, only)


def _list() -> int:
    from certshelf.doctor.checks import CHECKS

    rows = [(check.id, check.question, ", ".join(check.finds)) for check in CHECKS]
    output.print_table(("ID", "QUESTION", "ALSO FINDS"), rows)
    return 0


def _watch(look: Callable[[], tuple[Finding, ...]], every_seconds: float) -> int:
    """Until interrupted; a finding is printed when it comes, when it changes and when it goes."""
    from certshelf.clock import SYSTEM

    known: tuple[Finding, ...] = ()
    with _interrupt() as told:
        while not told.is_set():
            known = _look_again(look, known)
            until = SYSTEM.monotonic() + every_seconds
            while (left := until - SYSTEM.monotonic()) > 0 and not told.wait(min(left, 0.5)):
                pass  # in pieces: on Windows an interrupt is heard between them
    raise KeyboardInterrupt


@contextmanager
def _interrupt() -> Iterator[Event]:
    """Set by the first Ctrl-C: the look under way is ended whole. A second one breaks it off."""
    told = Event()

    def tell(*_: object) -> None:
        told.set()
        signal.signal(signal.SIGINT, signal.default_int_handler)

    before = signal.signal(signal.SIGINT, tell)
    try:
        yield told
    finally:
        signal.signal(signal.SIGINT, before or signal.default_int_handler)


def _look_again(
    look: Callable[[], tuple[Finding, ...]], known: tuple[Finding, ...]
) -> tuple[Finding, ...]:
    """What is found now; what changed since `known` is printed."""
    from certshelf.clock import SYSTEM, iso
    from certshelf.doctor.watch import changes
    from certshelf.errors import CertshelfError

    try:
        now = look()
    except CertshelfError as error:
        if not known:
            raise
        now = known  # a database that is busy for a moment ends no watch
        output.say(f"{iso(SYSTEM.now())} could not look: {error}", err=True)
    for change in changes(known, now):
        if change.gone:
            output.ok(f"{iso(SYSTEM.now())} gone: {change.finding.id} {change.finding.subject}")
        else:
            output.say(iso(SYSTEM.now()), nl=False)
            output.say(" ", nl=False)
            output.print_finding(change.finding)
    return now
