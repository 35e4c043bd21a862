"""History: what lay on the shelf before, kept where no reader of the shelf can look.

Five old keys of a name are as good a prize as the newest one, so the history lies in the manager's
own folder, never on the shelf. A version is a PFX exactly as it was, still encrypted.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, datetime, timedelta

from certshelf.clock import Clock
from certshelf.names import SUFFIX
from certshelf.store.base import ABSENT, ANY, HIDDEN, Store

KEEP = 5
_STAMP = "%Y%m%dT%H%M%S%fZ"
_ORIGINAL = "original"


@dataclass(frozen=True, slots=True)
class Past:
    """One earlier version of one file. version: its id; replaced_at: when it left the shelf.

    is_original: what somebody else had put there before certshelf took the name over.
    """

    file: str
    version: str
    replaced_at: datetime
    is_original: bool = False


class History:
    """Earlier versions of each file, in a store of the manager's own.

    keep: how many of each file; keep_days: for how long, None for ever. The original of a name
    that was taken over is kept until that is undone.
    """

    def __init__(
        self, store: Store, clock: Clock, *, keep: int = KEEP, keep_days: float | None = None
    ) -> None:
        self._store = store
        self._clock = clock
        self._keep = keep
        self._keep_days = keep_days

    def add(self, file: str, data: bytes) -> None:
        """Keep what is about to be replaced, and let go of what is too old or too much.

        Raises StoreError, and then nothing is replaced.
        """
        if self._keep == 0:
            return
        moment = self._clock.now()
        while self._store.look(_key(file, moment.strftime(_STAMP))) is not None:
            moment += timedelta(microseconds=1)
        self._store.put(_key(file, moment.strftime(_STAMP)), data, ABSENT)
        self._prune(file)

    def add_original(self, file: str, data: bytes) -> None:
        """Keep what somebody else had put there; the first one stays."""
        if self._store.look(_key(file, _ORIGINAL)) is None:
            self._store.put(_key(file, _ORIGINAL), data, ANY)

    def of(self, file: str) -> list[Past]:
        """The versions of a file, the newest first, the original last."""
        found = []
        for entry in self._store.list(_folder(file)):
            version = entry.key.rpartition("/")[2].removesuffix(SUFFIX)
            if version == _ORIGINAL:
                found.append(Past(file, version, entry.modified, is_original=True))
            elif (moment := _moment(version)) is not None:
                found.append(Past(file, version, moment))
        return sorted(found, key=lambda p: (not p.is_original, p.replaced_at), reverse=True)

    def read(self, file: str, version: str) -> bytes | None:
        """The bytes of a version, None when there is none."""
        blob = self._store.get(_key(file, version))
        return blob.data if blob else None

    def original(self, file: str) -> bytes | None:
        """What lay there before certshelf took the name over, None when nothing did."""
        return self.read(file, _ORIGINAL)

    def forget_original(self, file: str) -> None:
        """The taking over was undone."""
        self._store.delete(_key(file, _ORIGINAL))

    def _prune(self, file: str) -> None:
        past = [p for p in self.of(file) if not p.is_original]
        oldest = None
        if self._keep_days is not None:
            oldest = self._clock.now() - timedelta(days=self._keep_days)
        for number, one in enumerate(past):
            if number >= self._keep or (oldest is not None and one.replaced_at < oldest):
                self._store.delete(_key(file, one.version))


def _folder(file: str) -> str:
    return f"{HIDDEN}/history/{file[: -len(SUFFIX)]}"


def _key(file: str, version: str) -> str:
    return f"{_folder(file)}/{version}{SUFFIX}"


def _moment(version: str) -> datetime | None:
    try:
        return datetime.strptime(version, _STAMP).replace(tzinfo=UTC)
    except ValueError:
        return None
