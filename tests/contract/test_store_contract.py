"""What every store promises (certshelf.store.base.Store), tried on each of them."""

from __future__ import annotations

import time
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from threading import Barrier, Event, Thread

import pytest

from certshelf.errors import StoreConflict, StoreCorrupt, StoreInvalidName
from certshelf.store.base import (
    ABSENT,
    ANY,
    HIDDEN,
    LOCKS,
    MAX_BYTES,
    Blob,
    Expect,
    Stamped,
    Store,
    Version,
    Watchable,
)
from certshelf.store.bucket import BucketStore

KEY = "www.example.com.pfx"
RECORD = f"{HIDDEN}/records/www.example.com.pfx.json"
BAD_KEYS = [
    "", ".", "..", "/", "a//b", "/etc/passwd", "../up.pfx", "..\\up.pfx", "a/../b.pfx",
    "a\\b.pfx", "C:x.pfx", "x.pfx:stream", "x\0.pfx", "x\n.pfx", "x\x7f.pfx", " x.pfx", "x.pfx ",
    "x.pfx.", "*.example.com.pfx", "a?b.pfx", "a|b", 'a"b', "<a>", ".hidden.pfx", HIDDEN, LOCKS,
    f"{LOCKS}/00",
    f"{HIDDEN}/../x", f"{HIDDEN}/.temp", f"{HIDDEN}/", f"{HIDDEN}/a/b/c/d", "sub/x.pfx",
    "con", "nul.pfx", "COM1.example.pfx", "lpt9", "e\u0301.pfx", "\ud800.pfx", "x" * 256,
    "ü" * 128, "x\u2028.pfx",
]  # fmt: skip
GOOD_KEYS = [
    KEY, "_.example.com.pfx", "bücher.example.pfx", "xn--bcher-kva.example.pfx", "a", "A.PFX",
    "x" * 255, "ü" * 127, RECORD, f"{HIDDEN}/settings.json", f"{HIDDEN}/history/w/1.pfx",
    "console.example.pfx", "web site.pfx",
]  # fmt: skip


def in_threads(*actions: Callable[[], object]) -> list[object]:
    """Run all at once; what each returned or raised, in order."""
    results: list[object] = [None] * len(actions)
    start = Barrier(len(actions))

    def run(index: int) -> None:
        start.wait()
        try:
            results[index] = actions[index]()
        except Exception as error:
            results[index] = error

    threads = [Thread(target=run, args=(index,)) for index in range(len(actions))]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    return results


def test_what_was_put_is_read_back_with_the_version_that_put_returned(store: Store) -> None:
    version = store.put(KEY, b"one", ANY)
    assert store.get(KEY) == Blob(b"one", version)
    assert store.look(KEY) == version


def test_what_is_not_there_is_none(store: Store) -> None:
    for key in (KEY, RECORD):
        assert store.get(key) is None
        assert store.look(key) is None
        assert store.delete(key) is False


def test_an_empty_file_and_the_largest_file_are_kept_whole(store: Store) -> None:
    for data in (b"", bytes(range(256)) * (MAX_BYTES // 256)):
        store.put(KEY, data, ANY)
        blob = store.get(KEY)
        assert blob is not None
        assert blob.data == data


def test_more_than_the_limit_is_refused_and_nothing_is_written(store: Store) -> None:
    with pytest.raises(StoreCorrupt):
        store.put(KEY, bytes(MAX_BYTES + 1), ANY)
    assert store.look(KEY) is None


def test_every_write_gives_another_version_even_with_equal_bytes(store: Store) -> None:
    if isinstance(store, BucketStore):
        pytest.skip("the version of an object is a digest of its content")
    versions = [store.put(KEY, b"same", ANY) for _ in range(30)]
    assert len(set(versions)) == 30


def test_a_version_stays_while_nobody_writes(store: Store) -> None:
    version = store.put(KEY, b"one", ANY)
    store.put("other.pfx", b"two", ANY)
    store.get(KEY)
    assert store.look(KEY) == version


def test_absent_makes_a_new_file_once(store: Store) -> None:
    version = store.put(KEY, b"one", ABSENT)
    with pytest.raises(StoreConflict) as caught:
        store.put(KEY, b"two", ABSENT)
    assert caught.value.found == version
    assert store.get(KEY) == Blob(b"one", version)


def test_8_an_expected_version_is_replaced_and_a_stale_one_is_not(store: Store) -> None:
    first = store.put(KEY, b"one", ANY)
    second = store.put(KEY, b"two", first)
    with pytest.raises(StoreConflict) as caught:
        store.put(KEY, b"three", first)
    assert (caught.value.expected, caught.value.found) == (first, second)
    assert store.get(KEY) == Blob(b"two", second)


def test_a_version_of_a_file_that_is_gone_is_a_conflict(store: Store) -> None:
    version = store.put(KEY, b"one", ANY)
    store.delete(KEY)
    with pytest.raises(StoreConflict):
        store.put(KEY, b"two", version)
    assert store.look(KEY) is None


def test_delete_removes_the_expected_version_only(store: Store) -> None:
    first = store.put(KEY, b"one", ANY)
    second = store.put(KEY, b"two", ANY)
    with pytest.raises(StoreConflict):
        store.delete(KEY, first)
    assert store.delete(KEY, second) is True
    assert store.get(KEY) is None


def test_no_message_and_no_repr_shows_the_bytes(store: Store) -> None:
    store.put(KEY, b"very private", ANY)
    with pytest.raises(StoreConflict) as caught:
        store.put(KEY, b"very private", ABSENT)
    assert "private" not in f"{store.get(KEY)!r} {caught.value} {caught.value.hint}"


def test_a_list_shows_the_plain_files_of_one_folder(store: Store) -> None:
    version = store.put(KEY, b"12345", ANY)
    store.put("_.example.com.pfx", b"", ANY)
    store.put(RECORD, b"{}", ANY)
    listed = {entry.key: entry for entry in store.list()}
    assert set(listed) == {KEY, "_.example.com.pfx"}
    assert (listed[KEY].size, listed[KEY].version) == (5, version)
    assert [entry.key for entry in store.list(f"{HIDDEN}/records")] == [RECORD]


def test_a_list_gives_the_time_of_the_last_write(store: Store) -> None:
    store.put(KEY, b"1", ANY)
    (entry,) = store.list()
    assert entry.modified.tzinfo is not None
    assert abs(datetime.now(UTC) - entry.modified) < timedelta(minutes=5)


def test_a_list_of_a_hidden_folder_that_is_not_there_is_empty(store: Store) -> None:
    assert list(store.list(f"{HIDDEN}/nothing")) == []
    assert list(store.list()) == []


def test_the_lock_and_temps_are_in_no_list(store: Store) -> None:
    store.put(KEY, b"1", ANY)
    store.put(f"{HIDDEN}/settings.json", b"1", ANY)
    assert [entry.key for entry in store.list(HIDDEN)] == [f"{HIDDEN}/settings.json"]


@pytest.mark.parametrize("folder", ["..", "/", "sub", ".other", f"{HIDDEN}/..", f"{HIDDEN}/a/b/c"])
def test_no_folder_but_the_shelf_s_own_is_listed(store: Store, folder: str) -> None:
    with pytest.raises(StoreInvalidName):
        list(store.list(folder))


@pytest.mark.parametrize("key", BAD_KEYS)
def test_a_bad_key_is_refused_by_every_call(store: Store, key: str) -> None:
    calls: list[Callable[[], object]] = [
        lambda: store.get(key),
        lambda: store.look(key),
        lambda: store.put(key, b"x", ANY),
        lambda: store.delete(key),
    ]
    for call in calls:
        with pytest.raises(StoreInvalidName):
            call()
    assert list(store.list()) == []


@pytest.mark.parametrize("key", GOOD_KEYS)
def test_a_good_key_is_written_read_and_deleted(store: Store, key: str) -> None:
    store.put(key, b"x", ABSENT)
    blob = store.get(key)
    assert blob is not None
    assert blob.data == b"x"
    assert store.delete(key) is True


def test_of_many_who_make_a_new_file_one_wins(store: Store) -> None:
    results = in_threads(*(_putter(store, b"%d" % n, ABSENT) for n in range(6)))
    winners = [n for n, result in enumerate(results) if isinstance(result, str)]
    assert len(winners) == 1, results
    assert all(isinstance(r, StoreConflict) for r in results if not isinstance(r, str)), results
    blob = store.get(KEY)
    assert blob is not None
    assert blob.data == b"%d" % winners[0]


def test_of_many_who_replace_one_version_one_wins(store: Store) -> None:
    first = store.put(KEY, b"first", ANY)
    results = in_threads(*(_putter(store, b"%d" % n, first) for n in range(6)))
    assert sum(isinstance(result, str) for result in results) == 1, results


def test_no_increment_is_lost_when_all_compare_before_they_write(store: Store) -> None:
    store.put(KEY, b"0", ANY)

    def count_to_ten() -> None:
        done = 0
        while done < 10:
            blob = store.get(KEY)
            assert blob is not None
            try:
                store.put(KEY, b"%d" % (int(blob.data) + 1), blob.version)
                done += 1
            except StoreConflict:
                continue

    assert in_threads(*[count_to_ten] * 4) == [None] * 4
    blob = store.get(KEY)
    assert blob is not None
    assert blob.data == b"40"


def test_all_who_overwrite_at_once_succeed_and_one_file_is_whole(store: Store) -> None:
    bodies = [b"%d" % n * 5000 for n in range(6)]
    results = in_threads(*(_putter(store, body, ANY) for body in bodies))
    assert all(isinstance(result, str) for result in results), results
    blob = store.get(KEY)
    assert blob is not None
    assert blob.data in bodies


def test_a_reader_sees_the_old_bytes_or_the_new_while_they_are_replaced(store: Store) -> None:
    bodies = [bytes([n]) * (4000 + n) for n in range(40)]
    store.put(KEY, bodies[0], ANY)
    ended = Event()

    def read() -> set[object]:
        seen: set[object] = set()
        while not ended.is_set():
            blob = store.get(KEY)
            seen.add(None if blob is None else blob.data)
        return seen

    def write() -> None:
        try:
            for body in bodies:
                store.put(KEY, body, ANY)
        finally:
            ended.set()

    _, first, second = in_threads(write, read, read)
    assert isinstance(first, set), first
    assert isinstance(second, set), second
    assert first | second <= set(bodies)


def test_a_sweep_leaves_every_file_alone(store: Store) -> None:
    for key in (KEY, RECORD):
        store.put(key, b"x", ANY)
    assert store.sweep(older_than_seconds=-1.0) == 0
    assert store.get(KEY) is not None
    assert store.get(RECORD) is not None


def test_a_close_is_safe_to_repeat(store: Store) -> None:
    store.put(KEY, b"x", ANY)
    store.close()
    store.close()


def test_a_watch_ends_when_it_is_told_to(store: Store) -> None:
    if not isinstance(store, Watchable):
        pytest.skip("this store cannot watch")
    stop = Event()
    stop.set()
    assert list(store.watch(stop)) == []


def test_a_stamp_moves_when_a_file_comes_or_goes(store: Store) -> None:
    if not isinstance(store, Stamped) or store.stamp() is None:
        pytest.skip("this store has no stamp")
    stamps = [store.stamp()]
    for act in (lambda: store.put(KEY, b"1", ANY), lambda: store.delete(KEY)):
        _wait_for_the_next_tick()
        act()
        stamps.append(store.stamp())
    assert len(set(stamps)) == 3


def _wait_for_the_next_tick() -> None:
    """Folders are stamped with a coarse clock of up to 10 ms."""
    end = time.monotonic() + 0.03
    while time.monotonic() < end:
        time.sleep(0.01)


def _putter(store: Store, data: bytes, expect: Version | Expect) -> Callable[[], Version]:
    return lambda: store.put(KEY, data, expect)
