"""What a store is: bytes under names, with versions. It knows no certificates.

A key is a file of the top folder (`www.example.com.pfx`) or of the hidden part
(`.certshelf/records/www.example.com.pfx.json`). Every call ends before the store's deadline
(10 seconds unless told otherwise), in a result or in one of the ten StoreError kinds.
The contract below is tested on every store by tests/contract/.
"""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import datetime
from enum import Enum
from functools import lru_cache
from threading import Event
from typing import NewType, Protocol, runtime_checkable
from zlib import crc32

from certshelf.errors import StoreCorrupt, StoreInvalidName
from certshelf.secret import Secret

MAX_BYTES = 1024 * 1024
"""No file of a shelf is larger; a larger one is refused before it is read."""
DEADLINE_SECONDS = 10.0
HIDDEN = ".certshelf"
"""The shelf's own folder: IIS reads only `*.pfx` of the top folder."""
LOCKS = f"{HIDDEN}/locks"
"""What writers lock one another out with; no key, and in no listing."""
LOCK_COUNT = 256
"""How many locks there are: enough that eight writers of different names seldom meet."""
MAX_DEPTH = 4

Version = NewType("Version", str)
"""Opaque: another one after each write (in a bucket: after each write of other bytes). A change of
rights or a new link may change it too."""


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


@dataclass(frozen=True, slots=True)
class StoreCredentials:
    """Who a store on the network is asked as.

    username: account, `DOMAIN\\account` or access key id. password: its password or secret key.
    endpoint: address of an S3 server that is not Amazon's; "" otherwise.
    """

    username: str
    password: Secret
    endpoint: str = ""


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


@runtime_checkable
class LeavesOut(Protocol):
    """A store in which things may lie that list() leaves out, since no key can name them."""

    def left_out(self) -> Iterator[str]:
        """Names of the top folder that no key may have, or that are no plain file. Not temps and
        nothing hidden: a leading dot."""
        ...


_DEVICE = r"(?i:con|prn|aux|nul|conin\$|conout\$|(?:com|lpt)[0-9\u00b9\u00b2\u00b3])"
_NO_DEVICE = rf"(?!{_DEVICE} *(?:\.|$))"
_ORDINARY = re.compile(rf"{_NO_DEVICE}[A-Za-z0-9_](?:[A-Za-z0-9._-]{{0,200}}[A-Za-z0-9_-])?")
_NO_DEVICE_NAME = re.compile(_NO_DEVICE)


@lru_cache(maxsize=4096)  # on the handshake path
def check_key(key: str) -> tuple[str, ...]:
    """The parts of a key, or StoreInvalidName: no store opens anything else.

    An allow list: one name of the top folder, or HIDDEN and 1 to MAX_DEPTH - 1 names, joined by
    `/`. Each is a plain name in NFC of at most 255 bytes of UTF-8, without separators, colons,
    controls, wildcards, a leading dot, leading or trailing spaces, a trailing dot; no device of
    Windows ("Naming Files, Paths, and Namespaces", learn.microsoft.com); not in LOCKS.
    """
    if _ORDINARY.fullmatch(key):
        return (key,)
    parts = tuple(key.split("/"))
    names = parts[1:] if parts[0] == HIDDEN else parts
    if parts[0] != HIDDEN and len(parts) > 1:
        raise StoreInvalidName(f"a key in a folder that is not {HIDDEN}: {key[:80]!r}")
    if not names or len(parts) > MAX_DEPTH or not all(_is_plain(name) for name in names):
        raise StoreInvalidName(f"no name for a file of a store: {key[:80]!r}")
    if "/".join(parts[:2]).lower() == LOCKS:
        raise StoreInvalidName(f"{LOCKS} belongs to the store itself")
    return parts


def too_large(what: str, size: int) -> StoreCorrupt:
    """The error for a file that is not read: it cannot be kept either, so nothing overwrites it."""
    return StoreCorrupt(
        f"{what}: it has {size:,} bytes, and no PFX has more than {MAX_BYTES:,}",
        hint="look what it is and move it away by hand, then repeat: certshelf keeps what it"
        " replaces, and this is more than it keeps",
    )


def lock_of(key: str) -> str:
    """The lock that belongs to a key in whatever case: one for many keys, always the same."""
    return f"{LOCKS}/{crc32(key.lower().encode()) % LOCK_COUNT:02x}"


def check_folder(folder: str) -> tuple[str, ...]:
    """The parts of a folder that may be listed, () for the top, or StoreInvalidName."""
    return check_key(f"{folder}/x")[:-1] if folder else ()


def _is_plain(name: str) -> bool:
    return (
        0 < len(name.encode("utf-8", "replace")) <= 255
        and not name.startswith((".", " "))
        and not name.endswith((".", " "))
        and not any(c in '/\\:*?"<>|' or _is_control(c) for c in name)
        and unicodedata.is_normalized("NFC", name)
        and _NO_DEVICE_NAME.match(name) is not None
    )


def _is_control(character: str) -> bool:
    return unicodedata.category(character) in ("Cc", "Cs", "Zl", "Zp")
