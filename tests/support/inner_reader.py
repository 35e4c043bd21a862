"""A reader in this process, which real servers ask: its store is counted, its caches are seen."""

from __future__ import annotations

import asyncio
import io
import threading
from collections import deque
from collections.abc import Iterator, Mapping, Sequence, Set
from pathlib import Path
from types import MethodType

from certshelf.clock import SYSTEM
from certshelf.resolve.resolver import Resolver
from certshelf.resolve.slow import SlowLane
from certshelf.secret import Secret
from certshelf.serve.adapters import Adapters, start_adapters
from certshelf.serve.live import LiveSource
from certshelf.serve.log import ReaderLog
from certshelf.serve.reader_settings import ReaderSettings, read_settings
from certshelf.shelf.shelf import Shelf
from certshelf.store.base import Blob, Entry, Version
from certshelf.store.folder import FolderStore
from tests.support.reader import PASSWORD
from tests.support.tls_probe import wait_until


class CountedFolder(FolderStore):
    """Remembers what it was asked; as_remote: it is taken for a share."""

    def __init__(self, folder: Path, *, as_remote: bool = False) -> None:
        super().__init__(folder)
        self.asked: list[str] = []
        self._as_remote = as_remote

    @property
    def is_local(self) -> bool:
        return not self._as_remote and super().is_local

    def get(self, key: str) -> Blob | None:
        self.asked.append(f"get {key}")
        return super().get(key)

    def look(self, key: str) -> Version | None:
        self.asked.append(f"look {key}")
        return super().look(key)

    def list(self, folder: str = "") -> Iterator[Entry]:
        self.asked.append("list")
        return super().list(folder)

    def stamp(self) -> int | None:
        return None if self._as_remote else super().stamp()


class InnerReader:
    """The resolver and the adapters of a reader, with its event loop in a thread."""

    def __init__(self, store: CountedFolder, flags: Sequence[str]) -> None:
        words = ["--shelf", "unused", "--poll", "3600", *flags]
        self.log = io.StringIO()
        self.store = store
        self.resolver = Resolver(
            Shelf(store, Secret(PASSWORD)), poll_seconds=3600, lane=SlowLane()
        ).start()
        settings, _ = read_settings("reader", words)
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_forever)
        self._thread.start()
        self._adapters = asyncio.run_coroutine_threadsafe(self._start(settings), self._loop).result(
            30
        )

    async def _start(self, settings: ReaderSettings) -> Adapters:
        log = ReaderLog(self.log, SYSTEM)
        return await start_adapters(settings, LiveSource(self.resolver), log)

    def settle(self) -> None:
        """Wait until the index stands and nothing is asked any more."""
        assert self.resolver.wait_ready(20)
        asked = -1

        def is_still() -> bool:
            nonlocal asked
            before, asked = asked, len(self.store.asked)
            return before == asked and (not self.store.is_local or self.index_is_current())

        assert wait_until(is_still)

    def sizes(self) -> dict[str, int]:
        """How many entries each container has that our own objects hold, by where it hangs."""
        return dict(_containers("reader", [self.resolver, self._adapters], set()))

    def index_is_current(self) -> bool:
        return self.resolver._index.is_current()

    def close(self) -> None:
        asyncio.run_coroutine_threadsafe(self._adapters.close(), self._loop).result(30)
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join(20)
        self._loop.close()
        self.resolver.close()


def _containers(where: str, what: object, seen: set[int]) -> Iterator[tuple[str, int]]:
    if id(what) in seen:
        return
    seen.add(id(what))
    if isinstance(what, MethodType):
        yield from _containers(where, what.__self__, seen)
    elif hasattr(what, "cache_info"):
        yield where, what.cache_info().currsize
    elif isinstance(what, (Mapping, Set, deque, list, tuple)):
        yield where, len(what)
        values = what.values() if isinstance(what, Mapping) else what
        for value in list(values)[:100]:
            yield from _containers(f"{where}[]", value, seen)
    elif type(what).__module__.startswith("certshelf."):
        names = [*getattr(what, "__dict__", ()), *getattr(type(what), "__slots__", ())]
        for name in names:
            yield from _containers(f"{where}.{name}", getattr(what, name, None), seen)
