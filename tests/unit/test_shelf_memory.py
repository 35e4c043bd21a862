"""The shelf's memory: history, rollback, taking over, giving back, rewriting, verifying."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from tests.support.bundles import make_bundle
from tests.support.clock import FakeClock

from certshelf.bundle.model import PfxProfile
from certshelf.errors import ForeignFile, ShelfError
from certshelf.names import HostName
from certshelf.resolve.resolver import Resolver
from certshelf.secret import generate_password
from certshelf.shelf.adopt import survey
from certshelf.shelf.history import History
from certshelf.shelf.publish import Publication, Result
from certshelf.shelf.rewrite import Skipped, rewrite
from certshelf.shelf.shelf import Shelf
from certshelf.shelf.verified import Verified
from certshelf.store.base import ANY, Entry
from certshelf.store.memory import MemoryStore

PASSWORD = generate_password()
HOST = HostName.parse("a.test")
NOW = datetime.now(UTC).replace(microsecond=0)


@pytest.fixture
def clock() -> FakeClock:
    return FakeClock(NOW)


@pytest.fixture
def shelf(clock: FakeClock) -> Shelf:
    history = History(MemoryStore(), clock, keep=5)
    return Shelf(MemoryStore(), PASSWORD, owner="manager", history=history, clock=clock)


def test_the_last_five_versions_are_kept(shelf: Shelf, clock: FakeClock) -> None:
    for _ in range(8):
        shelf.publish(make_bundle("a.test"))
        clock.advance(60)
    past = shelf.past(HOST)
    assert len(past) == 5
    assert past == sorted(past, key=lambda p: p.replaced_at, reverse=True)


def test_versions_older_than_the_days_allowed_are_let_go(clock: FakeClock) -> None:
    history = History(MemoryStore(), clock, keep=5, keep_days=2)
    shelf = Shelf(MemoryStore(), PASSWORD, owner="manager", history=history, clock=clock)
    shelf.publish(make_bundle("a.test"))
    shelf.publish(make_bundle("a.test"))
    clock.advance(3 * 86400)
    shelf.publish(make_bundle("a.test"))
    assert [p.replaced_at for p in shelf.past(HOST)] == [clock.now()]


def test_restore_is_a_rollback_that_readers_follow(shelf: Shelf) -> None:
    old = make_bundle("a.test", start=NOW - timedelta(days=2))
    new = make_bundle("a.test")
    shelf.publish(old)
    shelf.publish(new)
    resolver = Resolver(shelf)
    assert resolver.resolve("a.test") == new
    assert shelf.restore(HOST).ok
    assert resolver.resolve("a.test") == old
    assert shelf.restore(HOST, shelf.past(HOST)[0].version).ok
    assert resolver.resolve("a.test") == new
    with pytest.raises(ShelfError, match="no version"):
        shelf.restore(HOST, "20000101T000000000000Z")


def test_nothing_of_the_history_lies_on_the_shelf(shelf: Shelf) -> None:
    shelf.publish(make_bundle("a.test"))
    shelf.publish(make_bundle("a.test"))
    assert list(shelf.store.list(".certshelf/history/a.test")) == []


def test_take_over_touches_nothing_and_can_be_undone_after_a_renewal(shelf: Shelf) -> None:
    theirs = make_bundle("a.test").to_pfx(PASSWORD)
    shelf.store.put("a.test.pfx", theirs, ANY)
    before = shelf.store.get("a.test.pfx")
    assert shelf.adopt(HOST) == ("a.test.pfx",)
    assert shelf.store.get("a.test.pfx") == before
    assert shelf.adopt(HOST) == ()
    assert shelf.publish(make_bundle("a.test")).ok
    assert shelf.give_back(HOST) == ("a.test.pfx",)
    blob = shelf.store.get("a.test.pfx")
    assert blob and blob.data == theirs
    assert not shelf.publish(make_bundle("a.test")).ok  # theirs again
    assert shelf.give_back(HOST) == ()


def test_an_adopting_publish_can_be_undone_too(shelf: Shelf) -> None:
    theirs = make_bundle("a.test").to_pfx(PASSWORD)
    shelf.store.put("a.test.pfx", theirs, ANY)
    assert shelf.publish(make_bundle("a.test"), adopt=True).ok
    shelf.give_back(HOST)
    blob = shelf.store.get("a.test.pfx")
    assert blob and blob.data == theirs


def test_what_we_made_is_not_given_back(shelf: Shelf) -> None:
    shelf.publish(make_bundle("a.test"))
    with pytest.raises(ShelfError, match="it made it"):
        shelf.give_back(HOST)


def test_another_managers_name_is_not_taken_over(shelf: Shelf) -> None:
    Shelf(shelf.store, PASSWORD, owner="other", clock=shelf.clock).publish(make_bundle("a.test"))
    with pytest.raises(ForeignFile):
        shelf.adopt(HOST)


def test_a_survey_counts_and_changes_nothing(shelf: Shelf) -> None:
    shelf.publish(make_bundle("ours.test"))
    shelf.store.put("a.test.pfx", make_bundle("a.test").to_pfx(PASSWORD), ANY)
    old = make_bundle("b.test").to_pfx(PASSWORD, PfxProfile.WINDOWS_2016)
    shelf.store.put("b.test.pfx", old, ANY)
    shelf.store.put("c.test.pfx", b"garbage", ANY)
    before = {entry.key: entry.version for entry in shelf.store.list()}
    counts = survey(shelf.inventory(), shelf.owner)
    assert (counts.files, counts.readable, counts.ours, counts.too_new) == (4, 3, 1, 2)
    assert counts.problems == {"pfx-unreadable": 1}
    assert {entry.key: entry.version for entry in shelf.store.list()} == before


def test_rewrite_changes_the_encryption_and_no_certificate(shelf: Shelf) -> None:
    bundle = make_bundle("a.test", "bücher.test")
    shelf.publish(bundle)
    shelf.store.put("foreign.test.pfx", make_bundle("foreign.test").to_pfx(PASSWORD), ANY)
    shelf.profile = PfxProfile.WINDOWS_2016
    outcomes = list(rewrite(shelf, shelf))
    assert len([o for o in outcomes if isinstance(o, Result) and o.ok]) == 3
    assert [o.file for o in outcomes if isinstance(o, Skipped)] == ["foreign.test.pfx"]
    for file in shelf.inventory():
        if file.owner:
            assert (file.profile, file.bundle) == (PfxProfile.WINDOWS_2016, bundle)
    assert all(isinstance(o, Skipped) or o.outcome == "unchanged" for o in rewrite(shelf, shelf))


class ListingStore(MemoryStore):
    """Counts reads; can show a changed file at its old version, as some file systems do."""

    def __init__(self) -> None:
        super().__init__()
        self.reads = 0
        self.frozen: list[Entry] | None = None

    def get(self, key):  # type: ignore[no-untyped-def]
        self.reads += 1
        return super().get(key)

    def list(self, folder: str = "") -> Iterator[Entry]:
        if self.frozen is not None and folder == "":
            return iter(self.frozen)
        return super().list(folder)


def test_a_second_verify_reads_nothing_and_full_finds_what_no_version_shows(
    clock: FakeClock,
) -> None:
    store = ListingStore()
    shelf = Shelf(store, PASSWORD, owner="manager", clock=clock)
    for n in range(20):
        shelf.publish(make_bundle(f"h{n}.test", days=30))
    verified = Verified()
    assert list(shelf.verify(verified)) == []
    store.reads = 0
    again = Verified.load(list(verified.lines()))
    assert list(shelf.verify(again)) == []
    assert store.reads == 0
    store.frozen = list(store.list())
    store.put("h3.test.pfx", b"garbage", ANY)
    assert list(shelf.verify(again)) == []
    assert {f.subject for f in shelf.verify(Verified())} == {"h3.test.pfx"}
    store.frozen = None
    assert {f.subject for f in shelf.verify(again)} == {"h3.test.pfx"}


def test_what_was_verified_is_looked_at_again_when_it_expires(clock: FakeClock) -> None:
    shelf = Shelf(MemoryStore(), PASSWORD, owner="manager", clock=clock)
    shelf.publish(make_bundle("a.test", days=1))
    verified = Verified()
    assert list(shelf.verify(verified)) == []
    clock.advance(2 * 86400)
    assert [f.id for f in shelf.verify(verified)] == ["expired"]


def test_a_retired_name_can_be_restored(shelf: Shelf) -> None:
    bundle = make_bundle("a.test")
    shelf.publish(bundle)
    assert shelf.retire(HOST) == ("a.test.pfx",)
    assert shelf.find(HOST) is None
    assert shelf.restore(HOST).ok
    found = shelf.find(HOST)
    assert found and found.file.bundle == bundle


def everything(shelf: Shelf) -> dict[str, bytes]:
    stores = (shelf.store, shelf.history._store) if shelf.history else (shelf.store,)
    found = {}
    for number, store in enumerate(stores):
        for folder in ("", ".certshelf/records", ".certshelf/history/a.test"):
            for entry in store.list(folder):
                blob = store.get(entry.key)
                found[f"{number} {entry.key}"] = blob.data if blob else b""
    return found


def test_a_dry_run_says_what_would_be_done_and_does_nothing(shelf: Shelf) -> None:
    old, new, foreign = make_bundle("a.test"), make_bundle("a.test"), HostName.parse("b.test")
    shelf.publish(old)
    shelf.publish(new)
    shelf.store.put("b.test.pfx", make_bundle("b.test").to_pfx(PASSWORD), ANY)
    before = everything(shelf)

    def outcomes(publication: Publication) -> list[str]:
        return [result.outcome.value for result in publication.results]

    assert outcomes(shelf.publish(make_bundle("a.test"), dry_run=True)) == ["replaced"]
    assert outcomes(shelf.publish(make_bundle("c.test"), dry_run=True)) == ["new"]
    assert outcomes(shelf.publish(make_bundle("b.test"), dry_run=True)) == ["refused"]
    assert outcomes(shelf.publish(new, dry_run=True)) == ["unchanged"]
    assert outcomes(shelf.restore(HOST, dry_run=True)) == ["replaced"]
    assert shelf.adopt(foreign, dry_run=True) == ("b.test.pfx",)
    shelf.profile = PfxProfile.WINDOWS_2016
    results = [r for r in rewrite(shelf, shelf, dry_run=True) if isinstance(r, Result)]
    assert [(r.file, r.outcome.value) for r in results] == [("a.test.pfx", "replaced")]
    assert everything(shelf) == before
    shelf.adopt(foreign)
    before = everything(shelf)
    assert shelf.give_back(foreign, dry_run=True) == ("b.test.pfx",)
    assert everything(shelf) == before


def test_what_windows_2016_cannot_read_is_known_of_each_file(shelf: Shelf) -> None:
    golden = Path(__file__).parents[1] / "golden" / "pfx"
    names = ("modern", "windows-2016", "rc2-40", "sha512-mac", "aes-128-sha1-mac")
    for name in names:
        shelf.store.put(f"{name}.test.pfx", (golden / f"{name}.pfx").read_bytes(), ANY)
    old = {f.file.partition(".")[0] for f in shelf.inventory() if not f.is_too_new}
    assert old == {"windows-2016", "rc2-40"}
