"""Hints that a folder has changed: from the system where it tells, else by listing it often."""

from __future__ import annotations

import errno
import time
from collections.abc import Iterable, Iterator
from threading import Event
from typing import Protocol

from certshelf.errors import StoreError, StoreInvalidName
from certshelf.store.base import Entry, Version, check_key
from certshelf.store.inotify import changed_files, open_inotify

_LOCAL_PAUSE_SECONDS = 1.0
_SHARE_PAUSE_SECONDS = 30.0
_SCAN_SHARE = 20  # a listing may take one twentieth of the time


class Listable(Protocol):
    """The part of a folder store that a poll needs."""

    @property
    def is_local(self) -> bool:
        """See Store."""
        ...

    def list(self, folder: str = "") -> Iterator[Entry]:
        """See Store."""
        ...


def watch_folder(store: Listable, path: str, stop: Event) -> Iterator[frozenset[str]]:
    """Keys of the top folder that changed, until stop is set; see Watchable.

    On Linux, and elsewhere with the extra `watch` (the package watchfiles), within milliseconds.
    Without, and on a share, whose changes elsewhere no system reports, by comparing listings:
    every second or, so that it stays under 5 % of one processor, every 20 times the duration of a
    listing. Ends when the folder is gone.
    """
    if store.is_local:
        try:
            descriptor = open_inotify(path)
        except OSError as error:
            if error.errno in (errno.ENOENT, errno.ENOTDIR, errno.EACCES):
                return
            yield from _poll(store, stop)  # the user's limit is reached, for watchfiles as well
            return
        if descriptor is not None:
            yield from _hints(changed_files(descriptor, stop))
            return
        try:
            import watchfiles
        except ImportError:
            pass
        else:
            changes = watchfiles.watch(
                path, stop_event=stop, recursive=False, debounce=50, step=5,
                raise_interrupt=False, rust_timeout=1000,
            )  # fmt: skip
            yield from _hints(frozenset(path for _, path in change) for change in changes)
            return
    yield from _poll(store, stop)


def _hints(changes: Iterable[frozenset[str]]) -> Iterator[frozenset[str]]:
    """The keys among names or paths; changes of temps alone are no hint, an empty set stays one."""
    for paths in changes:
        keys = _keys(paths)
        if keys or not paths:
            yield keys


def _keys(paths: Iterable[str]) -> frozenset[str]:
    keys = set()
    for path in paths:
        name = path.replace("\\", "/").rpartition("/")[2]
        try:
            keys.add("/".join(check_key(name)))
        except StoreInvalidName:  # temps and what is not ours
            continue
    return frozenset(keys)


def _poll(store: Listable, stop: Event) -> Iterator[frozenset[str]]:
    pause = _LOCAL_PAUSE_SECONDS if store.is_local else _SHARE_PAUSE_SECONDS
    known = _listing(store)
    while True:
        began = time.monotonic()
        now = _listing(store)
        took = time.monotonic() - began
        if now is not None:
            before = now if known is None else known  # an empty folder was seen, too
            changed = frozenset(key for key, _ in now.items() ^ before.items())
            known = now
            if changed:
                yield changed
        if stop.wait(max(pause, took * _SCAN_SHARE)):
            return


def _listing(store: Listable) -> dict[str, Version] | None:
    try:
        return {entry.key: entry.version for entry in store.list()}
    except StoreError:  # the share is away: nothing is known to have changed
        return None
