"""`certshelf shelf`: look at the shelf, ask it, put files on it and take them off."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING

import click

from certshelf.cli import output
from certshelf.cli.rotate import command as rotate_password
from certshelf.cli.secrets import password_file, password_stdin, read_secret

if TYPE_CHECKING:
    from collections.abc import Iterator
    from datetime import datetime

    from certshelf.bundle.model import Bundle
    from certshelf.finding import Finding
    from certshelf.names import HostName
    from certshelf.shelf.adopt import Survey
    from certshelf.shelf.files import ShelfFile
    from certshelf.shelf.publish import Result
    from certshelf.shelf.shelf import Shelf


@click.group()
def command() -> None:
    """Look at the shelf, ask it, put files on it and take them off."""


@command.command("ls")
@output.as_json
@click.pass_obj
def list_files(home: Path | None, as_json: bool) -> None:
    """List every file, grouped by expiry."""
    shelf = _open(home)
    now = shelf.clock.now()
    found = []  # texts, not files: a large shelf's keys and certificates would fill the memory
    for file in _read_all(shelf):
        row = output.json_element(file.as_json()) if as_json else _row(file, now)
        found.append((file.file, row))
    found.sort()
    if as_json:
        output.print_json_elements(text for _, text in found if isinstance(text, str))
        return
    _print_groups([row for _, row in found if not isinstance(row, str)], shelf)


@command.command()
@click.argument("host")
@output.as_json
@click.pass_obj
def resolve(home: Path | None, host: str, as_json: bool) -> int:
    """Say which file answers for HOST: the exact name, then its wildcard."""
    from certshelf.names import HostName

    name = HostName.parse(host)
    found = _open(home).find(name)
    tried = found.tried if found else tuple(c.file_name() for c in name.candidates())
    if as_json:
        file = found.file.as_json() if found else {"file": None, "host": name.ascii}
        output.print_json({**file, "tried": list(tried)})
    elif found:
        _print_file(found.file)
    else:
        output.say(f"error: no file answers for {name}: tried {', '.join(tried)}", err=True)
        output.say("hint: certshelf cert add, or shelf put, fills the shelf", err=True)
    return 0 if found and found.file.bundle else 1


@command.command()
@click.option("--full", is_flag=True, help="Read every file, also those unchanged since last time.")
@output.as_json
@click.pass_obj
def verify(home: Path | None, full: bool, as_json: bool) -> int:
    """Check every file and record; exit status 1 when anything is wrong."""
    from certshelf.finding import Severity
    from certshelf.manage.shelves import open_settings, open_shelf_of
    from certshelf.manage.verifying import verify_shelf

    where, settings = open_settings(home)
    shelf = open_shelf_of(where, settings)
    findings: list[Finding] = []
    with output.progress("verifying") as step:
        findings.extend(verify_shelf(where, shelf, full=full, progress=step))
    wrong = [f for f in findings if f.severity in (Severity.WARNING, Severity.ERROR)]
    if as_json:
        output.print_json([finding.as_json() for finding in findings])
        return 1 if wrong else 0
    for finding in findings:
        output.print_finding(finding)
    if not wrong:
        output.ok(f"nothing is wrong with {shelf.store.url}")
    return 1 if wrong else 0


@command.command()
@click.argument("file", type=click.Path(path_type=Path))
@password_file
@password_stdin
@click.option("--adopt", is_flag=True, help="Overwrite files that certshelf did not write.")
@click.option("--dry-run", is_flag=True, help="Say what would be written and what refused.")
@output.as_json
@click.pass_obj
def put(
    home: Path | None,
    file: Path,
    password_file: Path | None,
    password_stdin: bool,
    adopt: bool,
    dry_run: bool,
    as_json: bool,
) -> int:
    """Publish the bundle in FILE (PFX or PEM) under each of its names."""
    shelf = _open(home)
    bundle = _read_bundle(file, password_file, password_stdin)
    publication = shelf.publish(bundle, adopt=adopt, dry_run=dry_run)
    if as_json:
        output.print_json([result_json(result) for result in publication.results])
    else:
        for result in publication.results:
            print_result(result, dry_run=dry_run)
    return 0 if publication.ok else 1


@command.command()
@click.argument("host")
@click.argument("file", type=click.Path(path_type=Path))
@click.option(
    "--format", "form", type=click.Choice(["pfx", "pem"]), help="Default: by FILE's suffix."
)
@click.pass_obj
def get(home: Path | None, host: str, file: Path, form: str | None) -> None:
    """Write the bundle that answers for HOST to FILE (mode 0600; never over an existing file).

    PFX is encrypted with the shelf's password, PEM holds the key in clear.
    """
    from certshelf.errors import BundleError
    from certshelf.names import HostName

    shelf = _open(home)
    name = HostName.parse(host)
    found = shelf.find(name)
    if found is None or found.file.bundle is None:
        raise BundleError(
            f"cannot get {name}: no readable file answers for it",
            hint=f"certshelf shelf resolve {name}",
        )
    as_pem = form == "pem" or (form is None and file.suffix.lower() != ".pfx")
    bundle = found.file.bundle
    data = bundle.to_pem() if as_pem else bundle.to_pfx(shelf.passwords[0], shelf.profile)
    _write_new(file, data)
    output.ok(f"{found.file.file} -> {file}")


@command.command()
@click.argument("host")
@click.option("--dry-run", is_flag=True, help="Say what would be removed.")
@click.pass_obj
def retire(home: Path | None, host: str, dry_run: bool) -> None:
    """Take HOST's files off the shelf; files of others are never removed."""
    from certshelf.names import HostName

    name = HostName.parse(host)
    shelf = _open(home)
    files = shelf.retirable(name) if dry_run else shelf.retire(name)
    for file in files:
        if dry_run:
            output.say(f"would remove {file}")
        else:
            output.ok(f"{file} removed")
    if not files:
        output.say(f"nothing to remove for {name}")


@command.command()
@click.argument("host")
@output.as_json
@click.pass_obj
def history(home: Path | None, host: str, as_json: bool) -> None:
    """List the earlier versions of HOST's files that are kept."""
    from certshelf.clock import iso
    from certshelf.names import HostName

    past = _open(home).past(HostName.parse(host))
    rows = [
        {
            "version": one.version,
            "file": one.file,
            "replaced_at": iso(one.replaced_at),
            "is_original": one.is_original,
        }
        for one in past
    ]
    if as_json:
        output.print_json(rows)
        return
    cells = [(r["version"], r["file"], r["replaced_at"]) for r in rows]
    output.print_table(("VERSION", "FILE", "REPLACED"), cells)


@command.command()
@click.argument("host")
@click.argument("version", required=False)
@click.option("--dry-run", is_flag=True, help="Say what would be written and what refused.")
@click.pass_obj
def restore(home: Path | None, host: str, version: str | None, dry_run: bool) -> int:
    """Put an earlier version of HOST's files back (the newest kept, or VERSION of the history)."""
    from certshelf.names import HostName

    publication = _open(home).restore(HostName.parse(host), version, dry_run=dry_run)
    for result in publication.results:
        print_result(result, dry_run=dry_run)
    return 0 if publication.ok else 1


@command.command()
@click.argument("host", required=False)
@click.option("--undo", is_flag=True, help="Put the original file back and let go of the name.")
@click.option("--dry-run", is_flag=True, help="With HOST: say what would be done.")
@output.as_json
@click.pass_obj
def adopt(home: Path | None, host: str | None, undo: bool, dry_run: bool, as_json: bool) -> None:
    """Look at a folder that others filled, and change nothing; with HOST take that name over.

    A file that is taken over is not touched until its certificate is renewed.
    """
    from certshelf.names import HostName
    from certshelf.shelf.adopt import survey

    shelf = _open(home)
    if host is not None:
        name = HostName.parse(host)
        act = shelf.give_back if undo else shelf.adopt
        for file in act(name, dry_run=dry_run):
            done = "given back" if undo else "taken over"
            if dry_run:
                output.say(f"would be {done}: {file}")
            else:
                output.ok(f"{file} {done}")
        return
    if undo:
        raise click.UsageError("--undo needs the HOST to give back")
    problems: list[str] = []
    listing: list[str] = []
    too_new: list[str] = []
    hosts: dict[str, HostName | None] = {}

    def read() -> Iterator[ShelfFile]:
        for file in _read_all(shelf):
            if as_json:
                listing.append(output.json_element(file.as_json()))
            problems.extend(f"{file.file}: {problem}" for problem in file.problems)
            hosts[file.file] = file.host
            too_new.extend([file.file] if file.is_too_new else [])
            yield file

    counts = survey(read(), shelf.owner)
    between = list(shelf.among(hosts))
    if as_json:
        found = {"listing": list(map(json.loads, listing)), "among": [f.as_json() for f in between]}
        output.print_json({**_survey_json(counts), **found})
        return
    problems += [f"{finding.subject}: {finding.id}: {finding.what}" for finding in between]
    for line in problems:
        output.say(output.clean(line))
    if too_new:
        more = f" and {len(too_new) - 10} more (--json has all)" if len(too_new) > 10 else ""
        output.say(output.clean(f"too new for Windows 2016: {', '.join(too_new[:10])}{more}"))
    for key, value in _survey_json(counts).items():
        output.say(f"{key:<10} {value}")
    output.say("\nnothing was changed; certshelf shelf adopt HOST takes one name over")


@command.command()
@click.option("--dry-run", is_flag=True, help="Say what would be written.")
@click.pass_obj
def rewrite(home: Path | None, dry_run: bool) -> int:
    """Encrypt our files anew with today's password and profile, without renewing any."""
    from certshelf.shelf.rewrite import Skipped, rewrite

    shelf = _open(home)
    failed = 0
    with output.progress("rewriting") as step:
        for outcome in rewrite(shelf, shelf, dry_run=dry_run, progress=step):
            if isinstance(outcome, Skipped):
                output.say(f"left {outcome.file}: {outcome.why}")
                continue
            print_result(outcome, dry_run=dry_run)
            failed += not outcome.ok
    return 1 if failed else 0


def _survey_json(counts: Survey) -> dict[str, object]:
    from dataclasses import asdict

    return asdict(counts)


@command.command("manifest-key")
@click.pass_obj
def manifest_key(home: Path | None) -> None:
    """Print the public key of the signed records, for readers' --manifest-key."""
    from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

    from certshelf.errors import CredentialError

    key = _open(home).manifest.public_key
    if key is None:
        raise CredentialError(
            "the shelf's records are not signed", hint="certshelf init makes the manifest key"
        )
    pem = key.public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo)
    output.say(pem.decode(), nl=False)


command.add_command(rotate_password)


def print_result(result: Result, *, dry_run: bool = False) -> None:
    """One file of a publication."""
    if result.ok and dry_run:
        output.say(f"would be {result.outcome.value}: {result.file}")
    elif result.ok:
        output.ok(f"{result.file} {result.outcome.value}")
    else:
        output.bad(f"{result.file} {result.outcome.value}", result.error)


def result_json(result: Result) -> dict[str, object]:
    """One file of a publication, for programs."""
    return {
        "host": result.host.ascii,
        "file": result.file,
        "outcome": result.outcome.value,
        "ok": result.ok,
        "error": str(result.error) if result.error else None,
        "old_thumbprint": result.old_thumbprint or None,
    }


def _read_all(shelf: Shelf) -> Iterator[ShelfFile]:
    """The inventory, with a progress bar that knows how much there is."""
    files = shelf.files()
    with output.progress("reading the shelf", len(files)) as step:
        for file in shelf.inventory(files):
            yield file
            step()


def _open(home: Path | None) -> Shelf:
    from certshelf.opening import open_shelf

    return open_shelf(home=home)


def _read_bundle(file: Path, password_file: Path | None, password_stdin: bool) -> Bundle:
    from certshelf.bundle.guarded import decode_guarded
    from certshelf.bundle.model import Bundle
    from certshelf.errors import BundleError
    from certshelf.store.base import MAX_BYTES

    try:
        with file.open("rb") as stream:
            data = stream.read(MAX_BYTES + 1)
    except OSError as error:
        raise BundleError(f"cannot read {file}: {error.strerror}") from error
    is_pem = data.lstrip().startswith(b"-----BEGIN")
    secret = None
    if not is_pem or b"ENCRYPTED" in data or password_file or password_stdin:
        secret = read_secret(password_file, password_stdin, f"Password of {file.name}")
    try:
        return Bundle.from_pem(data, secret) if is_pem else decode_guarded(data, secret)
    except BundleError as error:
        raise type(error)(f"cannot use {file}: {error}", hint=error.hint) from error


def _write_new(file: Path, data: bytes) -> None:
    import os

    from certshelf.errors import StoreDenied

    try:
        descriptor = os.open(file, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
        with os.fdopen(descriptor, "wb") as stream:
            stream.write(data)
    except OSError as error:
        raise StoreDenied(f"cannot write {file}: {error.strerror}") from error


Row = tuple[str, str, str, str, str, str]


def _row(file: ShelfFile, now: datetime) -> Row:
    """Its group by expiry, and the cells of its line."""
    from certshelf.clock import iso
    from certshelf.shelf.inventory import expiry_group

    problems = "; ".join(file.problems) or "-"
    if file.bundle is None:
        return "unreadable", file.file, "-", "-", "-", problems
    until = file.bundle.not_after
    thumbprint, key = file.bundle.thumbprint, file.bundle.key_type
    return expiry_group(until, now).value, file.file, iso(until), thumbprint, key, problems


def _print_groups(rows: list[Row], shelf: Shelf) -> None:
    from certshelf.shelf.inventory import Expiry

    groups: dict[str, list[tuple[str, ...]]] = {}
    for group, *cells in rows:
        groups.setdefault(group, []).append(tuple(cells))
    for group in ["unreadable", *(expiry.value for expiry in Expiry)]:
        if group in groups:
            click.secho(f"\n{group} ({len(groups[group])})", bold=True)
            headers = ("FILE", "UNTIL", "THUMBPRINT", "KEY", "PROBLEMS")
            output.print_table(headers, groups[group])
    if not rows:
        output.say(f"nothing lies on {shelf.store.url} yet")


def _print_file(file: ShelfFile) -> None:
    for key, value in file.as_json().items():
        shown = ", ".join(map(str, value)) if isinstance(value, list) else value
        output.say(f"{key:<18} {shown if shown not in (None, '') else '-'}")
