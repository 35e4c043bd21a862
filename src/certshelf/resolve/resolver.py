"""Resolver: from the SNI name to the newest good bundle, at every handshake.

The handshake path does bounded work: a dictionary, on a local shelf a stat, and after a change
one decode; with a slow lane (the reader has one) only if that takes a few milliseconds. It never
lists a folder, never does network I/O, never raises, and never drops what is served because of one
error or one not-found.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from functools import lru_cache

from certshelf.bundle import pfx
from certshelf.bundle.model import Bundle
from certshelf.errors import (
    CertshelfError,
    NameInvalid,
    StoreError,
)
from certshelf.names import SUFFIX, HostName
from certshelf.resolve.disk import DiskCache
from certshelf.resolve.index import NameIndex
from certshelf.resolve.keeper import Keeper
from certshelf.resolve.limits import Forgetful, TokenBucket
from certshelf.resolve.loading import Served, accept, accept_again, is_retired
from certshelf.resolve.refusals import Refusals, Told
from certshelf.resolve.slow import SlowLane
from certshelf.shelf.files import Read
from certshelf.shelf.shelf import Shelf
from certshelf.store.base import Blob, Version

POLL_SECONDS = 60.0
_MAX_SERVED = 200_000
_MAX_ABSENT = 10_000
_ABSENT_SECONDS = 1.0
_MAX_SPELLINGS = 50_000
"""Names off the wire whose files are remembered, in any spelling."""
_LOOKS = (20.0, 50.0)
"""Looks a second, and at once, for names that the index does not have."""
_FIRST_LOOKS = {True: (5_000.0, 5_000.0), False: (200.0, 500.0)}
"""The same until the index stands, on a local store and on another: a farm that restarts asks for
all its names at once."""
_SLOW_SECONDS = 60.0
"""How long exact() waits for a file in the slow lane."""
Listener = Callable[[frozenset[str]], None]


@dataclass(slots=True)
class ResolverState:
    """What a resolver did, for metrics and the doctor. Counters only grow.

    refused: file -> why its newest bytes are not served. surprises: errors that nobody foresaw.
    """

    names: int = 0
    is_complete: bool = False
    served: int = 0
    loads: int = 0
    looks: int = 0
    misses: int = 0
    store_errors: int = 0
    surprises: int = 0
    last_store_error: str = ""
    refused: dict[str, str] = field(default_factory=dict)


class Resolver:
    """Answers for one shelf. Safe to use from several threads; start() it, close() it.

    disk: keeps the last good PFX of each name, so that a reader starts with the shelf unreachable.
    poll_seconds: how often the store is listed when nothing says that it changed.
    allow: the only names to serve, None for all that lie on the shelf.
    lane: where files that take long are opened, in child processes; until then the last good one
    is served, and a name that has none is answered as one that is not there yet. close() ends it.
    on_refused: hears from any thread which file is not served, once for each version and reason.
    """

    def __init__(
        self,
        shelf: Shelf,
        *,
        disk: DiskCache | None = None,
        poll_seconds: float = POLL_SECONDS,
        allow: Callable[[HostName], bool] | None = None,
        lane: SlowLane | None = None,
        on_refused: Told = lambda file, why: None,
    ) -> None:
        self.shelf = shelf
        self._disk = disk
        self._allow = allow
        self._clock = shelf.clock
        self._index = NameIndex(shelf.store)
        self._served: dict[str, Served] = {}
        self._refusals = Refusals(self._clock.monotonic, on_refused)
        self._absent = Forgetful(_ABSENT_SECONDS, _MAX_ABSENT, self._clock.monotonic)
        monotonic = self._clock.monotonic
        self._first_looks = TokenBucket(*_FIRST_LOOKS[shelf.store.is_local], monotonic)
        self._looks = TokenBucket(*_LOOKS, monotonic)
        self._flights: dict[str, threading.Lock] = {}
        self._flights_lock = threading.Lock()
        self._listeners: list[Listener] = []
        self._state = ResolverState()
        self._files = lru_cache(maxsize=_MAX_SPELLINGS)(self._files_of)
        self._keeper = Keeper(self, self._index, shelf.store, poll_seconds, self._clock)
        self._lane = lane

    def start(self) -> Resolver:
        """Begin to keep the index and what is served fresh, in the background; returns at once."""
        self._keeper.start()
        return self

    def take_over(self, other: Resolver) -> None:
        """Serve what another resolver of the same shelf served, until it was looked at. Before
        start. Does nothing when that one opened the shelf in another way."""
        mine, its = self.shelf, other.shelf
        is_same = mine.store.url == its.store.url and mine.passwords == its.passwords
        if is_same and mine.manifest.public_key == its.manifest.public_key:
            self._served.update(other._served)
            self._keeper.distrust()

    def close(self) -> None:
        """Stop the background work; safe to repeat. What is served stays answerable."""
        self._refusals.close()
        self._keeper.close()
        if self._lane is not None:
            self._lane.close()

    def wait_ready(self, timeout_s: float) -> bool:
        """Wait until the index of names is complete; False after timeout_s seconds."""
        return self._keeper.wait_ready(timeout_s)

    # --- the handshake path

    def resolve(self, sni: str) -> Bundle | None:
        """The bundle to serve for a name, None for the server's own default. Never raises."""
        served = self.find(sni)
        return served.bundle if served else None

    def find(self, sni: str) -> Served | None:
        """As resolve(), with the file that answers. Never raises."""
        return self._find(lambda: self._files(sni))

    def exact(self, host: HostName) -> Served | None:
        """What the host's own file gives, a wildcard's too, without its wildcard. Never raises.

        For the threads that copy: it waits for a file in the slow lane.
        """
        if self._allow is not None and not self._allow(host):
            return None
        file = host.file_name()
        found = self._find(lambda: (file,))
        if self._lane is not None and self._lane.wait(file, _SLOW_SECONDS):
            return self._find(lambda: (file,))
        return found

    def coming(self, sni: str) -> bool:
        """Whether a bundle of a name that has none may be there in a moment."""
        if self._lane is not None and any(file in self._lane for file in self._files(sni)):
            return True
        return not self.shelf.store.is_local and self.known(sni)

    def holds(self, host: HostName) -> bool:
        """Whether the index has the host's own file; costs the store nothing."""
        return host.file_name()[: -len(SUFFIX)] in self._index

    def _find(self, files: Callable[[], tuple[str, ...]]) -> Served | None:
        try:
            self._keeper.survive_fork()
            now, names = self._clock.timestamp(), files()
            for file in () if self._are_absent(names) else names:
                served = self._newest(file)
                if served is not None and served.until > now:
                    return served
            self._state.misses += 1
        except Exception:  # noqa: BLE001  the handshake's outer wall: a counter, not a crash
            self.surprised()
        return None

    def known(self, sni: str) -> bool:
        """Whether the index has the name or its wildcard; costs the store nothing."""
        return any(
            file in self._served or file[: -len(SUFFIX)] in self._index for file in self._files(sni)
        )

    def _files_of(self, sni: str) -> tuple[str, ...]:
        try:
            host = HostName.parse(sni)
        except NameInvalid:
            return ()
        if host.is_wildcard or (self._allow is not None and not self._allow(host)):
            return ()
        return tuple(candidate.file_name() for candidate in host.candidates())

    def _are_absent(self, files: tuple[str, ...]) -> bool:
        """Whether index and folder say so: one look for all of a name's files."""
        for file in files:
            if file in self._served or file[: -len(SUFFIX)] in self._index:
                return False
        return self._index.is_complete and self._index.is_current()

    def _newest(self, file: str) -> Served | None:
        served = self._served.get(file)
        if served is None:
            return self._cold(file)
        if self.shelf.store.is_local:
            self._look(file, served)
            return self._served.get(file, served)
        return served

    def _look(self, file: str, served: Served) -> None:
        """One stat; reload when the file is another one. Another thread's reload is not awaited."""
        if self._is_in_lane(file):
            return
        try:
            version = self.shelf.store.look(file)
        except StoreError as error:
            self._store_failed(error)
            return
        if version == served.version or self._refusals.holds(file, version):
            return
        if version is None:
            self._keeper.hurry(file)
            return
        flight = self._flight(file)
        if flight.acquire(blocking=False):
            try:
                self.reload(file)
            finally:
                flight.release()

    def _is_in_lane(self, file: str) -> bool:
        return self._lane is not None and file in self._lane

    def _cold(self, file: str) -> Served | None:
        if file in self._absent or self._is_in_lane(file) or not self._may_look(file):
            return None
        if not self.shelf.store.is_local:
            self._keeper.hurry(file)
            return self._take(file, self._copy(file), None)
        with self._flight(file):
            served = self._served.get(file)
            if served is None and not self._refusals.holds(file, self._version(file)):
                served = self.reload(file)
        if served is None:
            self._absent.add(file)
        return served

    def _may_look(self, file: str) -> bool:
        """Whether a name that is not in memory may cost the store one look."""
        if file[: -len(SUFFIX)] in self._index:
            return True
        if self._index.is_complete and self._index.is_current():
            return False
        bucket = self._looks if self._index.is_complete else self._first_looks
        if not bucket.take():
            return False
        self._state.looks += 1
        return True

    def _version(self, file: str) -> Version | None:
        try:
            return self.shelf.store.look(file)
        except StoreError:
            return None  # reload() meets the same error and counts it

    def _flight(self, file: str) -> threading.Lock:
        with self._flights_lock:
            if len(self._flights) > _MAX_ABSENT:
                self._flights.clear()  # at worst a file is loaded twice
            return self._flights.setdefault(file, threading.Lock())

    # --- loading; also called by the keeper

    def reload(self, file: str) -> Served | None:
        """Read a file now and serve it if it may be; what is served after that, or None.

        Any failure leaves what was served, and is counted.
        """
        copy = None if file in self._served else self._copy(file)
        blob = None
        try:
            blob = self.shelf.store.get(file)
            self._state.loads += 1
        except StoreError as error:
            self._store_failed(error)
        return self._take(file, copy, blob)

    def _take(self, file: str, copy: bytes | None, blob: Blob | None) -> Served | None:
        """Open what the disk and the store gave, here or in the slow lane; what is served now."""
        lane = self._lane
        found = (copy, blob.data if blob else None)
        if lane is None or not any(lane.is_slow(data) for data in found if data):
            return self._open(file, copy, blob, pfx.decode)
        if blob is not None:
            self._index.add(file[: -len(SUFFIX)])
        version = blob.version if blob else "disk"
        lane.put(file, version, lambda read: self._open(file, copy, blob, read))
        return self._served.get(file)

    def _open(self, file: str, copy: bytes | None, blob: Blob | None, read: Read) -> Served | None:
        last = self._served.get(file) or self._open_copy(file, copy, read)
        try:
            served = self._judge(file, blob, last, read) if blob else None
        except StoreError as error:
            self._store_failed(error)
            return last
        if served is None:
            return last
        self._accept(served)
        return served

    def _judge(self, file: str, blob: Blob, last: Served | None, read: Read) -> Served | None:
        """What these bytes give, None when they are refused: for this very version, so that a
        good file which replaces a torn one meanwhile is read."""
        try:
            seen = max(
                last.generation if last else 0, self._disk.generation(file) if self._disk else 0
            )
            return accept(self.shelf, file, blob.data, blob.version, last, seen, read)
        except StoreError:
            raise
        except CertshelfError as error:
            self._refusals.add(file, blob.version, error)
        except Exception as error:  # noqa: BLE001  hostile bytes that nobody foresaw: last good stays
            self.surprised()
            self._refusals.add(file, blob.version, error)
        return None

    def settle(self, file: str) -> None:
        """A file is gone: stop serving it only if the manager says that it was retired."""
        try:
            if self.shelf.store.look(file) is None and is_retired(self.shelf, file):
                self._served.pop(file, None)
                if self._disk:
                    self._disk.remove(file)
                self.tell(frozenset({file[: -len(SUFFIX)]}))
        except StoreError as error:
            self._store_failed(error)

    def is_served(self, file: str) -> bool:
        """Whether a good bundle of this file is in memory."""
        return file in self._served

    def served_files(self) -> tuple[str, ...]:
        """The files of which a good bundle is in memory."""
        return tuple(self._served)

    def is_behind(self, file: str, version: Version | None) -> bool:
        """Whether this version is neither what is served nor what was refused."""
        served = self._served.get(file)
        if served is not None and served.version == version:
            return False
        return not self._refusals.holds(file, version)

    def due_again(self) -> list[str]:
        """Refused files that time or a new record may have made good."""
        return self._refusals.due_again()

    def surprised(self) -> None:
        """Something failed in a way that nobody foresaw: counted, and life goes on."""
        self._state.surprises += 1

    def forget_absent(self, stems: frozenset[str]) -> None:
        """These names may be there now."""
        for stem in stems:
            self._absent.discard(stem + SUFFIX)

    def _accept(self, served: Served) -> None:
        if len(self._served) >= _MAX_SERVED and served.file not in self._served:
            self._served.pop(next(iter(self._served)), None)
        stem = served.file[: -len(SUFFIX)]
        # Locally a first load is what the index promised and the asker awaits: no news to others.
        is_first = served.file not in self._served and stem in self._index
        is_awaited = is_first and self.shelf.store.is_local and not self._is_in_lane(served.file)
        self._served[served.file] = served
        self._refusals.drop(served.file)
        self._absent.discard(served.file)
        self._index.add(stem)
        if self._disk:
            self._keeper.later(self._disk.put, served.file, served.data, served.generation)
        if not is_awaited:
            self._keeper.later(self.tell, frozenset({stem}))

    def _copy(self, file: str) -> bytes | None:
        return self._disk.get(file) if self._disk else None

    def _open_copy(self, file: str, data: bytes | None, read: Read) -> Served | None:
        if data is None:
            return None
        try:
            served = accept_again(self.shelf, file, data, read)
        except CertshelfError:
            return None
        return self._served.setdefault(file, served)

    def _store_failed(self, error: StoreError) -> None:
        self._state.store_errors += 1
        self._state.last_store_error = str(error)

    # --- what others may know

    def hosts(self) -> Iterator[HostName]:
        """Every host name of the index that is served; wildcards as `*.example.com`."""
        for stem in self._index.stems():
            try:
                host = HostName.from_file_name(stem + SUFFIX)
            except NameInvalid:
                continue
            if host.file_name() != stem + SUFFIX:  # the U-label twin is the same host
                continue
            if self._allow is None or self._allow(host):
                yield host

    def subscribe(self, listener: Listener) -> Callable[[], None]:
        """Call listener with the A-label names (`*.x` for wildcards) that changed, from a thread.

        An empty set means "look at all". Returns the function that ends it.
        """
        self._listeners.append(listener)
        return lambda: self._listeners.remove(listener) if listener in self._listeners else None

    def tell(self, stems: frozenset[str]) -> None:
        """Tell every listener that these stems changed."""
        names = frozenset(filter(None, map(_host_name, stems)))
        if stems and not names:
            return
        for listener in list(self._listeners):
            listener(names)

    def state(self) -> ResolverState:
        """A copy of the counters at this moment."""
        state = self._state
        return ResolverState(
            names=len(self._index),
            is_complete=self._index.is_complete,
            served=len(self._served),
            loads=state.loads,
            looks=state.looks,
            misses=state.misses,
            store_errors=state.store_errors,
            surprises=state.surprises + (self._lane.surprises if self._lane else 0),
            last_store_error=state.last_store_error,
            refused=self._refusals.reasons(),
        )


def _host_name(stem: str) -> str:
    """The A-label name of a file's stem, also of its Unicode twin; "" when it is no host's."""
    if stem.isascii():
        return "*" + stem[1:] if stem.startswith("_.") else stem
    try:
        return HostName.from_file_name(stem + SUFFIX).ascii
    except NameInvalid:
        return ""
