"""Inventory: every file of a shelf, and the groups in which IIS Manager shows them."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Set
from datetime import datetime, timedelta
from enum import StrEnum

from certshelf.bundle import pfx
from certshelf.errors import RecordInvalid, StoreError
from certshelf.finding import Finding, Severity
from certshelf.names import SUFFIX, HostName
from certshelf.shelf.files import Passwords, Read, ShelfFile, examine, unread
from certshelf.shelf.manifest import RECORDS, Manifest, Record, State, file_of_record
from certshelf.shelf.verified import Checked, Verified
from certshelf.store.base import Entry, LeavesOut, Store


class Expiry(StrEnum):
    """When a certificate ends, in the words of IIS Manager's "Group by: Expiration Date"."""

    EXPIRED = "expired"
    TOMORROW = "tomorrow"
    THIS_WEEK = "this week"
    NEXT_WEEK = "next week"
    NEXT_MONTH = "next month"
    LATER = "later"


def expiry_group(not_after: datetime, now: datetime) -> Expiry:
    """The group of a certificate; both moments aware UTC, weeks begin on Monday.

    TOMORROW is everything until tomorrow's end, NEXT_MONTH everything until next month's end.
    """
    if not_after <= now:
        return Expiry.EXPIRED
    day, today = not_after.date(), now.date()
    week_end = today + timedelta(days=6 - today.weekday())
    month_after_next = (today.replace(day=1) + timedelta(days=64)).replace(day=1)
    if day <= today + timedelta(days=1):
        return Expiry.TOMORROW
    if day <= week_end:
        return Expiry.THIS_WEEK
    if day <= week_end + timedelta(days=7):
        return Expiry.NEXT_WEEK
    return Expiry.NEXT_MONTH if day < month_after_next else Expiry.LATER


def pfx_entries(store: Store) -> Iterator[Entry]:
    """The `*.pfx` files of the top folder, as IIS sees them: the suffix in any case."""
    return (entry for entry in store.list() if entry.key.lower().endswith(SUFFIX))


def look_at(
    store: Store,
    manifest: Manifest,
    file: str,
    passwords: Passwords,
    now: datetime,
    read: Read = pfx.decode,
) -> ShelfFile | None:
    """Everything about one file; None when it is not there. read: opens it with one password."""
    try:
        blob = store.get(file)
        record = _record(manifest, file)
    except StoreError as error:
        if error.retryable:
            raise
        return unread(file, error)
    return None if blob is None else examine(file, blob.data, record, passwords, now, read)


def verify(
    store: Store,
    manifest: Manifest,
    passwords: Passwords,
    now: datetime,
    verified: Verified | None = None,
    progress: Callable[[int], None] = lambda total: None,
) -> Iterator[Finding]:
    """Everything that is wrong with a shelf: of each file, among files, and of records.

    verified: what was found before; files that it knows at their present version are not read.
    progress: called before each file, with the number of all.
    """
    verified = verified if verified is not None else Verified()
    records = {file_of_record(entry.key): entry.version for entry in store.list(RECORDS)}
    present: dict[str, str] = {}
    entries = [(entry.key, entry.version) for entry in pfx_entries(store)]
    for file, version in entries:
        progress(len(entries))
        checked = verified.find(file, version, records.get(file), now)
        if checked is None:
            found = look_at(store, manifest, file, passwords, now)
            if found is None:
                continue
            verified.keep(found, version, records.get(file), now)
            checked = Checked(found.host.ascii if found.host else "", 0.0, found.findings)
        present[file] = checked.host
        yield from checked.findings
    verified.forget_all_but(present.keys())
    yield from _left_out(store)
    yield from _among(manifest, present, records.keys())


def among(
    store: Store, manifest: Manifest, present: Mapping[str, HostName | None]
) -> Iterator[Finding]:
    """What is wrong among files, with what is no file, or with records that have none.

    present: every file's host.
    """
    records = {file_of_record(entry.key) for entry in store.list(RECORDS)}
    texts = {file: host.ascii if host else "" for file, host in present.items()}
    yield from _left_out(store)
    yield from _among(manifest, texts, records)


def _among(manifest: Manifest, present: Mapping[str, str], records: Set[str]) -> Iterator[Finding]:
    hosts: dict[str, list[str]] = {}
    for file, host in present.items():
        if host:
            hosts.setdefault(host, []).append(file)
    yield from _twins(hosts)
    yield from _vanished(manifest, records - present.keys())


def _left_out(store: Store) -> Iterator[Finding]:
    """Files that look like a shelf's and that no store gives out: links, folders, bad names."""
    for name in store.left_out() if isinstance(store, LeavesOut) else ():
        if not name.lower().endswith(SUFFIX):
            continue
        shown = name.encode("utf-8", "replace").decode()
        yield Finding(
            id="file-left-out",
            severity=Severity.WARNING,
            subject=shown,
            what=f"{shown} is a link, a folder or a name that no shelf accepts, and is not read",
            why="a server that follows it serves what certshelf cannot check",
            do="move it away, or put the file itself there under its host's name",
        )


def _record(manifest: Manifest, file: str) -> Record | RecordInvalid | None:
    if file != file.lower() or not file.endswith(SUFFIX):
        return None  # certshelf writes lower case only; a share finds the other one's record
    try:
        seen = manifest.read(file)
    except RecordInvalid as error:
        return error
    return seen[0] if seen else None


def _twins(hosts: dict[str, list[str]]) -> Iterator[Finding]:
    """Files that stand for one host, but for the A-label and U-label pair that publish writes."""
    for name, files in hosts.items():
        if len(files) < 2:
            continue
        host = HostName.parse(name)
        extra = sorted(set(files) - set(host.file_names()))
        if extra:
            yield Finding(
                id="file-twins",
                severity=Severity.ERROR,
                subject=extra[0],
                what=f"{' and '.join(sorted(files))} stand for one host, {host.unicode}",
                why="Windows takes them for one file, other servers read only the lower-case one",
                do=f"remove {extra[0]}",
            )


def _vanished(manifest: Manifest, files: Set[str]) -> Iterator[Finding]:
    for file in sorted(files):
        record = _record(manifest, file)
        if isinstance(record, Record) and record.state is State.PUBLISHED:
            yield Finding(
                id="file-vanished",
                severity=Severity.ERROR,
                subject=file,
                what=f"{file} is gone, and {record.owner} did not retire it",
                why="servers go on with what they have in memory, and fail after a restart",
                do="certshelf cert request publishes it again",
            )
