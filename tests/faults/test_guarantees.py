"""What store, shelf and reader promise, by the numbers of docs/reference/guarantees.md.

Sentences that need a real server, a kill or a full disk have their tests beside those; the page
names them all.
"""

from __future__ import annotations

import random
import shutil
import threading
import time
import tracemalloc
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from hypothesis import given
from hypothesis import strategies as st

from certshelf.bundle.model import Bundle
from certshelf.errors import (
    NameInvalid,
    StoreBadCredentials,
    StoreBusy,
    StoreCorrupt,
    StoreDenied,
    StoreError,
    StoreNotFound,
    StoreTimeout,
    StoreUnreachable,
)
from certshelf.finding import Severity
from certshelf.names import HostName
from certshelf.resolve.disk import DiskCache
from certshelf.resolve.resolver import Resolver
from certshelf.secret import Secret, generate_password
from certshelf.shelf.shelf import Shelf
from certshelf.store.base import ANY, MAX_BYTES, Blob, Entry, Version
from certshelf.store.folder import FolderStore
from certshelf.store.memory import MemoryStore
from tests.support.bundles import make_bundle
from tests.support.clock import FakeClock

PASSWORD = generate_password()
HOST = "www.example.test"
FILE = f"{HOST}.pfx"
GOLDEN = Path(__file__).parent.parent / "golden" / "pfx"


class AskedStore(MemoryStore):
    """Remembers what it was asked and by which thread, and fails when told to."""

    def __init__(self, *, remote: bool = False) -> None:
        super().__init__()
        self.asked: list[tuple[str, str, str]] = []
        self.error: StoreError | None = None
        self._remote = remote

    @property
    def is_local(self) -> bool:
        return not self._remote

    def keys(self) -> set[str]:
        return {key for _, key, _ in self.asked}

    def listing_threads(self) -> set[str]:
        return {thread for what, _, thread in self.asked if what == "list"}

    def _ask(self, what: str, key: str) -> None:
        self.asked.append((what, key, threading.current_thread().name))
        if self.error is not None:
            raise self.error

    def get(self, key: str) -> Blob | None:
        self._ask("get", key)
        return super().get(key)

    def look(self, key: str) -> Version | None:
        self._ask("look", key)
        return super().look(key)

    def list(self, folder: str = "") -> Iterator[Entry]:
        self._ask("list", folder)
        return super().list(folder)


@contextmanager
def running(resolver: Resolver) -> Iterator[Resolver]:
    try:
        yield resolver.start()
    finally:
        resolver.close()


def wait_until(is_so: Callable[[], bool], what: str, seconds: float = 30.0) -> None:
    end = time.monotonic() + seconds
    while not is_so():
        assert time.monotonic() < end, f"not so after {seconds:.0f} s: {what}"
        time.sleep(0.01)


# --- 5: one bad answer never drops what is served


@pytest.mark.parametrize(
    "error",
    [
        StoreNotFound("told to"),
        StoreDenied("told to"),
        StoreBadCredentials("told to"),
        StoreBusy("told to"),
        StoreTimeout("told to"),
        StoreUnreachable("told to"),
        StoreCorrupt("told to"),
    ],
    ids=lambda error: error.kind,
)
@pytest.mark.parametrize("remote", [False, True], ids=["local", "remote"])
def test_5_no_answer_of_the_store_drops_what_is_served(error: StoreError, remote: bool) -> None:
    store = AskedStore(remote=remote)
    shelf = Shelf(store, PASSWORD, owner="m")
    good = make_bundle(HOST)
    shelf.publish(good)
    with running(Resolver(shelf, poll_seconds=0.05)) as resolver:
        wait_until(lambda: resolver.resolve(HOST) == good, "served")
        store.error = error
        before = len(store.asked)
        resolver.resolve(HOST)
        wait_until(lambda: len(store.asked) > before, "the store was asked again")
        assert resolver.resolve(HOST) == good


# --- 6: ten kinds


def test_6_there_are_ten_kinds_of_error_and_the_page_names_each() -> None:
    def below(kind: type[StoreError]) -> Iterator[type[StoreError]]:
        for child in kind.__subclasses__():
            yield child
            yield from below(child)

    kinds = {error.kind for error in below(StoreError) if error.__module__ == "certshelf.errors"}
    assert len(kinds) == 10
    page = (Path(__file__).parents[2] / "docs/reference/stores.md").read_text("utf-8")
    assert [kind for kind in sorted(kinds) if kind not in page] == []


# --- 9: no input makes the store touch anything else


@given(st.text() | st.from_regex(r"[a-z0-9./\\_*-]{0,40}", fullmatch=True))
def test_9_whatever_is_asked_for_only_its_own_files_are_looked_at(text: str) -> None:
    store = AskedStore()
    Resolver(Shelf(store, PASSWORD)).resolve(text)
    try:
        allowed = {c.file_name() for c in HostName.parse(text).candidates()}
    except NameInvalid:
        allowed = set()
    assert store.keys() <= allowed
    assert store.listing_threads() == set()


def test_9_a_certificate_with_hostile_names_writes_only_files_of_its_good_names(
    tmp_path: Path,
) -> None:
    shelf = Shelf(FolderStore(tmp_path), PASSWORD, owner="m")
    shelf.publish(make_bundle(HOST, "*.example.test"))
    there = sorted(path.name for path in tmp_path.rglob("*") if path.is_file())
    assert [name for name in there if name.endswith(".pfx")] == ["_.example.test.pfx", FILE]
    assert not any(path.name.endswith(".pfx") for path in tmp_path.parent.glob("*.pfx"))


# --- 10: one host, one file


def test_10_of_two_files_for_one_host_the_lower_case_a_label_one_is_served_and_both_are_told(
    tmp_path: Path,
) -> None:
    host = HostName.parse("bücher.test")
    served, other = make_bundle(host.ascii), make_bundle(host.ascii)
    (tmp_path / f"{host.ascii}.pfx").write_bytes(served.to_pfx(PASSWORD))
    (tmp_path / "BÜCHER.test.pfx").write_bytes(other.to_pfx(PASSWORD))
    shelf = Shelf(FolderStore(tmp_path), PASSWORD)
    resolver = Resolver(shelf)
    for spelling in ("BÜCHER.test", "bücher.test.", host.ascii, host.ascii.upper() + "."):
        assert resolver.resolve(spelling) == served
    twins = [finding for finding in shelf.verify() if finding.id == "file-twins"]
    assert len(twins) == 1
    assert "BÜCHER.test.pfx" in twins[0].what
    assert f"{host.ascii}.pfx" in twins[0].what


# --- 11: what is not read, and what is not decoded


def test_11_no_file_above_a_mebibyte_is_read(tmp_path: Path) -> None:
    (tmp_path / FILE).write_bytes(b"\0" * (MAX_BYTES + 1))
    store = FolderStore(tmp_path)
    with pytest.raises(StoreCorrupt):
        store.get(FILE)
    assert Resolver(Shelf(store, PASSWORD)).resolve(HOST) is None


def test_11_a_file_that_is_too_large_is_kept_even_from_adopt_and_the_way_out_is_said(
    tmp_path: Path,
) -> None:
    """It cannot be kept for an undo, so nothing overwrites it: somebody moves it away by hand."""
    folder = tmp_path / "shelf"
    folder.mkdir()
    (folder / FILE).write_bytes(b"\0" * (MAX_BYTES + 1))
    shelf = Shelf(FolderStore(folder), PASSWORD, owner="m")
    bundle = make_bundle(HOST)
    (result,) = shelf.publish(bundle, adopt=True).results
    assert isinstance(result.error, StoreCorrupt)
    assert "1,048,577 bytes" in str(result.error)
    assert "move it away by hand, then repeat" in result.error.hint
    assert (folder / FILE).stat().st_size == MAX_BYTES + 1
    (folder / FILE).rename(tmp_path / "looked at")
    assert shelf.publish(bundle, adopt=True).ok


def test_11_a_reader_that_demands_records_decodes_nothing_that_none_vouches_for() -> None:
    """Rounds hidden inside encrypted content cannot be seen from outside: only this helps."""
    key, store = Ed25519PrivateKey.generate(), MemoryStore()
    good = make_bundle(HOST)
    Shelf(store, PASSWORD, owner="m", signing_key=key).publish(good)
    resolver = Resolver(Shelf(store, PASSWORD, public_key=key.public_key()))
    assert resolver.resolve(HOST) == good
    store.put(FILE, (GOLDEN / "bomb-inside.pfx").read_bytes(), ANY)
    assert resolver.resolve(HOST) == good
    assert "no signed record" in resolver.state().refused[FILE]


# --- 13: strangers' questions


@pytest.mark.slow
def test_13_a_hundred_thousand_unknown_names_cost_a_bounded_number_of_calls_and_memory() -> None:
    store = AskedStore()
    shelf = Shelf(store, PASSWORD, owner="m")
    known = make_bundle(HOST)
    shelf.publish(known)
    with running(Resolver(shelf)) as resolver:
        assert resolver.wait_ready(30)
        store.asked.clear()
        began = time.monotonic()
        tracemalloc.start()
        try:
            for number in range(100_000):
                assert resolver.resolve(f"x{number}.flood.test") is None
            grown = tracemalloc.get_traced_memory()[0]
        finally:
            tracemalloc.stop()
        seconds = time.monotonic() - began
        assert len(store.asked) <= 200 + 50 * seconds  # the bucket's rate, with room
        assert grown < 64 * 2**20
        assert resolver.resolve(HOST) == known


# --- 14: when a change is seen


def test_14_without_notification_a_change_is_seen_by_polling_and_no_handshake_lists() -> None:
    store = AskedStore(remote=True)
    shelf = Shelf(store, PASSWORD, owner="m")
    old, new = make_bundle(HOST), make_bundle(HOST)
    shelf.publish(old)
    with running(Resolver(shelf, poll_seconds=0.05)) as resolver:
        wait_until(lambda: resolver.resolve(HOST) == old, "the first is served")
        shelf.publish(new)
        wait_until(lambda: resolver.resolve(HOST) == new, "the second is served")
    assert store.listing_threads() == {"certshelf-keeper"}


# --- F2: the share is gone for an hour


def test_f2_with_the_shelf_gone_for_an_hour_the_last_good_is_served_from_memory_and_disk(
    tmp_path: Path,
) -> None:
    store, clock = AskedStore(), FakeClock(datetime.now(UTC))
    shelf = Shelf(store, PASSWORD, owner="m", clock=clock)
    good, newer = make_bundle(HOST), make_bundle(HOST)
    shelf.publish(good)
    resolver = Resolver(shelf, disk=DiskCache(tmp_path / "cache"))
    assert resolver.resolve(HOST) == good
    store.error = StoreUnreachable("gone")
    for _ in range(60):
        clock.advance(60)
        assert resolver.resolve(HOST) == good
    restarted = Resolver(shelf, disk=DiskCache(tmp_path / "cache"))
    assert restarted.resolve(HOST) == good
    store.error = None
    shelf.publish(newer)
    assert resolver.resolve(HOST) == newer
    assert restarted.resolve(HOST) == newer


# --- F9: a corrupt PFX, dropped in by hand


def other_key() -> bytes:
    """A leaf with a key that is not its own, as a hasty script exports it."""
    return (GOLDEN / "mismatch.pfx").read_bytes()


GOOD = make_bundle(HOST)
PFX = GOOD.to_pfx(PASSWORD)
BAD: dict[str, bytes] = {
    **{f"cut after {n} eighths": PFX[: len(PFX) * n // 8] for n in range(1, 8)},
    "empty": b"",
    "random": random.Random(9).randbytes(len(PFX)),
    "zeros": b"\0" * len(PFX),
    "a web page": b"<!DOCTYPE html><html><body>502 Bad Gateway</body></html>",
    "another key": other_key(),
    "another host": make_bundle("other.test").to_pfx(PASSWORD),
    "another password": make_bundle(HOST).to_pfx(Secret("another")),
    "expired": make_bundle(HOST, start=datetime(2020, 1, 1, tzinfo=UTC)).to_pfx(PASSWORD),
    "not yet valid": make_bundle(HOST, start=datetime.now(UTC) + timedelta(days=9)).to_pfx(
        PASSWORD
    ),
    **{
        f"{name} of rounds": (GOLDEN / f"{name}.pfx").read_bytes()
        for name in ("bomb-mac", "bomb-key", "bomb-content", "bomb-sum", "bomb-nested")
    },
    "junk behind": PFX + b"junk",
    "too large": PFX + b"\0" * MAX_BYTES,
}


@pytest.mark.parametrize("case", BAD)
def test_f9_a_corrupt_file_is_refused_with_a_reason_and_the_last_good_stays(
    case: str, tmp_path: Path
) -> None:
    shelf = Shelf(FolderStore(tmp_path / "shelf"), PASSWORD, owner="m")
    (tmp_path / "shelf").mkdir()
    shelf.publish(GOOD)
    resolver = Resolver(shelf, disk=DiskCache(tmp_path / "cache"))
    assert resolver.resolve(HOST) == GOOD
    (tmp_path / "shelf" / FILE).write_bytes(BAD[case])
    assert resolver.resolve(HOST) == GOOD
    state = resolver.state()
    assert state.refused.get(FILE) or state.last_store_error, "no reason is told"
    restarted = Resolver(shelf, disk=DiskCache(tmp_path / "cache"))
    assert restarted.resolve(HOST) == GOOD
    wrong = [f for f in shelf.verify() if f.severity in (Severity.WARNING, Severity.ERROR)]
    assert FILE in {finding.subject for finding in wrong}, "verify is green"
    newer = make_bundle(HOST)
    if case == "too large":  # never read, so never overwritten either: somebody must look at it
        assert not shelf.publish(newer, adopt=True).ok
        (tmp_path / "shelf" / FILE).unlink()
    assert shelf.publish(newer, adopt=True, older=True).ok  # as the manager publishes
    assert resolver.resolve(HOST) == newer


# --- F10: another tool writes in place while servers read


def in_place(path: Path, data: bytes) -> None:
    """Two writes into the open file: a reader in between sees a half."""
    with path.open("r+b") as file:
        file.truncate(0)
        file.write(data[: len(data) // 2])
        file.flush()
        time.sleep(0.002)  # hold the half open, as a slow copy does
        file.write(data[len(data) // 2 :])


def local_copy(path: Path, data: bytes) -> None:
    """A finished file copied over the old one, as scripts and sync tools do."""
    source = path.parent.parent / "source"
    source.write_bytes(data)
    shutil.copyfile(source, path)


@pytest.mark.slow
@pytest.mark.parametrize("write", [in_place, local_copy], ids=["in place", "local copy"])
def test_f10_no_handshake_is_bad_while_another_tool_writes_in_place(
    write: Callable[[Path, bytes], None], tmp_path: Path
) -> None:
    folder = tmp_path / "shelf"
    folder.mkdir()
    bundles = [make_bundle(HOST) for _ in range(10)]
    files = [bundle.to_pfx(PASSWORD) for bundle in bundles]
    (folder / FILE).write_bytes(files[0])
    seen: list[Bundle | None] = []
    with running(Resolver(Shelf(FolderStore(folder), PASSWORD))) as resolver:
        assert resolver.resolve(HOST) == bundles[0]
        stop = threading.Event()

        def shake_hands() -> None:
            while not stop.is_set():
                seen.append(resolver.resolve(HOST))

        threads = [threading.Thread(target=shake_hands) for _ in range(2)]
        for thread in threads:
            thread.start()
        for number in range(1, 300):
            write(folder / FILE, files[number % 10])
        stop.set()
        for thread in threads:
            thread.join()
        last = bundles[299 % 10]
        wait_until(lambda: resolver.resolve(HOST) == last, "the last one written is served")
    assert seen
    assert all(bundle in bundles for bundle in seen)


# --- F14: a file is deleted by hand


@pytest.mark.slow
def test_f14_a_file_deleted_under_load_costs_no_handshake_and_is_told_and_published_again(
    tmp_path: Path,
) -> None:
    shelf = Shelf(FolderStore(tmp_path), PASSWORD, owner="m")
    good = make_bundle(HOST)
    shelf.publish(good)
    failed, shaken = 0, 0
    with running(Resolver(shelf, poll_seconds=0.05)) as resolver:
        assert resolver.resolve(HOST) == good
        stop = threading.Event()

        def shake_hands() -> None:
            nonlocal failed, shaken
            while not stop.is_set():
                failed += resolver.resolve(HOST) is None
                shaken += 1

        thread = threading.Thread(target=shake_hands)
        thread.start()
        for _ in range(20):
            (tmp_path / FILE).unlink()
            assert "file-vanished" in {finding.id for finding in shelf.verify()}
            assert shelf.publish(good).ok
        (tmp_path / FILE).unlink()
        seen = shaken
        wait_until(lambda: shaken > seen + 1000, "a thousand handshakes with the file gone")
        stop.set()
        thread.join()
    assert failed == 0


# --- F15: the whole farm restarts


@pytest.mark.slow
def test_f15_twenty_readers_that_start_at_once_list_nothing_at_a_handshake() -> None:
    store = AskedStore()
    shelf = Shelf(store, PASSWORD, owner="m")
    wild = make_bundle("*.example.test").to_pfx(PASSWORD)
    names = [f"h{number}.example.test" for number in range(100)]
    for name in names:
        store.put(f"{name}.pfx", wild, ANY)
    resolvers = [Resolver(shelf) for _ in range(20)]
    try:
        answers: list[bool] = []

        def shake_hands(resolver: Resolver) -> None:
            resolver.start()
            answers.extend(resolver.resolve(name) is not None for name in names)

        threads = [
            threading.Thread(target=shake_hands, args=[r], name="handshake") for r in resolvers
        ]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
    finally:
        for resolver in resolvers:
            resolver.close()
    assert answers.count(True) == 20 * 100
    assert "handshake" not in store.listing_threads()


def test_f15_a_reader_starts_from_its_own_disk_with_the_shelf_unreachable(tmp_path: Path) -> None:
    store = AskedStore(remote=True)
    shelf = Shelf(store, PASSWORD, owner="m")
    bundles = {name: make_bundle(name) for name in (f"h{n}.test" for n in range(50))}
    for bundle in bundles.values():
        shelf.publish(bundle)
    with running(Resolver(shelf, disk=DiskCache(tmp_path))) as warm:
        for name, bundle in bundles.items():
            wait_until(lambda n=name, b=bundle: warm.resolve(n) == b, name)  # type: ignore[misc]
    store.error = StoreUnreachable("gone")
    with running(Resolver(shelf, disk=DiskCache(tmp_path))) as cold:
        assert {name: cold.resolve(name) for name in bundles} == bundles
