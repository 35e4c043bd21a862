"""What a store is: bytes under names, with versions. It knows no certificates.

A key is a file of the top folder (`www.example.com.pfx`) or of the hidden part
(`.certshelf/records/www.example.com.pfx.json`). Every call ends before the store's deadline
(10 seconds unless told otherwise), in a result or in one of the ten StoreError kinds.
The contract below is tested on every store by tests/contract/.
"""

from __future__ import annotations

import unicodedata
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import datetime
from enum import Enum
from threading import Event
from typing import NewType, Protocol, runtime_checkable

from certshelf.errors import StoreInvalidName

MAX_BYTES = 1024 * 1024
"""No file of a shelf is larger; a larger one is refused before it is read."""
DEADLINE_SECONDS = 10.0
HIDDEN = ".certshelf"
"""The shelf's own folder: IIS reads only `*.pfx` of the top folder."""
MAX_DEPTH = 4

Version = NewType("Version", str)
"""Opaque: equal as long as the file has not been written again."""


class Expect(Enum):
    """What a put may find, when it is no particular version."""

    ABSENT = "absent"
    ANY = "any"


ABSENT = Expect.ABSENT
ANY = Expect.ANY


@dataclass(frozen=True, slots=True)
class Blob:
    """A whole file as it was read, and the version that it had."""

    data: bytes
    version: Version

    def __repr__(self) -> str:  # the bytes may hold a key
        return f"Blob({len(self.data)} bytes, {self.version!r})"


@dataclass(frozen=True, slots=True)
class Entry:
    """One file of a listing. size in bytes; modified aware UTC, by the store's own clock."""

    key: str
    size: int
    version: Version
    modified: datetime


class Store(Protocol):
    """Where a shelf lies. Safe to use from several threads at once."""

    @property
    def url(self) -> str:
        """Where it is, as the user wrote it; never with a password."""
        ...

    @property
    def is_local(self) -> bool:
        """Whether a call costs microseconds and cannot hang: readers may look per handshake."""
        ...

    def get(self, key: str) -> Blob | None:
        """Read one whole file; None when it is not there.

        Opens by name, never lists. StoreCorrupt when it is larger than MAX_BYTES;
        StoreInvalidName when it is no plain file.
        """
        ...

    def look(self, key: str) -> Version | None:
        """The version of one file without reading it; None when it is not there."""
        ...

    def put(self, key: str, data: bytes, expect: Version | Expect) -> Version:
        """Write one file, whole or not at all, and return its new version.

        expect: the version last seen, ABSENT for a new file, ANY to overwrite.
        Returns only after the bytes were flushed, put in place, read back and compared.
        A reader sees the old bytes or the new, never a mix, an empty file or none. A writer killed
        at any instruction leaves the old file whole. Missing hidden folders are made.
        Raises StoreConflict when the file is not as expected; it is unchanged then.
        Safe to repeat with ANY.
        """
        ...

    def delete(self, key: str, expect: Version | Expect = ANY) -> bool:
        """Remove one file; False when it was not there, StoreConflict at another version."""
        ...

    def list(self, folder: str = "") -> Iterator[Entry]:
        """The plain files of one folder ("" is the top), in no order; no temps, no sub-folders.

        Never called on a handshake path. A missing sub-folder is empty; a missing top is
        StoreNotFound.
        """
        ...

    def sweep(self, older_than_seconds: float = 3600.0) -> int:
        """Remove temps that a killed writer left, never anything else; how many there were."""
        ...

    def close(self) -> None:
        """Give back connections and threads; safe to repeat."""
        ...


@runtime_checkable
class Watchable(Protocol):
    """A store that can say at once that something changed. A hint: poll as well."""

    def watch(self, stop: Event) -> Iterator[frozenset[str]]:
        """Keys of the top folder that changed, as they change, until stop is set.

        An empty set means "something, look at all". Ends when the watch breaks.
        """
        ...


@runtime_checkable
class Stamped(Protocol):
    """A store whose top folder itself shows that something in it changed."""

    def stamp(self) -> int | None:
        """When a file of the top folder was last added, replaced or removed, in nanoseconds since
        the epoch by the machine's clock; None when unknown. Costs microseconds, never lists.
        """
        ...


def check_key(key: str) -> tuple[str, ...]:
    """The parts of a key, or StoreInvalidName: no store opens anything else.

    An allow list: 1 to MAX_DEPTH parts joined by `/`, each a plain name in NFC, without
    separators, colons, controls, wildcards, leading or trailing spaces, trailing dots, `.`, `..`.
    Only the first part may be hidden, and only as HIDDEN.
    """
    parts = tuple(key.split("/"))
    if len(parts) > MAX_DEPTH or not all(_is_plain(part) for part in parts):
        raise StoreInvalidName(f"no name for a file of a store: {key[:80]!r}")
    if parts[0].startswith(".") and (parts[0] != HIDDEN or len(parts) == 1):
        raise StoreInvalidName(f"a hidden name that is not ours: {key[:80]!r}")
    return parts


def _is_plain(part: str) -> bool:
    return (
        0 < len(part.encode("utf-8", "replace")) <= 255
        and part not in (".", "..")
        and part == part.strip(" ")
        and not part.endswith(".")
        and not any(c in '/\\:*?"<>|' or unicodedata.category(c) in ("Cc", "Cs") for c in part)
        and unicodedata.is_normalized("NFC", part)
    )
