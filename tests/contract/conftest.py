"""Which stores must pass the contract: to add one, write a function that yields it and list it."""

from __future__ import annotations

import secrets
from collections.abc import Callable, Iterator

import pytest

from certshelf.store.base import Store
from certshelf.store.folder import FolderStore
from certshelf.store.memory import MemoryStore
from tests.support.samba import Samba, running_samba
from tests.support.seaweed import Seaweed, running_seaweed

StoreFactory = Callable[[pytest.FixtureRequest], Iterator[Store]]
"""Yields an empty store in a place of the test's own, and stops what it started."""


def memory(request: pytest.FixtureRequest) -> Iterator[Store]:
    yield MemoryStore()


def folder(request: pytest.FixtureRequest) -> Iterator[Store]:
    yield FolderStore(request.getfixturevalue("tmp_path"))


def mounted_folder(request: pytest.FixtureRequest) -> Iterator[Store]:
    """The same folder as on a share: each call goes through the threads with the deadline."""
    store = FolderStore(request.getfixturevalue("tmp_path"))
    store._local = False
    yield store


def samba(request: pytest.FixtureRequest) -> Iterator[Store]:
    """A new folder of a real file server."""
    server: Samba = request.getfixturevalue("samba_server")
    yield server.store(server.new_folder())


def seaweedfs(request: pytest.FixtureRequest) -> Iterator[Store]:
    """A new prefix in a bucket of a real S3 server."""
    server: Seaweed = request.getfixturevalue("seaweed_server")
    yield server.store(f"p{secrets.token_hex(6)}")


@pytest.fixture(scope="session")
def seaweed_server() -> Iterator[Seaweed]:
    with running_seaweed() as server:
        yield server


@pytest.fixture(scope="session")
def samba_server() -> Iterator[Samba]:
    with running_samba() as server:
        yield server


FACTORIES = [
    memory,
    folder,
    mounted_folder,
    pytest.param(samba, marks=pytest.mark.slow),
    pytest.param(seaweedfs, marks=pytest.mark.slow),
]


@pytest.fixture(params=FACTORIES, ids=lambda factory: factory.__name__)
def store(request: pytest.FixtureRequest) -> Iterator[Store]:
    for made in request.param(request):
        yield made
        made.close()
