"""A publisher killed at any write: the name is served all the while, and the next run mends it."""

from __future__ import annotations

import os
import signal
from pathlib import Path

import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from certshelf.bundle.model import Bundle
from certshelf.names import HostName
from certshelf.resolve.resolver import Resolver
from certshelf.secret import generate_password
from certshelf.shelf.shelf import Shelf
from certshelf.store.base import Expect, Version
from certshelf.store.folder import FolderStore
from tests.support.bundles import make_bundle

PASSWORD = generate_password()
KEY = Ed25519PrivateKey.generate()
HOST = HostName.parse("a.test")
WRITES = 3  # the record, the PFX, the narrowed record
NEW_WRITES = 2  # the first record of a name vouches for nothing old: it is narrow already

pytestmark = pytest.mark.skipif(not hasattr(os, "fork"), reason="the publisher is a forked child")


class KillingStore(FolderStore):
    """A folder that kills its process before or after its n-th write."""

    def __init__(self, folder: Path, write: int, when: str) -> None:
        super().__init__(folder)
        self._left = write
        self._when = when

    def _die(self, when: str) -> None:
        if self._left == 0 and self._when == when:
            os.kill(os.getpid(), signal.SIGKILL)

    def put(self, key: str, data: bytes, expect: Version | Expect) -> Version:
        self._left -= 1
        self._die("before")
        version = super().put(key, data, expect)
        self._die("after")
        return version

    def delete(self, key: str, expect: Version | Expect = Expect.ANY) -> bool:
        self._left -= 1
        self._die("before")
        done = super().delete(key, expect)
        self._die("after")
        return done


def writer(store: FolderStore) -> Shelf:
    return Shelf(store, PASSWORD, owner="manager", signing_key=KEY)


def strict_reader(folder: Path) -> Resolver:
    """A reader without memory that serves only what a signed record vouches for."""
    return Resolver(Shelf(FolderStore(folder), PASSWORD, public_key=KEY.public_key()))


def in_a_killed_child(action: object) -> int:
    pid = os.fork()
    if pid == 0:
        try:
            action()  # type: ignore[operator]
        finally:
            os._exit(3)
    return os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])


@pytest.mark.filterwarnings("ignore:This process:DeprecationWarning")  # the fork is meant
@pytest.mark.parametrize("when", ["before", "after"])
@pytest.mark.parametrize(
    ("first", "write"),
    [(True, write) for write in range(1, NEW_WRITES + 1)]
    + [(False, write) for write in range(1, WRITES + 1)],
    ids=lambda value: {True: "new", False: "renewed"}[value] if isinstance(value, bool) else None,
)
def test_a_publisher_killed_at_any_write(
    tmp_path: Path, first: bool, write: int, when: str
) -> None:
    old, new = make_bundle("a.test"), make_bundle("a.test")
    if not first:
        writer(FolderStore(tmp_path)).publish(old)
    status = in_a_killed_child(lambda: writer(KillingStore(tmp_path, write, when)).publish(new))
    assert status == -signal.SIGKILL

    pfx_is_there = write > 2 or (write == 2 and when == "after")
    allowed: tuple[Bundle | None, ...] = (new,) if pfx_is_there else (None if first else old,)
    assert strict_reader(tmp_path).resolve("a.test") in allowed

    assert writer(FolderStore(tmp_path)).publish(new).ok
    assert strict_reader(tmp_path).resolve("a.test") == new
    assert not [f for f in writer(FolderStore(tmp_path)).verify() if f.severity != "ok"]
    left = {path.name for path in tmp_path.iterdir()}
    assert left <= {"a.test.pfx", ".certshelf"}


@pytest.mark.filterwarnings("ignore:This process:DeprecationWarning")  # the fork is meant
@pytest.mark.parametrize("when", ["before", "after"])
@pytest.mark.parametrize("write", [1, 2])
def test_a_retirement_killed_at_any_write_can_be_repeated(
    tmp_path: Path, write: int, when: str
) -> None:
    writer(FolderStore(tmp_path)).publish(make_bundle("a.test"))
    killer = KillingStore(tmp_path, write, when)
    assert in_a_killed_child(lambda: writer(killer).retire(HOST)) == -signal.SIGKILL
    writer(FolderStore(tmp_path)).retire(HOST)
    assert not (tmp_path / "a.test.pfx").exists()
    assert not [f for f in writer(FolderStore(tmp_path)).verify() if f.severity == "error"]
