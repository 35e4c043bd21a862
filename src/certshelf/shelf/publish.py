"""Publish: put a bundle on a shelf under each of its names, and say the truth about each.

One file is one small transaction: look, decide, write the record (it vouches for the new and the
old bytes), put the PFX (which reads it back), narrow the record. Each step can be repeated.
"""

from __future__ import annotations

from collections.abc import Callable, Container, Iterable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field, replace
from datetime import datetime
from enum import StrEnum

from certshelf.bundle import pfx
from certshelf.bundle.check import check
from certshelf.bundle.model import Bundle
from certshelf.clock import iso
from certshelf.errors import (
    BundleError,
    CertshelfError,
    ForeignFile,
    OlderBundle,
    PfxUnreadable,
)
from certshelf.names import HostName
from certshelf.shelf.files import Passwords, Read, decode
from certshelf.shelf.history import History
from certshelf.shelf.manifest import Manifest, Record, State, record_for, sha256
from certshelf.shelf.once import PfxReader
from certshelf.store.base import ABSENT, Blob, Store

REMOTE_WRITERS = 8
"""Files written at once on a store that is not local, where each waits for the network."""


class Outcome(StrEnum):
    """What became of one file."""

    NEW = "new"
    REPLACED = "replaced"
    UNCHANGED = "unchanged"
    REFUSED = "refused"
    FAILED = "failed"


@dataclass(frozen=True, slots=True)
class Result:
    """One file of a publication. error is None exactly when the file now serves the bundle.

    where: the store that the file lies on.
    """

    host: HostName
    file: str
    outcome: Outcome
    error: CertshelfError | None = None
    old_thumbprint: str = ""
    where: str = ""

    @property
    def ok(self) -> bool:
        """Whether the file was read back as written, or already was what it should be."""
        return self.error is None


@dataclass(frozen=True, slots=True)
class Publication:
    """What publish() did: green only when every file is."""

    bundle: Bundle
    results: tuple[Result, ...]

    @property
    def ok(self) -> bool:
        """Whether every file serves the bundle now."""
        return bool(self.results) and all(result.ok for result in self.results)


@dataclass(frozen=True, slots=True)
class Order:
    """What to write and under which rules. adopt: take over files of others. older: let an older
    certificate replace a newer one, as a signed rollback. read: opens what lies there.
    dry_run: decide, and write nothing."""

    bundle: Bundle
    data: bytes
    owner: str
    passwords: Passwords
    now: datetime
    adopt: bool = False
    older: bool = False
    read: Read = field(default_factory=PfxReader)
    dry_run: bool = False


def publish(
    store: Store,
    manifest: Manifest,
    order: Order,
    hosts: Iterable[HostName],
    history: History | None = None,
    progress: Callable[[Result], None] = lambda result: None,
    files: Container[str] | None = None,
) -> Publication:
    """Write every file of every host; one failure does not stop the others.

    history: keeps what is replaced. progress: called after each file. files: only these of the
    hosts' files.
    """
    every = [(host, file) for host in hosts for file in host.file_names()]
    jobs = [job for job in every if files is None or job[1] in files]

    def run(job: tuple[HostName, str]) -> Result:
        result = replace(_publish_file(store, manifest, order, *job, history), where=store.url)
        progress(result)
        return result

    if store.is_local or len(jobs) == 1:
        return Publication(order.bundle, tuple(map(run, jobs)))
    with ThreadPoolExecutor(REMOTE_WRITERS, thread_name_prefix="certshelf-publish") as pool:
        return Publication(order.bundle, tuple(pool.map(run, jobs)))


def _publish_file(
    store: Store,
    manifest: Manifest,
    order: Order,
    host: HostName,
    file: str,
    history: History | None,
) -> Result:
    refusal = check(order.bundle, host, order.now)
    if refusal is not None:
        return Result(host, file, Outcome.REFUSED, refusal)
    try:
        return _write(store, manifest, order, host, file, history)
    except (ForeignFile, OlderBundle) as error:
        return Result(host, file, Outcome.REFUSED, error)
    except CertshelfError as error:
        return Result(host, file, Outcome.FAILED, error)


def _write(
    store: Store,
    manifest: Manifest,
    order: Order,
    host: HostName,
    file: str,
    history: History | None,
) -> Result:
    seen = manifest.read(file)
    record, record_version = seen or (None, None)
    current = store.get(file)
    there = _decode(current, order)
    old_thumbprint = there.thumbprint if there else ""
    if current and _is_unchanged(record, current.data, there, order):
        return Result(host, file, Outcome.UNCHANGED, old_thumbprint=old_thumbprint)
    refuse_foreign(file, record, current, order.owner, adopt=order.adopt)
    newer = _newer(order.bundle, there, record)
    if newer and not order.older:
        raise _older(file, order.bundle, newer)
    outcome = Outcome.REPLACED if current else Outcome.NEW
    if order.dry_run:
        return Result(host, file, outcome, old_thumbprint=old_thumbprint)
    if current and history:
        history.add(file, current.data)
        if record is None:
            history.add_original(file, current.data)
    pending = record_for(
        file,
        order.data,
        order.bundle,
        owner=order.owner,
        generation=record.generation + 1 if record else 1,
        previous=sha256(current.data) if current else "",
        now=order.now,
    )
    pending = replace(pending, rollback=newer is not None)
    record_version = manifest.write(pending, record_version)
    store.put(file, order.data, current.version if current else ABSENT)
    if pending.previous_sha256:  # a new file's record vouches for nothing else already
        manifest.write(pending.narrowed(), record_version)
    return Result(host, file, outcome, old_thumbprint=old_thumbprint)


def refuse_foreign(
    file: str, record: Record | None, current: Blob | None, owner: str, *, adopt: bool
) -> None:
    """Raise ForeignFile unless what lies there is ours, is no PFX at all, or is to be adopted.

    Ours: our record vouches for its bytes. Damage to a file of ours is repaired; a readable PFX
    that somebody put in its place is kept, since it may hold the only copy of a key.
    """
    if adopt or (current is None and (record is None or record.owner == owner)):
        return
    hint = "look at it with `certshelf shelf ls`; --adopt takes it over"
    is_ours = record is not None and current is not None and record.vouches_for(current.data)
    if record is None or (record.state is State.RETIRED and not is_ours):
        raise ForeignFile(f"cannot overwrite {file}: certshelf did not write it", hint=hint)
    if record.owner != owner:
        raise ForeignFile(f"cannot overwrite {file}: {record.owner} wrote it", hint=hint)
    if current and not is_ours and _is_pfx(current.data):
        raise ForeignFile(f"cannot overwrite {file}: somebody changed it", hint=hint)


def _is_pfx(data: bytes) -> bool:
    try:
        pfx.profile_of(data)
    except PfxUnreadable:
        return False
    except BundleError:
        return True
    return True


def _decode(current: Blob | None, order: Order) -> Bundle | None:
    if current is None:
        return None
    try:
        return decode(current.data, order.passwords, order.read)
    except BundleError:
        return None


def _is_unchanged(record: Record | None, data: bytes, there: Bundle | None, order: Order) -> bool:
    """Whether the file is what this order would make: same leaf and chain, profile, password."""
    if record is None or record.owner != order.owner or record.sha256 != sha256(data):
        return False
    if record.previous_sha256 or record.state is not State.PUBLISHED:
        return False
    if there is None or there != order.bundle or there.chain != order.bundle.chain:
        return False
    if pfx.profile_of(data) != pfx.profile_of(order.data):
        return False
    try:
        decode(data, order.passwords[:1], order.read)
    except BundleError:
        return False
    return True


def _newer(bundle: Bundle, there: Bundle | None, record: Record | None) -> Bundle | Record | None:
    """What is newer than the bundle: the one that lies there, or the last one of our record.

    Newer in both ends: CAs backdate and shorten, so one end alone says nothing.
    """
    for other in (there, record):
        if other and bundle.not_before < other.not_before and bundle.not_after < other.not_after:
            return other
    return None


def _older(file: str, bundle: Bundle, newer: Bundle | Record) -> OlderBundle:
    return OlderBundle(
        f"cannot publish {file}: what lies there is newer (until {iso(newer.not_after)}, "
        f"this one until {iso(bundle.not_after)})",
        hint="certshelf shelf restore puts an older certificate back on purpose",
    )
