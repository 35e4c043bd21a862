"""Publishing: one result per file, the truth about each, and nobody else's file is touched."""

from __future__ import annotations

import os
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from tests.support.bundles import make_bundle
from tests.support.certificates import INSIDE
from tests.support.certificates import bundle as bundle_below
from tests.support.clock import FakeClock

from certshelf.bundle.model import Bundle
from certshelf.errors import (
    BundleRefused,
    ForeignFile,
    OlderBundle,
    RecordInvalid,
    StoreConflict,
    StoreFull,
)
from certshelf.names import HostName
from certshelf.secret import Secret, generate_password
from certshelf.shelf.manifest import record_key
from certshelf.shelf.publish import Outcome
from certshelf.shelf.shelf import Shelf
from certshelf.store.base import ANY
from certshelf.store.folder import FolderStore
from certshelf.store.memory import MemoryStore

PASSWORD = generate_password()
NOW = datetime.now(UTC).replace(microsecond=0)


def a_shelf(store: MemoryStore | None = None, owner: str = "manager-1", **more: object) -> Shelf:
    return Shelf(store or MemoryStore(), PASSWORD, owner=owner, **more)  # type: ignore[arg-type]


def files(shelf: Shelf) -> set[str]:
    return {entry.key for entry in shelf.store.list()}


def test_each_name_gets_its_file_and_an_idn_two() -> None:
    shelf = a_shelf()
    publication = shelf.publish(make_bundle("www.example.test", "*.shop.test", "bücher.test"))
    assert publication.ok
    assert files(shelf) == {
        "www.example.test.pfx",
        "_.shop.test.pfx",
        "bücher.test.pfx",
        "xn--bcher-kva.test.pfx",
    }
    assert {r.outcome for r in publication.results} == {Outcome.NEW}


def test_publishing_the_same_bundle_again_changes_nothing() -> None:
    shelf = a_shelf()
    bundle = make_bundle("a.test")
    shelf.publish(bundle)
    before = shelf.store.get("a.test.pfx")
    assert [r.outcome for r in shelf.publish(bundle).results] == [Outcome.UNCHANGED]
    assert shelf.store.get("a.test.pfx") == before


def test_another_chain_under_the_same_leaf_replaces_the_file() -> None:
    shelf = a_shelf(clock=FakeClock(INSIDE))
    bundle = bundle_below("a.test")
    assert shelf.publish(replace(bundle, chain=())).ok
    assert [r.outcome for r in shelf.publish(bundle).results] == [Outcome.REPLACED]
    there = shelf.store.get("a.test.pfx")
    assert there is not None
    assert Bundle.from_pfx(there.data, PASSWORD).chain == bundle.chain
    assert [r.outcome for r in shelf.publish(bundle).results] == [Outcome.UNCHANGED]


def test_a_renewed_bundle_replaces_the_old_one() -> None:
    shelf = a_shelf()
    old, new = make_bundle("a.test"), make_bundle("a.test")
    shelf.publish(old)
    (result,) = shelf.publish(new).results
    assert (result.outcome, result.old_thumbprint) == (Outcome.REPLACED, old.thumbprint)
    found = shelf.find(HostName.parse("a.test"))
    assert found and found.file.bundle == new
    assert found.file.generation == 2


def test_a_foreign_file_is_kept_unless_adopted() -> None:
    shelf = a_shelf()
    foreign = make_bundle("a.test").to_pfx(PASSWORD)
    shelf.store.put("a.test.pfx", foreign, ANY)
    bundle = make_bundle("a.test")
    (refused,) = shelf.publish(bundle).results
    assert refused.outcome is Outcome.REFUSED
    assert isinstance(refused.error, ForeignFile)
    blob = shelf.store.get("a.test.pfx")
    assert blob and blob.data == foreign
    assert shelf.publish(bundle, adopt=True).ok


def test_another_managers_file_is_foreign() -> None:
    store = MemoryStore()
    a_shelf(store, "manager-1").publish(make_bundle("a.test"))
    (result,) = a_shelf(store, "manager-2").publish(make_bundle("a.test")).results
    assert isinstance(result.error, ForeignFile)


def test_damage_to_our_file_is_repaired_but_a_pfx_put_in_its_place_is_kept() -> None:
    shelf = a_shelf()
    shelf.publish(make_bundle("a.test"))
    shelf.store.put("a.test.pfx", b"garbage", ANY)
    assert shelf.publish(make_bundle("a.test")).ok
    shelf.store.put("a.test.pfx", make_bundle("a.test").to_pfx(Secret("another")), ANY)
    (result,) = shelf.publish(make_bundle("a.test")).results
    assert isinstance(result.error, ForeignFile)


@pytest.mark.parametrize(
    ("start", "days"), [(NOW - timedelta(days=9), 2), (NOW + timedelta(days=1), 9)]
)
def test_an_expired_or_not_yet_valid_bundle_is_refused(start: datetime, days: int) -> None:
    shelf = a_shelf()
    (result,) = shelf.publish(make_bundle("a.test", start=start, days=days)).results
    assert result.outcome is Outcome.REFUSED
    assert not files(shelf)


def test_a_name_that_is_not_covered_is_refused_and_the_others_are_published() -> None:
    shelf = a_shelf()
    hosts = [HostName.parse("a.test"), HostName.parse("b.test")]
    publication = shelf.publish(make_bundle("a.test"), hosts)
    assert [r.ok for r in publication.results] == [True, False]
    assert isinstance(publication.results[1].error, BundleRefused)
    assert not publication.ok


def test_an_older_bundle_is_refused_unless_told_and_then_the_record_says_rollback() -> None:
    shelf = a_shelf()
    old = make_bundle("a.test", start=NOW - timedelta(days=5))
    shelf.publish(make_bundle("a.test"))
    (result,) = shelf.publish(old).results
    assert isinstance(result.error, OlderBundle)
    assert shelf.publish(old, older=True).ok
    seen = shelf.manifest.read("a.test.pfx")
    assert seen and seen[0].rollback


def test_one_failing_file_makes_the_publication_red_and_keeps_the_old_file() -> None:
    class FullFor(MemoryStore):
        def put(self, key, data, expect):  # type: ignore[no-untyped-def]
            if key == "b.test.pfx" and self.get(key):
                raise StoreFull("cannot write b.test.pfx: no space left")
            return super().put(key, data, expect)

    shelf = a_shelf(FullFor())
    old = make_bundle("a.test", "b.test")
    shelf.publish(old)
    publication = shelf.publish(make_bundle("a.test", "b.test"))
    assert not publication.ok
    assert [r.outcome for r in publication.results] == [Outcome.REPLACED, Outcome.FAILED]
    found = shelf.find(HostName.parse("b.test"))
    assert found and found.file.bundle == old
    assert found.file.problems == ()  # the record still vouches for the old bytes


def test_a_late_writer_meets_a_conflict() -> None:
    store = MemoryStore()
    shelf = a_shelf(store)
    shelf.publish(make_bundle("a.test"))
    seen = shelf.manifest.read("a.test.pfx")
    assert seen
    shelf.publish(make_bundle("a.test"))
    with pytest.raises(StoreConflict):
        shelf.manifest.write(replace(seen[0], generation=9), seen[1])


def test_a_forged_record_is_refused() -> None:
    key = Ed25519PrivateKey.generate()
    shelf = a_shelf(signing_key=key)
    shelf.publish(make_bundle("a.test"))
    blob = shelf.store.get(record_key("a.test.pfx"))
    assert blob
    forged = blob.data.replace(b'"generation":1', b'"generation":7')
    shelf.store.put(record_key("a.test.pfx"), forged, ANY)
    with pytest.raises(RecordInvalid, match="signature"):
        shelf.manifest.read("a.test.pfx")
    assert [f.id for f in shelf.verify() if f.severity == "error"] == ["record-invalid"]


def test_retire_removes_ours_says_so_in_the_record_and_never_a_foreign_file() -> None:
    shelf = a_shelf()
    shelf.publish(make_bundle("bücher.test"))
    assert shelf.retire(HostName.parse("bücher.test")) == (
        "xn--bcher-kva.test.pfx",
        "bücher.test.pfx",
    )
    assert not files(shelf)
    assert shelf.retire(HostName.parse("bücher.test")) == ()
    assert not [f for f in shelf.verify() if f.severity == "error"]
    shelf.store.put("a.test.pfx", b"theirs", ANY)
    with pytest.raises(ForeignFile):
        shelf.retire(HostName.parse("a.test"))


def test_verify_names_what_is_wrong() -> None:
    shelf = a_shelf()
    shelf.publish(make_bundle("a.test", "b.test", "c.test"))
    shelf.store.put("a.test.pfx", b"garbage", ANY)
    shelf.store.delete("b.test.pfx")
    shelf.store.put("C.test.PFX", make_bundle("c.test").to_pfx(PASSWORD), ANY)
    shelf.store.put("d.test.pfx", make_bundle("x.test").to_pfx(PASSWORD), ANY)
    shelf.store.put("e.test.pfx", make_bundle("e.test").to_pfx(Secret("other")), ANY)
    shelf.store.put("-e.test.pfx", make_bundle("e.test").to_pfx(PASSWORD), ANY)
    wrong = {(f.id, f.subject) for f in shelf.verify() if f.severity in ("error", "warning")}
    assert wrong == {
        ("pfx-unreadable", "a.test.pfx"),
        ("file-changed", "a.test.pfx"),
        ("file-vanished", "b.test.pfx"),
        ("file-twins", "C.test.PFX"),
        ("name-not-covered", "d.test.pfx"),
        ("pfx-password", "e.test.pfx"),
        ("file-name-invalid", "-e.test.pfx"),
    }


def test_no_secret_in_any_repr() -> None:
    shelf = a_shelf()
    bundle = make_bundle("a.test")
    publication = shelf.publish(bundle)
    text = repr((shelf, shelf.passwords, publication, shelf.look_at("a.test.pfx")))
    assert PASSWORD.reveal() not in text
    assert "PRIVATE" not in text


@pytest.mark.skipif(os.name == "nt", reason="Windows keeps no such names")
def test_verify_names_what_no_store_gives_out(tmp_path: Path) -> None:
    shelf = Shelf(FolderStore(tmp_path), PASSWORD, owner="manager")
    shelf.publish(make_bundle("a.test"))
    (tmp_path / "con.a.test.pfx").write_bytes((tmp_path / "a.test.pfx").read_bytes())
    (tmp_path / "link.test.pfx").symlink_to(tmp_path / "a.test.pfx")
    (tmp_path / "folder.test.PFX").mkdir()
    (tmp_path / os.fsdecode(b"\xff.test.pfx")).write_bytes(b"")
    (tmp_path / "readme?.txt").write_bytes(b"not of a shelf")
    found = {(f.id, f.subject) for f in shelf.verify()}
    names = {"con.a.test.pfx", "link.test.pfx", "folder.test.PFX", "?.test.pfx"}
    assert found == {("file-left-out", name) for name in names}
