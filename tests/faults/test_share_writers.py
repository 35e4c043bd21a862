"""Writers on a real share that are killed or frozen, and readers that look all the while."""

from __future__ import annotations

import json
import os
import random
import signal
import subprocess
import sys
import time
from concurrent.futures import ThreadPoolExecutor
from threading import Barrier, Event, Thread

import pytest

from certshelf.errors import StoreBusy
from certshelf.names import HostName
from certshelf.secret import Secret
from certshelf.shelf.shelf import Shelf
from certshelf.store.base import ANY, Version, lock_of
from certshelf.store.smb_wire import Wire
from tests.support.bundles import make_bundle
from tests.support.samba import Samba
from tests.support.seaweed import running_seaweed
from tests.support.share_writer import KEY, body, is_whole

pytestmark = pytest.mark.slow


def writer(
    samba: Samba, folder: str, do: str, *, deadline_seconds: float = 10.0, version: str = ""
) -> subprocess.Popen[str]:
    """Start one, and wait until it says that it is where the test wants it."""
    process = subprocess.Popen(
        [sys.executable, "-m", "tests.support.share_writer"],
        stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True,
    )  # fmt: skip
    assert process.stdin is not None
    assert process.stdout is not None
    account = samba.writer
    order = {"url": samba.url(folder), "user": account.name, "password": account.password}
    order |= {"do": do, "version": version}
    process.stdin.write(json.dumps({**order, "deadline_seconds": deadline_seconds}) + "\n")
    process.stdin.flush()
    assert process.stdout.readline()
    return process


def test_f1_a_writer_killed_at_any_moment_leaves_a_whole_file_and_one_temp(samba: Samba) -> None:
    folder = samba.new_folder()
    store = samba.store(folder)
    store.put(KEY, body(0), ANY)
    chance = random.Random(20301)
    for _ in range(12):
        process = writer(samba, folder, "write for ever")
        time.sleep(chance.uniform(0.02, 0.12))
        process.kill()
        process.communicate()
        blob = store.get(KEY)
        assert blob is not None
        assert is_whole(blob.data)
    temps = [name for name in os.listdir(samba.share / folder) if name != KEY]
    assert len(temps) <= 12
    assert all(name.startswith(f".{KEY}.") and name.endswith(".tmp") for name in temps)
    assert [entry.key for entry in store.list()] == [KEY]
    deadline = time.monotonic() + 10
    while store.sweep(-5) or len(os.listdir(samba.share / folder)) > 1:
        assert time.monotonic() < deadline
    assert store.get(KEY) is not None


def test_f6_a_writer_frozen_before_its_rename_never_overwrites_later(samba: Samba) -> None:
    folder = samba.new_folder()
    store = samba.store(folder)
    version = store.put(KEY, body(1), ANY)
    frozen = writer(samba, folder, "freeze", deadline_seconds=4.0, version=version)
    try:
        with pytest.raises(StoreBusy, match="lock"):  # it still holds the lock
            samba.store(folder, deadline_seconds=2.5).put(KEY, body(2), version)
        newest = store.put(KEY, body(3), ANY)
        time.sleep(2.5)  # its deadline is over
    finally:
        frozen.send_signal(signal.SIGCONT)
    said, _ = frozen.communicate(timeout=30)
    assert said.split() == ["timeout"]
    assert store.look(KEY) == newest


def test_f6_a_writer_that_dies_with_the_lock_lets_the_next_one_in(samba: Samba) -> None:
    folder = samba.new_folder()
    store = samba.store(folder)
    version = store.put(KEY, body(1), ANY)
    frozen = writer(samba, folder, "freeze", version=version)
    frozen.kill()
    frozen.communicate()
    assert store.put(KEY, body(2), version)


def test_1_no_read_of_a_share_is_torn_empty_or_missing(samba: Samba) -> None:
    folder = samba.new_folder()
    store = samba.store(folder)
    store.put(KEY, body(0), ANY)
    seen = hammer(lambda: samba.store(folder, samba.reader), lambda n: store.put(KEY, body(n), ANY))
    assert set(seen) == {"whole"}, seen
    assert seen["whole"] > 300


def test_1_no_read_of_a_bucket_is_torn_empty_or_missing() -> None:
    with running_seaweed() as server:
        store = server.store("hammer")
        store.put(KEY, body(0), ANY)
        seen = hammer(
            lambda: server.store("hammer", server.reader), lambda n: store.put(KEY, body(n), ANY)
        )
    assert set(seen) == {"whole"}, seen
    assert seen["whole"] > 300


def hammer(open_reader: object, put: object, writes: int = 300) -> dict[str, int]:
    """What two readers see while a writer replaces one file again and again."""
    ended = Event()
    seen: dict[str, int] = {}

    def read() -> None:
        reader = open_reader()  # type: ignore[operator]
        while not ended.is_set():
            blob = reader.get(KEY)
            what = "missing" if blob is None else "whole" if is_whole(blob.data) else "torn"
            seen[what] = seen.get(what, 0) + 1
        reader.close()

    threads = [Thread(target=read) for _ in range(2)]
    for thread in threads:
        thread.start()
    try:
        for number in range(1, writes):
            put(number)  # type: ignore[operator]
    finally:
        ended.set()
        for thread in threads:
            thread.join()
    return seen


def test_a_lost_answer_to_a_rename_is_not_taken_for_a_failure(samba: Samba) -> None:
    """The connection is cut right after the server renamed: the put goes on on a new one."""
    folder = samba.new_folder()
    store = samba.store(folder)
    first = store.put(KEY, body(1), ANY)
    rename, cut = Wire.rename, []

    def rename_and_cut(self: Wire, path: str, new_path: str, *, replace: bool) -> None:
        rename(self, path, new_path, replace=replace)
        if not cut:
            cut.append(True)
            self.abort()
            self.facts(path)  # waits for an answer that never comes

    data = body(2)
    Wire.rename = rename_and_cut  # type: ignore[method-assign]
    try:
        second: Version = store.put(KEY, data, first)
    finally:
        Wire.rename = rename  # type: ignore[method-assign]
    blob = store.get(KEY)
    assert blob is not None
    assert (blob.data, blob.version, cut) == (data, second, [True])


def test_writers_of_eight_names_replace_at_the_same_moment(samba: Samba) -> None:
    """Each rename waits until all eight have come that far: one lock for all would never let it."""
    keys = [f"w{number}.example.com.pfx" for number in range(8)]
    assert len({lock_of(key) for key in keys}) == len(keys)
    store = samba.store(samba.new_folder())
    versions = [store.put(key, body(1), ANY) for key in keys]
    rename, together = Wire.rename, Barrier(len(keys))

    def wait_and_rename(self: Wire, path: str, new_path: str, *, replace: bool) -> None:
        together.wait(timeout=8)  # breaks when one of them does not come
        rename(self, path, new_path, replace=replace)

    with pytest.MonkeyPatch.context() as patched, ThreadPoolExecutor(len(keys)) as pool:
        patched.setattr(Wire, "rename", wait_and_rename)
        new = list(pool.map(lambda key, old: store.put(key, body(2), old), keys, versions))
    assert [store.look(key) for key in keys] == new


def test_a_publish_over_an_old_file_takes_seventeen_round_trips(samba: Samba) -> None:
    """Two reads, and five for each of three writes: temp, lock, look, rename, read back."""
    store = samba.store(samba.new_folder())
    shelf = Shelf(store, Secret("x" * 32), owner="test")
    host = HostName.parse("www.example.com")
    for _ in range(2):  # the first renewal makes the folder of the locks
        assert shelf.publish(make_bundle(host.ascii)).ok
    chain, asked = Wire._chain, []

    def counted(self: Wire, *requests: object, allow: dict[int, int] | None = None) -> list[bytes]:
        asked.append(len(requests))
        return chain(self, *requests, allow=allow)

    with pytest.MonkeyPatch.context() as patched:
        patched.setattr(Wire, "_chain", counted)
        assert shelf.publish(make_bundle(host.ascii)).ok
    assert len(asked) <= 17, asked
