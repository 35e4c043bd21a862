"""How every command prints: tables and findings, JSON for programs, progress on stderr."""

from __future__ import annotations

import json
import os
import sys
import textwrap
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING

import click

from certshelf.printable import escaped_json, lines, one_line

if TYPE_CHECKING:
    from certshelf.errors import CertshelfError
    from certshelf.finding import Finding

as_json = click.option("--json", "as_json", is_flag=True, help="Print JSON for programs.")


def print_json(value: object) -> None:
    """One JSON document on stdout, with names in the letters that people read."""
    say(json_text(value, indent=2))


def json_text(value: object, indent: int | None = None) -> str:
    """A JSON document for people and programs, safe to show on a terminal."""
    return escaped_json(json.dumps(value, ensure_ascii=False, indent=indent))


def say(text: str, *, nl: bool = True, err: bool = False) -> None:
    """Print text of one or more lines; whatever else a terminal would obey is replaced."""
    click.echo(lines(text), nl=nl, err=err)


def json_element(value: object) -> str:
    """One element of a list, for print_json_elements()."""
    return textwrap.indent(json_text(value, indent=2), "  ")


def print_json_elements(elements: Iterable[str]) -> None:
    """A list as print_json() prints it, of elements that are texts already: a long one is small."""
    mark = "[\n"
    for element in elements:
        say(mark + element, nl=False)
        mark = ",\n"
    say("[]" if mark == "[\n" else "\n]")


def print_json_rows(rows: Iterable[Mapping[str, object]]) -> None:
    """A list of objects as JSON, each in a line of its own: thousands are quick, and searchable."""
    encode = json.JSONEncoder(ensure_ascii=False).encode
    text = escaped_json(",\n".join(map(encode, rows)))
    print_json_elements([text] if text else [])


def print_table(headers: Sequence[str], rows: Iterable[Sequence[object]]) -> None:
    """Aligned columns, no borders, so that the output can be searched, cut and pasted."""
    texts = [[clean(cell) for cell in row] for row in rows]
    widths = [max(map(len, column)) for column in zip(headers, *texts, strict=True)]
    click.secho(_line(headers, widths), bold=True)
    if texts:  # cells are clean already; one write for all lines
        say("\n".join(_line(row, widths) for row in texts))


def print_finding(finding: Finding) -> None:
    """One line for the fact, and one for what to do about it."""
    colours = {"ok": "green", "info": "cyan", "warning": "yellow", "error": "red"}
    click.secho(finding.severity.value, fg=colours[finding.severity.value], nl=False)
    about = "" if finding.subject in finding.what else f"{finding.subject}: "
    say(f" {finding.id}: {clean(about + finding.what)}")
    if finding.do:
        say(f"      do: {clean(finding.do)}")


def ok(text: str) -> None:
    """One thing that was done."""
    click.secho("ok", fg="green", nl=False)
    say(f" {clean(text)}")


def bad(text: str, error: CertshelfError | None = None) -> None:
    """One thing that was not done and why, on stderr in the form of every error."""
    why = f": {error}" if error else ""
    click.secho("error", fg="red", nl=False, err=True)
    say(f": {clean(text + why)}", err=True)
    if error and error.hint:
        say(f"hint: {clean(error.hint)}", err=True)


@contextmanager
def progress(what: str, total: int | None = None) -> Iterator[Callable[..., None]]:
    """A progress bar on stderr for long work, silent unless stderr is a terminal.

    Yields the function to call after each step; it takes the total where that shows only later.
    """
    if not sys.stderr.isatty() or os.environ.get("TERM") == "dumb":
        yield lambda total=None: None
        return
    from rich.console import Console
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn
    from rich.progress import TimeElapsedColumn as Elapsed

    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), Elapsed())
    with Progress(*columns, console=Console(stderr=True), transient=True) as bar:
        task = bar.add_task(what, total=total)
        yield lambda total=total: bar.update(task, advance=1, total=total)


def clean(cell: object) -> str:
    """A cell without control characters: names and errors may come from hostile files."""
    return "" if cell is None else one_line(cell)


def _line(cells: Sequence[str], widths: Sequence[int]) -> str:
    padded = (cell.ljust(width) for cell, width in zip(cells, widths, strict=True))
    return "  ".join(padded).rstrip()
