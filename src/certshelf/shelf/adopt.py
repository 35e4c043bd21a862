"""Adopt: take over a file that others wrote, one name at a time, and give it back when asked.

Taking over writes a record and keeps the original; the PFX itself is not touched, so no server
notices. From then on certshelf may renew the name.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass, field, replace
from datetime import datetime

from certshelf.clock import Clock
from certshelf.errors import ForeignFile, ShelfError
from certshelf.finding import Severity
from certshelf.shelf.files import Passwords, ShelfFile, decode
from certshelf.shelf.history import History
from certshelf.shelf.manifest import Manifest, State, record_for
from certshelf.store.base import ABSENT, Store


@dataclass(frozen=True, slots=True)
class Survey:
    """What lies in a folder that others filled: counts for a first look.

    problems: finding id -> how many files. too_new: files that Windows Server 2016 and older
    refuse as a wrong password.
    """

    files: int
    readable: int
    ours: int
    too_new: int
    keys: dict[str, int] = field(default_factory=dict)
    problems: dict[str, int] = field(default_factory=dict)


def survey(files: Iterable[ShelfFile], owner: str) -> Survey:
    """Count what an inventory shows; reads nothing itself."""
    total = readable = ours = too_new = 0
    keys: Counter[str] = Counter()
    problems: Counter[str] = Counter()
    for file in files:
        total += 1
        readable += file.bundle is not None
        ours += file.owner == owner
        too_new += file.is_too_new
        if file.bundle:
            keys[file.bundle.key_type] += 1
        bad = {f.id for f in file.findings if f.severity in (Severity.WARNING, Severity.ERROR)}
        problems.update(bad)
    return Survey(total, readable, ours, too_new, dict(keys), dict(problems))


def take_over(
    store: Store,
    manifest: Manifest,
    history: History,
    file: str,
    *,
    owner: str,
    passwords: Passwords,
    clock: Clock,
    dry_run: bool = False,
) -> bool:
    """Write our record for what lies there; False when it is ours already. Safe to repeat.

    dry_run: find out, and write nothing. Raises BundleError when it cannot be read, ForeignFile
    when another manager's record is there, ShelfError when there is no such file.
    """
    current = store.get(file)
    if current is None:
        raise ShelfError(f"cannot take over {file}: it is not on the shelf")
    seen = manifest.read(file)
    if seen is not None and seen[0].state is State.PUBLISHED:
        if seen[0].owner != owner:
            raise ForeignFile(f"cannot take over {file}: {seen[0].owner} wrote it")
        if seen[0].vouches_for(current.data):
            return False
    bundle = decode(current.data, passwords)
    if dry_run:
        return True
    history.add_original(file, current.data)
    record = record_for(
        file,
        current.data,
        bundle,
        owner=owner,
        generation=seen[0].generation + 1 if seen else 1,
        previous="",
        now=clock.now(),
    )
    manifest.write(record, seen[1] if seen else None)
    return True


def give_back(
    store: Store,
    manifest: Manifest,
    history: History,
    file: str,
    *,
    owner: str,
    now: datetime,
    dry_run: bool = False,
) -> bool:
    """Put the original back if we replaced it, and forget the name; False when it is not ours.

    dry_run: find out, and write nothing. Raises ShelfError when the original was not kept. Safe to
    repeat.
    """
    seen = manifest.read(file)
    if seen is None or seen[0].owner != owner or seen[0].state is State.RETIRED:
        return False
    original = history.original(file)
    if original is None:
        raise ShelfError(
            f"cannot give back {file}: certshelf did not take it over, it made it",
            hint=f"certshelf shelf retire {file[:-4]} removes it",
        )
    current = store.get(file)
    if dry_run:
        return True
    if current is None or current.data != original:
        if current is not None:
            history.add(file, current.data)
        store.put(file, original, current.version if current else ABSENT)
    gone = replace(
        seen[0],
        generation=seen[0].generation + 1,
        sha256="",
        previous_sha256="",
        state=State.RETIRED,
        written_at=now,
        signature="",
    )
    manifest.write(gone, seen[1])  # generations never begin anew: readers remember them
    history.forget_original(file)
    return True
