"""Which stores must pass the contract: to add one, write a function that yields it and list it."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from certshelf.store.base import Store
from certshelf.store.folder import FolderStore
from certshelf.store.memory import MemoryStore

StoreFactory = Callable[[Path], Iterator[Store]]
"""Gets a fresh folder of the test's own, yields an empty store, stops what it started."""


def memory(tmp_path: Path) -> Iterator[Store]:
    yield MemoryStore()


def folder(tmp_path: Path) -> Iterator[Store]:
    yield FolderStore(tmp_path)


def mounted_folder(tmp_path: Path) -> Iterator[Store]:
    """The same folder as on a share: each call goes through the threads with the deadline."""
    store = FolderStore(tmp_path)
    store._local = False
    yield store


FACTORIES: list[StoreFactory] = [memory, folder, mounted_folder]


@pytest.fixture(params=FACTORIES, ids=lambda factory: factory.__name__)
def store(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Store]:
    for made in request.param(tmp_path):
        yield made
        made.close()
