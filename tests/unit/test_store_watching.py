from __future__ import annotations

import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from queue import Empty, Queue
from threading import Event, Thread

import pytest

from certshelf.store import watching
from certshelf.store.base import ANY, HIDDEN
from certshelf.store.folder import FolderStore

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
@pytest.mark.parametrize("installed", [True, False])
def test_a_watch_names_the_file_that_came_changed_or_went(
    tmp_path: Path, watch: Watch, installed: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    if installed:
        pytest.importorskip("watchfiles")
    else:
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
