"""The index of names: which files lie on the shelf, known without asking the store.

It is what makes an unknown name cost the store nothing: under 200 bytes a name, built in the
background, never on the handshake path.
"""

from __future__ import annotations

import time
from collections.abc import Iterator

from certshelf.names import SUFFIX
from certshelf.store.base import Stamped, Store

_VERSION_BITS = 0x3FFFFFFF  # fits a small int object; a collision delays a hint, no more
_RACY_NS = 50_000_000
"""A change within the file system's clock tick of a listing may be in it or not: file systems
stamp with a coarse clock, so a stamp that young proves nothing."""


class NameIndex:
    """File stems (`www.example.com`, `_.example.com`) and a short hash of each version.

    Replaced as a whole by one assignment, so readers need no lock.
    """

    def __init__(self, store: Store) -> None:
        self._store = store
        self._stamped = store if isinstance(store, Stamped) else None
        self._stamp: int | None = None
        self._versions: dict[str, int] = {}
        self.is_complete = False

    def __len__(self) -> int:
        return len(self._versions)

    def __contains__(self, stem: str) -> bool:
        return stem in self._versions

    def stems(self) -> Iterator[str]:
        """All names of the index at this moment."""
        return iter(list(self._versions))

    def is_current(self) -> bool:
        """Whether the folder itself says that nothing changed since the listing."""
        if self._stamp is None or self._stamped is None:
            return False
        return self._stamped.stamp() == self._stamp

    def is_behind(self) -> bool:
        """Whether the folder itself says that something changed since the listing."""
        return self._stamped is not None and self._stamped.stamp() != self._stamp

    def refresh(self) -> frozenset[str]:
        """List the store once; the stems that are new, gone or at another version since last time.

        Raises StoreError, and then the index is what it was.
        """
        stamp = self._stamped.stamp() if self._stamped else None
        if stamp is not None and time.time_ns() - stamp < _RACY_NS:
            stamp = None
        fresh = {
            entry.key[: -len(SUFFIX)]: hash(entry.version) & _VERSION_BITS
            for entry in self._store.list()
            if entry.key.endswith(SUFFIX)
        }
        old, first = self._versions, not self.is_complete
        self._versions, self._stamp, self.is_complete = fresh, stamp, True
        if first:
            return frozenset()
        changed = {stem for stem, version in fresh.items() if old.get(stem) != version}
        return frozenset(changed.union(stem for stem in old if stem not in fresh))

    def add(self, stem: str) -> None:
        """A name was seen to be there, before a listing could show it."""
        self._versions.setdefault(stem, -1)
