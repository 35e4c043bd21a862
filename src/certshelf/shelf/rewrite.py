"""Rewrite: the same certificates under another password or profile, without renewing any."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass

from certshelf.errors import CertshelfError
from certshelf.names import SUFFIX, HostName
from certshelf.shelf.files import decode
from certshelf.shelf.inventory import pfx_entries
from certshelf.shelf.manifest import State
from certshelf.shelf.publish import Result
from certshelf.shelf.shelf import Shelf


@dataclass(frozen=True, slots=True)
class Skipped:
    """A file that was left as it is, and why."""

    file: str
    why: str


def rewrite(
    source: Shelf,
    target: Shelf,
    *,
    foreign: bool = False,
    dry_run: bool = False,
    progress: Callable[[], None] = lambda: None,
) -> Iterator[Result | Skipped]:
    """Publish every readable file of source on target, as target encrypts.

    source and target may be one shelf whose password or profile was changed. Files that somebody
    else wrote are left alone unless foreign. dry_run: write nothing. Safe to
    repeat: what is done is "unchanged".
    """
    for entry in pfx_entries(source.store):
        outcome = _rewrite_file(source, target, entry.key, foreign, dry_run)
        progress()
        if outcome is not None:
            yield outcome


def _rewrite_file(
    source: Shelf, target: Shelf, file: str, foreign: bool, dry_run: bool
) -> Result | Skipped | None:
    try:
        blob = source.store.get(file)
        if blob is None:
            return None
        record = source.manifest.read(file) if file.endswith(SUFFIX) else None
        is_ours = record is not None and record[0].owner == source.owner
        if not foreign and not (is_ours and record and record[0].state is State.PUBLISHED):
            return Skipped(file, "somebody else wrote it")
        host = HostName.from_file_name(file)
        bundle = decode(blob.data, source.passwords)
        results = target.publish(
            bundle, [host], adopt=foreign, older=True, files=[file], dry_run=dry_run
        ).results
    except CertshelfError as error:
        return Skipped(file, str(error))
    return results[0]
