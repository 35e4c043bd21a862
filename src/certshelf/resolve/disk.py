"""DiskCache: a reader's own copy of the last good PFX of each name, and of its generation.

The generation lets a reader that was restarted tell an old record put back from a new one. The
copy is the PFX as it lay on the shelf, still encrypted under the shelf's password, so a reader
starts and serves with the shelf unreachable and leaves no key in clear on its disk.
"""

from __future__ import annotations

import contextlib
from pathlib import Path

from certshelf.errors import StoreError
from certshelf.store.base import ANY, HIDDEN
from certshelf.store.folder import FolderStore


class DiskCache:
    """One folder of 0700 with one file per name. Its failures never disturb a handshake."""

    def __init__(self, folder: Path) -> None:
        folder.mkdir(parents=True, exist_ok=True, mode=0o700)
        folder.chmod(0o700)
        self._store = FolderStore(folder)

    def get(self, file: str) -> bytes | None:
        """The copy of a file, None when there is none or it cannot be read."""
        try:
            blob = self._store.get(file)
        except StoreError:
            return None
        return blob.data if blob else None

    def generation(self, file: str) -> int:
        """The highest generation of a name that was kept, 0 when none is known."""
        try:
            blob = self._store.get(_generation_key(file))
            return int(blob.data) if blob else 0
        except (StoreError, ValueError):
            return 0

    def put(self, file: str, data: bytes, generation: int = 0) -> None:
        """Keep a copy, whole or not at all; a full disk is no reason to stop serving."""
        with contextlib.suppress(StoreError):
            self._store.put(file, data, ANY)
            if generation > self.generation(file):
                self._store.put(_generation_key(file), str(generation).encode(), ANY)

    def remove(self, file: str) -> None:
        """Forget a copy."""
        with contextlib.suppress(StoreError):
            self._store.delete(file)


def _generation_key(file: str) -> str:
    return f"{HIDDEN}/generations/{file}"
