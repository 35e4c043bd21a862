"""The resolver: what a handshake gets, whatever happens to the store."""

from __future__ import annotations

import os
import threading
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from tests.support.bundles import make_bundle
from tests.support.clock import FakeClock
from tests.support.processes import wait_until

from certshelf.errors import StoreUnreachable
from certshelf.names import HostName
from certshelf.resolve.disk import DiskCache
from certshelf.resolve.resolver import Resolver
from certshelf.secret import Secret, generate_password
from certshelf.shelf.manifest import record_key
from certshelf.shelf.shelf import Shelf
from certshelf.store.base import ANY
from certshelf.store.folder import FolderStore
from certshelf.store.memory import MemoryStore

PASSWORD = generate_password()


class CountingStore(MemoryStore):
    """Counts what the resolver asks, and fails when told to."""

    def __init__(self) -> None:
        super().__init__()
        self.asked: list[str] = []
        self.broken = False

    def _ask(self, what: str) -> None:
        self.asked.append(what)
        if self.broken:
            raise StoreUnreachable("cannot reach memory: told to fail")

    def get(self, key):  # type: ignore[no-untyped-def]
        self._ask(f"get {key}")
        return super().get(key)

    def look(self, key):  # type: ignore[no-untyped-def]
        self._ask(f"look {key}")
        return super().look(key)

    def list(self, folder=""):  # type: ignore[no-untyped-def]
        self._ask("list")
        return super().list(folder)


@pytest.fixture
def store() -> CountingStore:
    return CountingStore()


@pytest.fixture
def clock() -> FakeClock:
    return FakeClock(datetime.now(UTC))


@pytest.fixture
def shelf(store: CountingStore, clock: FakeClock) -> Shelf:
    return Shelf(store, PASSWORD, owner="manager", clock=clock)


def test_exact_then_wildcard_then_nothing(shelf: Shelf) -> None:
    exact, wild = make_bundle("a.shop.test"), make_bundle("*.shop.test")
    shelf.publish(exact)
    shelf.publish(wild)
    resolver = Resolver(shelf)
    assert resolver.resolve("A.shop.test.") == exact
    assert resolver.resolve("b.shop.test") == wild
    assert resolver.resolve("a.b.shop.test") is None
    assert resolver.resolve("shop.test") is None


def test_a_hosts_own_file_is_told_apart_from_its_wildcard(shelf: Shelf) -> None:
    wild = make_bundle("*.shop.test")
    shelf.publish(wild)
    resolver = Resolver(shelf).start()
    try:
        assert resolver.wait_ready(10)
        own, wildcard = HostName.parse("a.shop.test"), HostName.parse("*.shop.test")
        found = resolver.exact(wildcard)
        assert found is not None and found.bundle == wild
        assert resolver.exact(own) is None
        assert (resolver.holds(wildcard), resolver.holds(own)) == (True, False)
        assert resolver.known("a.shop.test")
    finally:
        resolver.close()


def test_names_that_are_not_allowed_are_neither_served_nor_listed(shelf: Shelf) -> None:
    for name in ("a.test", "b.test"):
        shelf.publish(make_bundle(name))
    resolver = Resolver(shelf, allow=lambda host: host.ascii == "a.test").start()
    try:
        assert resolver.wait_ready(10)
        assert [host.ascii for host in resolver.hosts()] == ["a.test"]
        assert resolver.exact(HostName.parse("b.test")) is None
        assert resolver.resolve("b.test") is None
    finally:
        resolver.close()


@pytest.mark.parametrize("sni", ["", "../x", "a/b", "a\0b", "1.2.3.4", "*.shop.test", "x" * 999])
def test_hostile_sni_is_nothing_and_costs_the_store_nothing(
    shelf: Shelf, store: CountingStore, sni: str
) -> None:
    shelf.publish(make_bundle("*.shop.test"))
    store.asked.clear()
    assert Resolver(shelf).resolve(sni) is None
    assert store.asked == []


def test_a_replaced_file_is_served_at_the_next_handshake(shelf: Shelf) -> None:
    old, new = make_bundle("a.test"), make_bundle("a.test")
    shelf.publish(old)
    resolver = Resolver(shelf)
    assert resolver.resolve("a.test") == old
    shelf.publish(new)
    assert resolver.resolve("a.test") == new


def test_a_warm_handshake_costs_one_look(shelf: Shelf, store: CountingStore) -> None:
    shelf.publish(make_bundle("a.test"))
    resolver = Resolver(shelf)
    resolver.resolve("a.test")
    store.asked.clear()
    resolver.resolve("a.test")
    assert store.asked == ["look a.test.pfx"]


@pytest.mark.parametrize(
    "bad",
    [
        b"garbage",
        b"",
        make_bundle("other.test").to_pfx(PASSWORD),
        make_bundle("a.test").to_pfx(Secret("another password")),
        make_bundle("a.test", start=datetime(2020, 1, 1, tzinfo=UTC)).to_pfx(PASSWORD),
        make_bundle("a.test", start=datetime.now(UTC) + timedelta(days=9)).to_pfx(PASSWORD),
    ],
    ids=["garbage", "empty", "other name", "other password", "expired", "not yet valid"],
)
def test_the_last_good_is_served_over_a_bad_file_that_is_read_once(
    shelf: Shelf, store: CountingStore, bad: bytes
) -> None:
    good = make_bundle("a.test")
    shelf.publish(good)
    resolver = Resolver(shelf)
    assert resolver.resolve("a.test") == good
    store.put("a.test.pfx", bad, ANY)
    assert resolver.resolve("a.test") == good
    store.asked.clear()
    assert resolver.resolve("a.test") == good
    assert "get a.test.pfx" not in store.asked
    assert "a.test.pfx" in resolver.state().refused


def test_an_error_or_a_missing_file_never_drops_what_is_served(
    shelf: Shelf, store: CountingStore
) -> None:
    good = make_bundle("a.test")
    shelf.publish(good)
    resolver = Resolver(shelf)
    resolver.resolve("a.test")
    store.broken = True
    assert resolver.resolve("a.test") == good
    store.broken = False
    store.delete("a.test.pfx")
    assert resolver.resolve("a.test") == good
    assert resolver.state().store_errors > 0


def test_nothing_is_served_after_its_not_after(shelf: Shelf, clock: FakeClock) -> None:
    shelf.publish(make_bundle("a.test", days=1))
    resolver = Resolver(shelf)
    assert resolver.resolve("a.test") is not None
    clock.advance(2 * 86400)
    assert resolver.resolve("a.test") is None


def test_12_an_older_file_is_not_served_unless_its_record_says_rollback(shelf: Shelf) -> None:
    new = make_bundle("a.test")
    old = make_bundle("a.test", start=datetime.now(UTC) - timedelta(days=3))
    shelf.publish(new)
    resolver = Resolver(shelf)
    assert resolver.resolve("a.test") == new
    shelf.store.put("a.test.pfx", old.to_pfx(PASSWORD), ANY)
    assert resolver.resolve("a.test") == new
    assert shelf.publish(old, older=True, adopt=True).ok
    assert resolver.resolve("a.test") == old


def test_a_flood_of_unknown_names_costs_the_store_a_bounded_number_of_looks(
    shelf: Shelf, store: CountingStore
) -> None:
    known = make_bundle("a.test")
    shelf.publish(known)
    resolver = Resolver(shelf).start()
    assert resolver.wait_ready(10)
    store.asked.clear()
    for n in range(5000):
        assert resolver.resolve(f"x{n}.flood.test") is None
    assert len(store.asked) <= 200
    assert resolver.resolve("a.test") == known
    resolver.close()


def test_a_refused_file_is_told_once_for_each_version(shelf: Shelf, store: CountingStore) -> None:
    shelf.publish(make_bundle("a.test"))
    told: list[tuple[str, str]] = []
    resolver = Resolver(shelf, on_refused=lambda file, why: told.append((file, why)))
    assert resolver.resolve("a.test")
    for data in (b"garbage", b"other garbage"):
        store.put("a.test.pfx", data, ANY)
        for _ in range(3):
            assert resolver.resolve("a.test")
    assert [file for file, _ in told] == ["a.test.pfx"] * 2
    assert "not a PFX" in told[0][1]


def test_listeners_hear_the_a_label_of_a_unicode_file(shelf: Shelf) -> None:
    heard: list[frozenset[str]] = []
    resolver = Resolver(shelf)
    resolver.subscribe(heard.append)
    resolver.tell(frozenset({"bücher.test", "_.bücher.test", "_.a.test", "a_ü?"}))
    resolver.tell(frozenset({"a_ü?"}))  # no host's: nothing to tell, least of all "all"
    assert heard == [{"xn--bcher-kva.test", "*.xn--bcher-kva.test", "*.a.test"}]


def test_a_retired_name_is_dropped_and_listeners_hear_of_it(shelf: Shelf) -> None:
    shelf.publish(make_bundle("a.test"))
    resolver = Resolver(shelf)
    heard: list[frozenset[str]] = []
    resolver.subscribe(heard.append)
    resolver.resolve("a.test")
    shelf.retire(HostName.parse("a.test"))
    resolver.settle("a.test.pfx")
    assert resolver.resolve("a.test") is None
    assert heard[-1] == {"a.test"}


def test_with_a_public_key_only_vouched_bytes_are_served(
    store: CountingStore, clock: FakeClock
) -> None:
    key = Ed25519PrivateKey.generate()
    writer = Shelf(store, PASSWORD, owner="manager", signing_key=key, clock=clock)
    reader = Shelf(store, PASSWORD, public_key=key.public_key(), clock=clock)
    good = make_bundle("a.test")
    writer.publish(good)
    resolver = Resolver(reader)
    assert resolver.resolve("a.test") == good
    store.put("a.test.pfx", make_bundle("a.test").to_pfx(PASSWORD), ANY)
    assert resolver.resolve("a.test") == good
    store.delete(record_key("a.test.pfx"))
    assert resolver.resolve("a.test") == good
    assert Resolver(reader).resolve("a.test") is None
    assert "no signed record" in resolver.state().refused["a.test.pfx"]


def test_bytes_that_replace_bad_ones_while_they_are_read_are_not_taken_for_bad(
    shelf: Shelf, store: CountingStore
) -> None:
    """The version that is refused is the one that was read, not the one that lies there now."""
    good, newer = make_bundle("a.test"), make_bundle("a.test")
    shelf.publish(good)
    resolver = Resolver(shelf)
    resolver.resolve("a.test")
    store.put("a.test.pfx", b"garbage", ANY)
    real = store.get

    def get_then_replace(key: str):  # type: ignore[no-untyped-def]
        blob = real(key)
        if key == "a.test.pfx" and blob and blob.data == b"garbage":
            store.put("a.test.pfx", newer.to_pfx(PASSWORD), ANY)
        return blob

    store.get = get_then_replace  # type: ignore[method-assign]
    assert resolver.resolve("a.test") == good
    assert resolver.resolve("a.test") == newer


@pytest.mark.skipif(not hasattr(os, "fork"), reason="no pre-fork servers here")
def test_background_work_goes_on_in_a_forked_worker(tmp_path: Path) -> None:
    shelf = Shelf(FolderStore(tmp_path), PASSWORD, owner="manager")
    shelf.publish(make_bundle("a.test"))
    resolver = Resolver(shelf).start()
    assert resolver.wait_ready(10)
    pid = os.fork()
    if pid == 0:
        found = resolver.resolve("a.test") is not None
        alive = [t for t in threading.enumerate() if t.name == "certshelf-keeper"]
        os._exit(0 if found and alive else 1)
    assert os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) == 0
    resolver.close()


def test_a_file_for_tomorrow_is_served_tomorrow(shelf: Shelf, clock: FakeClock) -> None:
    today = make_bundle("a.test")
    tomorrow = make_bundle("a.test", start=clock.now() + timedelta(days=1))
    shelf.publish(today)
    resolver = Resolver(shelf)
    assert resolver.resolve("a.test") == today
    shelf.store.put("a.test.pfx", tomorrow.to_pfx(PASSWORD), ANY)
    assert resolver.resolve("a.test") == today
    clock.advance(86400 + 60)
    assert resolver.resolve("a.test") == tomorrow


def test_a_record_that_comes_after_the_file_makes_it_good(
    store: CountingStore, clock: FakeClock
) -> None:
    key = Ed25519PrivateKey.generate()
    writer = Shelf(store, PASSWORD, owner="manager", signing_key=key, clock=clock)
    resolver = Resolver(Shelf(store, PASSWORD, public_key=key.public_key(), clock=clock))
    bundle = make_bundle("a.test")
    writer.publish(bundle)
    record = store.get(record_key("a.test.pfx"))
    store.delete(record_key("a.test.pfx"))
    assert resolver.resolve("a.test") is None
    store.put(record_key("a.test.pfx"), record.data, ANY)
    clock.advance(15)
    assert resolver.resolve("a.test") == bundle


def test_bytes_that_nobody_foresaw_do_not_drop_what_is_served(
    shelf: Shelf, monkeypatch: pytest.MonkeyPatch
) -> None:
    good = make_bundle("a.test")
    shelf.publish(good)
    resolver = Resolver(shelf)
    assert resolver.resolve("a.test") == good
    shelf.store.put("a.test.pfx", b"poison", ANY)

    def fail(*_: object) -> None:
        raise MemoryError

    monkeypatch.setattr("certshelf.resolve.resolver.accept", fail)
    assert resolver.resolve("a.test") == good
    assert resolver.state().surprises == 1
    assert "unforeseen" in resolver.state().refused["a.test.pfx"]


def test_a_listener_that_fails_does_not_end_the_keepers_thread(
    shelf: Shelf, store: CountingStore
) -> None:
    shelf.publish(make_bundle("a.test"))
    resolver = Resolver(shelf, poll_seconds=0.01)

    def fail(_: frozenset[str]) -> None:
        raise ValueError("a listener's own fault")

    resolver.start()
    try:
        assert resolver.wait_ready(10)
        resolver.subscribe(fail)
        shelf.publish(make_bundle("b.test"))
        wait_until(lambda: resolver.state().surprises > 0, "the listener's error")
        shelf.publish(make_bundle("c.test"))
        wait_until(lambda: resolver.holds(HostName.parse("c.test")), "the next listing")
    finally:
        resolver.close()


def test_an_old_record_put_back_with_its_file_is_seen_also_after_a_restart(
    store: CountingStore, clock: FakeClock, tmp_path: Path
) -> None:
    """Record and PFX rolled back together: only a reader that remembers generations can tell."""
    key = Ed25519PrivateKey.generate()
    writer = Shelf(store, PASSWORD, owner="manager", signing_key=key, clock=clock)
    reader = Shelf(store, PASSWORD, public_key=key.public_key(), clock=clock)
    writer.publish(make_bundle("a.test"))
    names = ("a.test.pfx", record_key("a.test.pfx"))
    before = {name: store.get(name).data for name in names}
    new = make_bundle("a.test")
    writer.publish(new)
    resolver = Resolver(reader, disk=DiskCache(tmp_path))
    assert resolver.resolve("a.test") == new
    for name, data in before.items():
        store.put(name, data, ANY)
    assert resolver.resolve("a.test") == new
    assert "generation 2 was seen already" in resolver.state().refused["a.test.pfx"]
    restarted = Resolver(reader, disk=DiskCache(tmp_path))
    assert restarted.resolve("a.test") == new
    assert Resolver(reader).resolve("a.test") != new  # no memory: it cannot tell
    newest = make_bundle("a.test")
    assert writer.publish(newest, adopt=True).ok
    assert writer.publish(newest, adopt=True).ok


def test_a_store_that_was_away_at_the_start_is_caught_up_with(
    shelf: Shelf, store: CountingStore, tmp_path: Path
) -> None:
    """A server that held the old certificate all the while hears of the new one."""
    old, new = make_bundle("a.test"), make_bundle("a.test")
    disk = DiskCache(tmp_path)
    disk.put("a.test.pfx", old.to_pfx(PASSWORD))
    store.broken = True
    resolver = Resolver(shelf, disk=disk, poll_seconds=0.05)
    heard: list[frozenset[str]] = []
    resolver.subscribe(heard.append)
    resolver.start()
    assert resolver.resolve("a.test") == old
    wait_until(lambda: resolver.state().store_errors > 0, "the store's error")
    store.broken = False
    shelf.publish(new)
    assert resolver.wait_ready(20)
    wait_until(lambda: resolver.resolve("a.test") == new, "the new certificate")
    wait_until(lambda: frozenset() in heard, "the call to look at all")
    resolver.close()
