"""Files that take long to open: in the slow lane, while everybody else is answered."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from tests.support.bundles import make_bundle
from tests.support.tls_probe import wait_until

from certshelf.bundle import pfx
from certshelf.bundle.guarded import GuardedChild
from certshelf.bundle.keys import generate
from certshelf.bundle.model import Bundle
from certshelf.errors import PfxError, PfxHostile
from certshelf.names import HostName
from certshelf.resolve.disk import DiskCache
from certshelf.resolve.resolver import Resolver
from certshelf.resolve.slow import SlowLane
from certshelf.secret import Secret, generate_password
from certshelf.shelf.shelf import Shelf
from certshelf.store.base import ANY
from certshelf.store.folder import FolderStore
from certshelf.store.memory import MemoryStore

PASSWORD = generate_password()
SLOW_ROUNDS = 30_000
A = HostName.parse("a.test")


class HeldChild(GuardedChild):
    """Decodes here, and not before it is let go."""

    def __init__(self) -> None:
        super().__init__()
        self.go = threading.Event()
        self.seen: list[str] = []
        self.error: Exception | None = None
        self.was_closed = False

    def close(self) -> None:
        self.was_closed = True

    def decode(self, data: bytes, password: Secret | None) -> Bundle:
        assert self.go.wait(20)
        self.seen.append(threading.current_thread().name)
        if self.error is not None:
            raise self.error
        return pfx.decode(data, password)


class RemoteStore(MemoryStore):
    @property
    def is_local(self) -> bool:
        return False


@pytest.fixture
def child() -> HeldChild:
    return HeldChild()


@pytest.fixture
def shelf(tmp_path: Path) -> Shelf:
    (tmp_path / "shelf").mkdir()
    return Shelf(FolderStore(tmp_path / "shelf"), PASSWORD, owner="manager")


@pytest.fixture
def resolver(shelf: Shelf, child: HeldChild) -> Iterator[Resolver]:
    (resolver := Resolver(shelf, lane=SlowLane(lambda: child, workers=1))).start()
    assert resolver.wait_ready(20)
    yield resolver
    child.go.set()
    resolver.close()


def put_slowly(shelf: Shelf, bundle: Bundle, file: str = "a.test.pfx") -> Bundle:
    """A file as a human password gives it: many rounds."""
    shelf.store.put(file, pfx.encode(bundle, PASSWORD, rounds=SLOW_ROUNDS), ANY)
    return bundle


def test_a_quick_file_never_meets_the_lane(shelf: Shelf, resolver: Resolver) -> None:
    bundle = make_bundle("a.test")
    shelf.publish(bundle)
    assert resolver.resolve("a.test") == bundle
    assert not resolver.coming("a.test")


def test_the_last_good_is_served_while_a_slow_file_is_opened(
    shelf: Shelf, resolver: Resolver, child: HeldChild
) -> None:
    old, other = make_bundle("a.test"), make_bundle("b.test")
    shelf.publish(old)
    assert resolver.resolve("a.test") == old
    new = put_slowly(shelf, make_bundle("a.test"))
    shelf.publish(other)
    for _ in range(100):
        assert resolver.resolve("a.test") == old
        assert resolver.resolve("b.test") == other
    child.go.set()
    assert wait_until(lambda: resolver.resolve("a.test") == new)
    assert child.seen == ["certshelf-slow"]


def test_a_cold_slow_file_is_no_answer_and_then_news(
    shelf: Shelf, resolver: Resolver, child: HeldChild
) -> None:
    told: list[str] = []
    resolver.subscribe(lambda names: told.extend(names))
    bundle = put_slowly(shelf, make_bundle("a.test"))
    assert resolver.resolve("a.test") is None
    assert resolver.coming("a.test")
    assert resolver.known("a.test")
    told.clear()
    child.go.set()
    assert wait_until(lambda: "a.test" in told)
    assert resolver.resolve("a.test") == bundle
    assert not resolver.coming("a.test")


def test_who_copies_waits_for_a_slow_file(
    shelf: Shelf, resolver: Resolver, child: HeldChild
) -> None:
    bundle = put_slowly(shelf, make_bundle("a.test"))
    threading.Timer(0.05, child.go.set).start()
    found = resolver.exact(A)
    assert found is not None and found.bundle == bundle


def test_a_hostile_file_is_opened_once_and_the_last_good_stays(
    shelf: Shelf, resolver: Resolver, child: HeldChild
) -> None:
    old = make_bundle("a.test")
    shelf.publish(old)
    assert resolver.resolve("a.test") == old
    child.error = PfxHostile("not read within 4 s of CPU")
    child.go.set()
    put_slowly(shelf, make_bundle("a.test"))
    assert resolver.resolve("a.test") == old
    assert wait_until(lambda: "a.test.pfx" in resolver.state().refused)
    for _ in range(10):
        assert resolver.resolve("a.test") == old
    assert not resolver.coming("a.test")
    assert len(child.seen) == 1


def test_without_a_child_it_is_opened_here(
    shelf: Shelf, resolver: Resolver, child: HeldChild
) -> None:
    child.error = PfxError("no child process to read it in: told so")
    child.go.set()
    bundle = put_slowly(shelf, make_bundle("a.test"))
    assert wait_until(lambda: resolver.resolve("a.test") == bundle)


def test_an_rsa_key_and_one_that_shows_no_rounds_are_slow() -> None:
    lane = SlowLane()
    hidden = Path(__file__).parents[1] / "golden" / "pfx" / "bomb-inside.pfx"
    assert lane.is_slow(hidden.read_bytes())
    assert lane.is_slow(pfx.encode(make_bundle("a.test", key=generate("rsa-2048")), PASSWORD))
    assert not lane.is_slow(pfx.encode(make_bundle("a.test", key=generate("ecdsa-p384")), PASSWORD))
    assert not lane.is_slow(b"garbage")


def test_a_slow_copy_on_the_disk_is_opened_off_the_handshake_of_a_remote_shelf(
    tmp_path: Path, child: HeldChild
) -> None:
    disk = DiskCache(tmp_path / "cache")
    bundle = make_bundle("a.test")
    disk.put("a.test.pfx", pfx.encode(bundle, PASSWORD, rounds=SLOW_ROUNDS))
    resolver = Resolver(
        Shelf(RemoteStore(), PASSWORD), disk=disk, lane=SlowLane(lambda: child, workers=1)
    )
    try:
        assert resolver.resolve("a.test") is None
        child.go.set()
        assert wait_until(lambda: resolver.resolve("a.test") == bundle)
    finally:
        child.go.set()
        resolver.close()


def test_an_older_file_put_back_over_a_slow_copy_is_not_served(
    shelf: Shelf, tmp_path: Path, child: HeldChild
) -> None:
    disk = DiskCache(tmp_path / "cache")
    new = make_bundle("a.test")
    disk.put("a.test.pfx", pfx.encode(new, PASSWORD, rounds=SLOW_ROUNDS))
    put_slowly(shelf, make_bundle("a.test", start=datetime.now(UTC) - timedelta(days=20)))
    child.go.set()
    resolver = Resolver(shelf, disk=disk, lane=SlowLane(lambda: child, workers=1))
    try:
        assert wait_until(lambda: resolver.resolve("a.test") == new)
        assert wait_until(lambda: "a.test.pfx" in resolver.state().refused)
        assert resolver.resolve("a.test") == new
    finally:
        resolver.close()


def test_a_newer_file_takes_the_place_of_one_that_waits(child: HeldChild) -> None:
    lane = SlowLane(lambda: child, workers=1)
    done: list[str] = []
    lane.put("first", "1", lambda read: child.go.wait(20))
    assert wait_until(lambda: "first" in lane)
    lane.put("a", "1", lambda read: done.append("old"))
    lane.put("a", "2", lambda read: done.append("new"))
    child.go.set()
    assert wait_until(lambda: done == ["new"])
    lane.close()
    assert not lane.wait("a", 20)


def test_the_version_that_is_being_opened_is_not_opened_again(child: HeldChild) -> None:
    lane = SlowLane(lambda: child, workers=2)
    done: list[str] = []
    lane.put("a", "1", lambda read: child.go.wait(20) and done.append("1"))
    assert wait_until(lambda: not lane._jobs)
    lane.put("a", "1", lambda read: done.append("1 again"))
    lane.put("a", "2", lambda read: done.append("2"))  # waits: one version of a file at a time
    assert done == []
    child.go.set()
    assert wait_until(lambda: done == ["1", "2"])
    lane.close()


def test_a_file_without_end_holds_up_no_other_slow_file(shelf: Shelf, child: HeldChild) -> None:
    put_slowly(shelf, make_bundle("a.test"))
    bundle = put_slowly(shelf, make_bundle("b.test"), "b.test.pfx")
    endless = (shelf.store.get("a.test.pfx") or pytest.fail()).data

    class Stuck(GuardedChild):
        def decode(self, data: bytes, password: Secret | None) -> Bundle:
            return child.decode(data, password) if data == endless else pfx.decode(data, password)

    resolver = Resolver(shelf, lane=SlowLane(Stuck, workers=2))
    try:
        assert resolver.resolve("a.test") is None
        assert wait_until(lambda: resolver.resolve("b.test") == bundle)
        assert resolver.resolve("a.test") is None
    finally:
        child.go.set()
        resolver.close()


def test_a_process_that_nobody_needs_any_more_ends(child: HeldChild) -> None:
    children: list[HeldChild] = []

    def another() -> HeldChild:
        children.append(HeldChild())
        return children[-1]

    lane = SlowLane(another, workers=2, idle_s=0.01)
    for run in range(2):
        lane.put("a", str(run), lambda read: None)
        lane.wait("a", 20)
        assert wait_until(lambda run=run: [c.was_closed for c in children] == [True] * (run + 1))
    lane.close()
