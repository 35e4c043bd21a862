"""`certshelf cert preview`: what a request would do, asked of every target."""

from __future__ import annotations

from collections import Counter
from pathlib import Path
from typing import TYPE_CHECKING

import click

from certshelf.cli import output

if TYPE_CHECKING:
    from certshelf.manage.preview import CertificatePreview, Part


@click.command()
@click.argument("name")
@output.as_json
@click.pass_obj
def preview(home: Path | None, name: str, as_json: bool) -> int:
    """Show what a request of NAME would write and run, and what would be in its way.

    Shelves and tasks' targets are asked whether they can be reached and written, the CA for its
    account, and each challenge is tried. Nothing is left changed.
    """
    from certshelf.manage.manager import open_manager
    from certshelf.manage.preview import preview_certificate

    with open_manager(home) as manager:
        found = preview_certificate(manager, name)
    if as_json:
        output.print_json(_json(found))
    else:
        _print(found)
    return 0 if found.ok else 1


def _print(found: CertificatePreview) -> None:
    one = found.certificate
    what = "a new certificate is requested" if found.requests else "what is issued is deployed"
    output.say(f"{one.name}: {what} ({len(one.names)} names, mode {one.mode.value})")
    for part in (found.issuer, *found.shelves, *found.tasks):
        _print_part(part)
    if found.ok:
        output.ok("nothing is in the way")


def _print_part(part: Part) -> None:
    skipped = f" (not run: {part.skipped})" if part.skipped else ""
    counts = Counter(file.outcome for file in part.files)
    summary = ", ".join(f"{count} {outcome}" for outcome, count in counts.items())
    output.say(f"{part.name}: {part.target or '-'}{skipped}" + (f": {summary}" if summary else ""))
    for file in part.files:
        output.say(f"   {file.outcome:<9} {file.file}")
    for note in part.notes:
        output.say(f"   {note}")
    for finding in part.findings:
        output.print_finding(finding)
    if part.problem:
        output.say(f"   error: {part.problem}")
        if part.hint:
            output.say(f"   hint: {part.hint}")


def _json(found: CertificatePreview) -> dict[str, object]:
    one = found.certificate
    return {
        "name": one.name,
        "ok": found.ok,
        "requests": found.requests,
        "hosts": list(one.names),
        "mode": one.mode.value,
        "issuer": _part_json(found.issuer),
        "shelves": [_part_json(part) for part in found.shelves],
        "tasks": [_part_json(part) for part in found.tasks],
    }


def _part_json(part: Part) -> dict[str, object]:
    return {
        "name": part.name,
        "target": part.target or None,
        "ok": part.ok,
        "skipped": part.skipped or None,
        "files": [{"file": file.file, "outcome": file.outcome} for file in part.files],
        "findings": [finding.as_json() for finding in part.findings],
        "notes": list(part.notes),
        "problem": part.problem or None,
        "hint": part.hint or None,
    }
