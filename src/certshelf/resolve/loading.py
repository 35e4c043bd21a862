"""Loading one file for serving: the conditions without which nothing is served."""

from __future__ import annotations

from dataclasses import dataclass, field

from certshelf.bundle import pfx
from certshelf.bundle.check import check
from certshelf.bundle.model import Bundle
from certshelf.errors import OlderBundle, RecordInvalid, Unvouched
from certshelf.names import HostName
from certshelf.shelf.files import Read, decode
from certshelf.shelf.manifest import Record, State
from certshelf.shelf.shelf import Shelf
from certshelf.store.base import Version


@dataclass(frozen=True, slots=True, eq=False)
class Served:
    """A bundle that may be served: from which file, at which version.

    until: its not-after in seconds since the epoch. data: the PFX as it lay on the shelf.
    generation: of the signed record that vouched for it, 0 where none is demanded.
    """

    file: str
    bundle: Bundle
    version: Version
    until: float
    data: bytes = field(repr=False)
    generation: int = 0


def accept(
    shelf: Shelf,
    file: str,
    data: bytes,
    version: Version,
    last: Served | None,
    generation: int = 0,
    read: Read = pfx.decode,
) -> Served:
    """Prove that bytes of the store may be served under a file name.

    last: what is served under this name now. generation: the highest that this reader has seen of
    the name; where records are demanded, an older one is not believed. read: opens the PFX.
    Raises BundleError (they do not open, are not sound for the name, not valid now), OlderBundle
    (older than last, and no record calls it a rollback), Unvouched (records are demanded and none
    vouches for these bytes), StoreError (no record could be read).
    """
    record = _record(shelf, file) if shelf.manifest.is_signed else None
    if shelf.manifest.is_signed:
        _refuse_unvouched(file, data, record, generation)  # before a byte of it is decoded
    served = _sound(shelf, file, data, version, record.generation if record else 0, read)
    older = _is_older(served.bundle, last)
    if older and record is None:
        record = _record(shelf, file)
    if older and not (record and record.rollback and record.vouches_for(data)):
        raise OlderBundle(
            f"not serving {file}: it is older than what is served",
            hint="`certshelf shelf restore` puts an older certificate back on purpose",
        )
    return served


def accept_again(shelf: Shelf, file: str, data: bytes, read: Read = pfx.decode) -> Served:
    """Bytes that were accepted before, from this reader's own disk: sound for the name still?

    Raises BundleError. The store may be out of reach, so no record is asked for.
    """
    return _sound(shelf, file, data, Version("disk"), 0, read)


def _sound(
    shelf: Shelf, file: str, data: bytes, version: Version, generation: int, read: Read
) -> Served:
    bundle = decode(data, shelf.passwords, read)
    refusal = check(bundle, HostName.from_file_name(file), shelf.clock.now())
    if refusal is not None:
        raise refusal
    return Served(file, bundle, version, bundle.not_after.timestamp(), data, generation)


def is_retired(shelf: Shelf, file: str) -> bool:
    """Whether the manager says that it took this file off the shelf on purpose."""
    record = _record(shelf, file)
    return record is not None and record.state is State.RETIRED


def _record(shelf: Shelf, file: str) -> Record | None:
    try:
        seen = shelf.manifest.read(file)
    except RecordInvalid:
        return None
    return seen[0] if seen else None


def _refuse_unvouched(file: str, data: bytes, record: Record | None, generation: int) -> None:
    if record is None or record.state is State.RETIRED or not record.vouches_for(data):
        raise Unvouched(
            f"not serving {file}: no signed record vouches for its bytes",
            hint="somebody else wrote it; `certshelf shelf verify` says more",
        )
    if record.generation < generation:
        raise Unvouched(
            f"not serving {file}: its record is of generation {record.generation}, "
            f"generation {generation} was seen already",
            hint="somebody put an old file and its old record back",
        )


def _is_older(bundle: Bundle, last: Served | None) -> bool:
    if last is None:
        return False
    return bundle.not_before < last.bundle.not_before and bundle.not_after < last.bundle.not_after
