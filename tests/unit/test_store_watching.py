from __future__ import annotations

import contextlib
import errno
import struct
import sys
from collections.abc import Callable, Iterator
from datetime import UTC, datetime
from pathlib import Path
from queue import Empty, Queue
from threading import Event, Thread
from types import ModuleType

import pytest

from certshelf.store import watching
from certshelf.store.base import ANY, HIDDEN, Entry, Version
from certshelf.store.folder import FolderStore
from certshelf.store.inotify import parse_events
from certshelf.store.watching import watch_folder

Watch = Callable[[FolderStore], "Queue[frozenset[str]]"]


@pytest.fixture
def watch() -> Iterator[Watch]:
    """Collects what a store's watch says, in a thread that ends with the test."""
    stop = Event()
    threads: list[Thread] = []

    def start(store: FolderStore) -> Queue[frozenset[str]]:
        said: Queue[frozenset[str]] = Queue()

        def run() -> None:
            for keys in store.watch(stop):
                said.put(keys)

        threads.append(Thread(target=run))
        threads[-1].start()
        return said

    yield start
    stop.set()
    for thread in threads:
        thread.join(30)
        assert not thread.is_alive()


@pytest.mark.slow
@pytest.mark.parametrize("way", ["inotify", "watchfiles", "listings"])
def test_a_watch_names_the_file_that_came_changed_or_went(
    tmp_path: Path, watch: Watch, way: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    if way == "inotify":
        if sys.platform != "linux":
            pytest.skip("inotify is Linux's")
        monkeypatch.setitem(sys.modules, "watchfiles", None)
    else:
        monkeypatch.setattr(watching, "open_inotify", lambda path: None)
    if way == "watchfiles":
        pytest.importorskip("watchfiles")
    if way == "listings":
        monkeypatch.setitem(sys.modules, "watchfiles", None)
        monkeypatch.setattr(watching, "_LOCAL_PAUSE_SECONDS", 0.02)
    store = FolderStore(tmp_path)
    store.put("other.pfx", b"1", ANY)
    said = watch(store)
    _until_said(said, "first.pfx", lambda: store.put("first.pfx", b"1", ANY))
    _until_said(said, "first.pfx", lambda: store.put("first.pfx", b"2", ANY))
    store.delete("first.pfx")
    _until_said(said, "first.pfx", lambda: None)
    store.put(f"{HIDDEN}/x.json", b"1", ANY)
    _until_said(said, "last.pfx", lambda: store.put("last.pfx", b"1", ANY))


def _until_said(said: Queue[frozenset[str]], key: str, act: Callable[[], object]) -> None:
    """Repeat act() until its key is told: a watch takes a moment to begin."""
    for _ in range(50):
        act()
        try:
            keys = said.get(timeout=0.5)
        except Empty:
            continue
        assert not any(k.startswith(".") for k in keys)
        if key in keys:
            return
    pytest.fail(f"nobody said that {key} changed")


def test_without_a_watch_left_for_this_user_the_folder_is_listed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def no_more(path: str) -> int | None:
        raise OSError(errno.ENOSPC, "limit of watches", path)

    def no_more_either(*paths: object, **settings: object) -> Iterator[object]:
        raise OSError("OS file watch limit reached")

    watchfiles = ModuleType("watchfiles")
    monkeypatch.setattr(watchfiles, "watch", no_more_either, raising=False)
    monkeypatch.setitem(sys.modules, "watchfiles", watchfiles)
    monkeypatch.setattr(watching, "open_inotify", no_more)
    store = FolderStore(tmp_path)
    stop = Event()
    stop.set()  # one listing, and it ends
    assert list(store.watch(stop)) == []


def test_the_first_file_of_an_empty_folder_is_told_by_its_listing() -> None:
    class Filled:
        is_local = False

        def __init__(self) -> None:
            entry = Entry("a.pfx", 1, Version("1"), datetime.now(UTC))
            self._listings = [iter(()), iter((entry,))]

        def list(self, folder: str = "") -> Iterator[Entry]:
            return self._listings.pop(0)

    assert next(watch_folder(Filled(), "", Event())) == {"a.pfx"}


@pytest.mark.skipif(sys.platform != "linux", reason="inotify is Linux's")
def test_a_watch_ends_when_its_folder_is_gone_and_begins_again(tmp_path: Path) -> None:
    folder = tmp_path / "shelf"
    folder.mkdir()
    watch = FolderStore(folder).watch(Event())
    told: Queue[frozenset[str] | None] = Queue()

    def run() -> None:
        for keys in watch:
            told.put(keys)
        told.put(None)

    thread = Thread(target=run, daemon=True)
    thread.start()
    _until_told(told, folder / "a.pfx")
    folder.rename(tmp_path / "away")
    while told.get(timeout=20) is not None:
        pass
    assert list(FolderStore(folder).watch(Event())) == []


def _until_told(told: Queue[frozenset[str] | None], file: Path) -> None:
    for _ in range(100):
        file.write_bytes(b"1")
        with contextlib.suppress(Empty):
            if file.name in (told.get(timeout=0.2) or ()):
                return
    pytest.fail(f"nobody said that {file} changed")


def test_what_the_kernel_dropped_is_a_hint_to_look_at_all() -> None:
    name = b"www.one.test.pfx".ljust(32, b"\0")
    moved = struct.pack("iIII", 1, 0x80, 0, len(name)) + name
    overflow = struct.pack("iIII", -1, 0x4000, 0, 0)
    assert parse_events(moved) == ({"www.one.test.pfx"}, 0x80)
    names, seen = parse_events(moved + overflow)
    assert names == {"www.one.test.pfx"}
    assert seen & 0x4000
