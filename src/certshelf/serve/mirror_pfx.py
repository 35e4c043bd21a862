"""A local CCS folder that is kept equal to the shelf: for an IIS that must survive a lost share.

The files are those of the shelf, byte for byte, under every name that IIS looks for. Only what the
resolver vouches for is copied; only what this mirror wrote is ever removed.
"""

from __future__ import annotations

import json

from certshelf.clock import Clock
from certshelf.errors import StoreError
from certshelf.names import HostName
from certshelf.serve.copying import Copying
from certshelf.serve.log import ReaderLog
from certshelf.serve.source import BundleSource, Found
from certshelf.store.base import ANY, Store

RECORD = ".certshelf/mirror.json"


class PfxMirror(Copying):
    """Copies files. target: the local folder as a store."""

    kind = "mirror-pfx"

    def __init__(
        self, target: Store, source: BundleSource, log: ReaderLog, clock: Clock, grace_s: float
    ) -> None:
        super().__init__(source, log, clock, grace_s)
        self._target = target
        self._recorded: set[str] = set()

    def start(self) -> None:
        """Begin to copy; StoreError when the folder cannot be read."""
        blob = self._target.get(RECORD)
        self._recorded = _names(blob.data) if blob else set()
        self._held = self._recorded.copy()
        super().start()

    def _copy(self, host: HostName, found: Found) -> bool:
        for file in host.file_names():
            there = self._target.get(file)
            if there is None or there.data != found.data:
                self._target.put(file, found.data, ANY)
        return host.ascii not in self._recorded

    def _remove(self, host: HostName) -> None:
        for file in host.file_names():
            self._target.delete(file)

    def _changed(self, names: set[str]) -> None:
        """Remember what is ours, so that a name retired while nobody ran is removed later."""
        if self._held == self._recorded:
            return
        try:
            self._target.put(RECORD, json.dumps(sorted(self._held)).encode("ascii"), ANY)
            self._recorded = self._held.copy()
        except StoreError as error:
            self._failed(RECORD, error)

    def _removed(self, names: set[str]) -> None:
        self._changed(names)


def _names(data: bytes) -> set[str]:
    """The names of a record; none of a torn one, and then nothing is removed."""
    try:
        names = json.loads(data)
    except ValueError:
        return set()
    return {name for name in names if isinstance(name, str)} if isinstance(names, list) else set()
