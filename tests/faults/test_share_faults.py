"""A real file server that goes away, hangs, fills up or lies, and what the SMB store makes of it.

The numbers F2 to F13 are those of the fault list in docs/explanation.
"""

from __future__ import annotations

import os
import subprocess
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from threading import Event, Thread

import pytest

from certshelf.errors import (
    StoreBadCredentials,
    StoreBusy,
    StoreDenied,
    StoreError,
    StoreFull,
    StoreInvalidName,
    StoreTimeout,
    StoreUnreachable,
)
from certshelf.secret import Secret
from certshelf.store.base import ABSENT, ANY, HIDDEN, Store, StoreCredentials, lock_of
from certshelf.store.smb import SmbStore
from certshelf.store.smb_messages import OPEN, PLAIN, READ_DATA, SHARE_ALL
from certshelf.store.smb_wire import Handle, Wire
from tests.support.samba import Account, Samba, running_samba

pytestmark = pytest.mark.slow
KEY = "www.example.com.pfx"
OLD, NEW = b"old" * 1000, b"new" * 1000


def calls_of(store: Store) -> dict[str, Callable[[], object]]:
    return {
        "get": lambda: store.get(KEY),
        "look": lambda: store.look(KEY),
        "put": lambda: store.put(KEY, NEW, ANY),
        "delete": lambda: store.delete(KEY),
        "list": lambda: list(store.list()),
        "sweep": lambda: store.sweep(),
    }


def test_f2_with_the_server_gone_every_call_says_unreachable(samba: Samba) -> None:
    store = samba.store(samba.new_folder())
    store.put(KEY, OLD, ANY)
    samba.stop()
    for name, call in calls_of(store).items():
        with pytest.raises(StoreUnreachable):
            pytest.fail(f"{name} gave {call()!r}")
    samba.start()
    blob = store.get(KEY)
    assert blob is not None
    assert blob.data == OLD


def test_f2_with_the_server_hanging_every_call_ends_within_its_deadline(samba: Samba) -> None:
    store = samba.store(samba.new_folder(), deadline_seconds=3.0)
    store.put(KEY, OLD, ANY)
    samba.freeze()
    try:
        for name, call in calls_of(store).items():
            began = time.monotonic()
            with pytest.raises((StoreTimeout, StoreUnreachable)):
                pytest.fail(f"{name} gave {call()!r}")
            took = time.monotonic() - began
            assert took < 30, f"{name} took {took:.1f} s"  # the library alone waits 20 minutes
    finally:
        samba.thaw()
    assert eventually(lambda: store.get(KEY)) is not None


def test_f2_a_hang_in_one_thread_leaves_none_behind_for_ever(samba: Samba) -> None:
    store = samba.store(samba.new_folder(), deadline_seconds=1.5)
    eventually(lambda: store.put(KEY, OLD, ANY))
    samba.freeze()
    try:
        for _ in range(9):  # more than may hang at once
            with pytest.raises(StoreError):
                store.get(KEY)
    finally:
        samba.thaw()
    assert eventually(lambda: store.get(KEY)) is not None
    assert store.calls.deadline.abandoned == 0


def test_f3_a_full_disk_is_told_and_leaves_the_old_file_and_no_rest(samba: Samba) -> None:
    folder = samba.new_folder()
    with tmpfs_on(samba.share / folder, "2m"):
        store = samba.store(folder)
        store.put(KEY, OLD, ANY)
        (samba.share / folder / "filler").write_bytes(
            bytes(os.statvfs(samba.share / folder).f_bavail * 4096 - 8192)
        )
        for size in (300_000, 60_000):
            with pytest.raises(StoreFull):
                store.put(KEY, os.urandom(size), ANY)
        blob = store.get(KEY)
        assert blob is not None
        assert blob.data == OLD
        assert sorted(os.listdir(samba.share / folder)) == ["filler", KEY]
        store.close()


def test_f11_a_wrong_password_is_found_though_a_session_lives(samba: Samba) -> None:
    folder = samba.new_folder()
    right = samba.store(folder)
    right.put(KEY, OLD, ANY)
    wrong = samba.store(folder, Account(samba.writer.name, "certainly-wrong"))
    with pytest.raises(StoreBadCredentials):
        wrong.check_login()
    with pytest.raises(StoreBadCredentials):
        wrong.get(KEY)
    right.check_login()


def test_f11_a_password_changed_on_the_server_is_found_by_the_check(samba: Samba) -> None:
    folder = samba.new_folder()
    store = samba.store(folder)
    store.put(KEY, OLD, ANY)
    samba.set_password(samba.writer, "another-password-1")
    with pytest.raises(StoreBadCredentials) as caught:
        store.check_login()
    assert samba.writer.password not in f"{caught.value} {caught.value.hint}"
    samba.store(folder, Account(samba.writer.name, "another-password-1")).check_login()


def test_f11_refused_logins_leave_no_thread_behind(samba: Samba) -> None:
    wrong = samba.store(samba.new_folder(), Account(samba.writer.name, "certainly-wrong"))
    for _ in range(5):
        with pytest.raises(StoreBadCredentials):
            wrong.get(KEY)
        with pytest.raises(StoreBadCredentials):
            wrong.check_login()
    receivers = f"msg_worker-127.0.0.1:{samba.port}"
    eventually(lambda: receivers not in [thread.name for thread in threading.enumerate()])


def test_f11_without_a_password_and_a_ticket_nobody_logs_in(samba: Samba) -> None:
    for url in (samba.url("x"), f"smb://127.0.0.1:{samba.port}/certs/x"):
        with pytest.raises(StoreBadCredentials):
            SmbStore.from_url(url, None).get(KEY)


def test_f12_a_restart_between_and_during_reads_costs_no_read_and_tears_none(samba: Samba) -> None:
    folder = samba.new_folder()
    bodies = [bytes([n]) * 5000 for n in range(20)]
    writer = samba.store(folder)
    writer.put(KEY, bodies[0], ANY)
    ended, seen, failed = Event(), [], []

    def read() -> None:
        reader = samba.store(folder, samba.reader)
        while not ended.is_set():
            try:
                blob = reader.get(KEY)
                seen.append(None if blob is None else blob.data)
            except StoreUnreachable:  # nothing listens for a moment
                failed.append(1)
                time.sleep(0.01)

    threads = [Thread(target=read) for _ in range(2)]
    for thread in threads:
        thread.start()
    try:
        for body in bodies[1:6]:
            samba.restart()
            eventually(lambda body=body: writer.put(KEY, body, ANY))
    finally:
        ended.set()
        for thread in threads:
            thread.join()
    assert set(seen) <= set(bodies)
    assert len(seen) > len(bodies)


def test_f12_a_connection_reset_between_two_calls_is_not_noticed(samba: Samba) -> None:
    store = samba.store(samba.new_folder())
    version = store.put(KEY, OLD, ANY)
    samba.restart()
    assert store.look(KEY) == version
    samba.restart()
    assert store.put(KEY, NEW, version)


def test_a_quiet_connection_gives_signs_of_life_and_is_used_again(samba: Samba) -> None:
    store = samba.store(samba.new_folder(), deadline_seconds=1.0)
    version = store.put(KEY, OLD, ANY)
    wire = store.calls.wire
    assert wire is not None
    window = wire._connection.sequence_window
    before, end = window["low"], time.monotonic() + 30
    while window["low"] < before + 2:  # two of the library's own messages
        assert time.monotonic() < end, "no sign of life"
        time.sleep(0.05)
    assert store.look(KEY) == version
    assert store.calls.wire is wire


def test_f13_a_file_held_open_for_ever_is_busy_and_stays_whole(samba: Samba) -> None:
    """Samba refuses as Windows does when reader and writer are one client to it."""
    store = samba.store(samba.new_folder(), deadline_seconds=3.0)
    store.put(KEY, OLD, ANY)
    wire, handle = open_as_a_reader(store)
    with pytest.raises(StoreBusy, match="holds it open"):
        store.put(KEY, NEW, ANY)
    blob = store.get(KEY)
    assert blob is not None
    assert blob.data == OLD
    assert [name for name in os.listdir(samba.share / store.calls.root) if "tmp" in name] == []
    wire.release(handle)
    store.put(KEY, NEW, ANY)


def test_f13_a_file_that_is_let_go_in_time_is_replaced(samba: Samba) -> None:
    store = samba.store(samba.new_folder())
    store.put(KEY, OLD, ANY)
    wire, handle = open_as_a_reader(store)
    timer = threading.Timer(0.5, wire.release, (handle,))
    timer.start()
    store.put(KEY, NEW, ANY)
    blob = store.get(KEY)
    assert blob is not None
    assert blob.data == NEW


def test_a_file_opened_by_a_rude_reader_is_busy_not_gone(samba: Samba) -> None:
    store = samba.store(samba.new_folder(), deadline_seconds=3.0)
    store.put(KEY, OLD, ANY)
    wire = store.calls.wire
    assert wire is not None
    handle = wire.hold(store.calls.path((KEY,)))
    with pytest.raises(StoreBusy):
        store.get(KEY)
    wire.release(handle)
    assert store.get(KEY) is not None


def test_a_writer_that_compares_waits_for_the_lock_and_says_who_has_it(samba: Samba) -> None:
    folder = samba.new_folder()
    frozen, late = samba.store(folder), samba.store(folder, deadline_seconds=3.0)
    version = frozen.put(KEY, OLD, ANY)
    version = frozen.put(KEY, OLD, version)
    wire = frozen.calls.wire
    assert wire is not None
    wire.hold(frozen.calls.path(tuple(lock_of(KEY).split("/"))))
    with pytest.raises(StoreBusy, match="lock"):
        late.put(KEY, NEW, version)
    frozen.close()  # the server lets go of what a dead client held
    late.put(KEY, NEW, version)


def test_a_server_without_encryption_gets_no_key_unless_told() -> None:
    with running_samba(encrypt="off") as server:
        folder = server.new_folder()
        with pytest.raises(StoreDenied, match="encryption"):
            server.store(folder).put(KEY, NEW, ABSENT)
        assert os.listdir(server.share / folder) == []
        relaxed = SmbStore.from_url(
            server.url(folder) + "?encryption=off",
            StoreCredentials(server.writer.name, Secret(server.writer.password)),
        )
        relaxed.put(KEY, NEW, ABSENT)
        assert relaxed.get(KEY) is not None
        oldest = relaxed.calls.fresh("try", KEY, encrypt=False, offers=False)  # signs otherwise
        assert not oldest.encrypts
        assert oldest.read(relaxed.calls.path((KEY,)), len(NEW))[1] == NEW
        oldest.close()
        relaxed.close()


def test_a_server_that_takes_everybody_for_a_guest_gets_no_key() -> None:
    with running_samba(encrypt="desired", guest=True) as server:
        folder = server.new_folder()
        for option in ("", "?encryption=off"):
            store = SmbStore.from_url(
                server.url(folder) + option,
                StoreCredentials("nobody-of-that-name", Secret("any")),
            )
            with pytest.raises((StoreDenied, StoreBadCredentials)):
                store.put(KEY, NEW, ABSENT)
        assert os.listdir(server.share / folder) == []


@pytest.mark.parametrize("kind", ["link", "folder", "pipe", "link in the path"])
def test_t9_what_is_no_plain_file_is_never_read(samba: Samba, kind: str, tmp_path: Path) -> None:
    folder = samba.new_folder()
    store, planted = samba.store(folder), samba.share / folder / KEY
    canary = samba.folder / "canary"
    canary.mkdir()
    (canary / KEY).write_bytes(b"canary")
    key = KEY
    if kind == "link":
        planted.symlink_to(canary / KEY)
    elif kind == "folder":
        planted.mkdir()
    elif kind == "pipe":
        os.mkfifo(planted)
    else:
        key = f"{HIDDEN}/{KEY}"
        (samba.share / folder / HIDDEN).symlink_to(canary)
    try:
        blob = store.get(key)
    except StoreError as error:
        assert isinstance(error, StoreInvalidName | StoreDenied), error
    else:
        assert blob is None or blob.data == b""  # Samba shows a pipe as an empty file
    assert all(entry.size == 0 for entry in store.list())


T5_NAMES = [
    "..\\up.pfx", "../up.pfx", "/etc/passwd", "a\\b.pfx", "x.pfx:stream", "x\0.pfx", "con.pfx",
    "nul.pfx", "aux", "trail.", "trail ", "*.pfx", "a?b.pfx", "%2e%2e/x", "x" * 256, ".", "..", "",
    "C:\\x", "\\\\server\\share", "x\r\n.pfx", "\x1b[0m.pfx", "CERTSH~1\\x", "..%5cup.pfx",
]  # fmt: skip


def test_t5_no_trick_name_leaves_the_folder_or_makes_anything(samba: Samba) -> None:
    folder = samba.new_folder()
    (samba.share / "up.pfx").write_bytes(b"canary")
    store = samba.store(folder)
    before = sorted(os.listdir(samba.share))
    for name in T5_NAMES:
        for prefix in ("", f"{HIDDEN}/"):
            try:
                assert store.get(prefix + name) is None, name
            except StoreInvalidName:
                with pytest.raises(StoreInvalidName):
                    store.put(prefix + name, b"x", ANY)
    assert sorted(os.listdir(samba.share)) == before
    assert (samba.share / "up.pfx").read_bytes() == b"canary"


def test_t5_an_8_3_alias_of_another_file_is_no_name(samba: Samba) -> None:
    store = samba.store(samba.new_folder())
    store.put("a-rather-long-host-name.example.com.pfx", OLD, ANY)
    for digit in range(1, 10):
        for stem in ("A-RATH", "A_RATH", "ARATHE", "AHY9U3"):
            with pytest.raises(StoreInvalidName):
                store.get(f"{stem}~{digit}.PFX")


def test_a_change_by_another_client_is_told_at_once(samba: Samba) -> None:
    folder = samba.new_folder()
    watcher, writer = samba.store(folder, samba.reader), samba.store(folder)
    stop, told, started = Event(), [], Event()

    def watch() -> None:
        for keys in watcher.watch(stop):
            told.append(keys)
            started.set()

    thread = Thread(target=watch)
    thread.start()
    try:
        # The watch is armed some time after its thread started: write until it says so.
        eventually(lambda: writer.put("probe.pfx", os.urandom(8), ANY) and started.is_set())
        told.clear()
        writer.put(KEY, NEW, ANY)
        eventually(lambda: any(KEY in keys for keys in told))
        writer.put(KEY, OLD, ANY)
        writer.delete(KEY)
        eventually(lambda: sum(KEY in keys for keys in told) >= 2)
        assert not any("tmp" in key for keys in told for key in keys)
    finally:
        stop.set()
        thread.join(10)
    assert not thread.is_alive()


def test_more_changes_than_can_be_told_say_look_at_all(samba: Samba) -> None:
    folder = samba.new_folder()
    store, stop = samba.store(folder), Event()
    changes = store.watch(stop)
    first: list[frozenset[str]] = []
    thread = Thread(target=lambda: first.append(next(changes)))
    thread.start()
    eventually(lambda: store.put("probe.pfx", os.urandom(8), ANY) and first)
    thread.join()
    for number in range(2000):  # nobody listens meanwhile
        (samba.share / folder / f"{'x' * 120}{number}.pfx").write_bytes(b"")
    told = [next(changes)]
    while told[-1] and len(told) < 50:
        (samba.share / folder / "one-more.pfx").write_bytes(b"")
        told.append(next(changes))
    assert frozenset() in told
    stop.set()
    assert list(changes) == []


def test_a_watch_ends_when_its_server_goes_away(samba: Samba) -> None:
    store = samba.store(samba.new_folder())
    ended = Event()

    def watch() -> None:
        list(store.watch(Event()))
        ended.set()

    Thread(target=watch, daemon=True).start()
    eventually(lambda: "msg_worker" in " ".join(t.name for t in threading.enumerate()))
    time.sleep(0.3)
    samba.stop()
    assert ended.wait(10)


def test_a_sweep_takes_old_temps_of_ours_and_nothing_else(samba: Samba) -> None:
    folder = samba.new_folder()
    store = samba.store(folder)
    store.put(KEY, OLD, ANY)
    store.put(f"{HIDDEN}/records/r.json", b"{}", ANY)
    temp = f".{KEY}.{'0' * 16}.tmp"
    wire = store.calls.wire
    assert wire is not None
    for place in ((), (HIDDEN,), (HIDDEN, "records")):
        for name in (temp, ".foreign.tmp"):
            wire.write_new(store.calls.path((*place, name)), b"half")
    assert store.sweep(3600) == 0
    assert store.sweep(-5) == 3
    assert (samba.share / folder / ".foreign.tmp").exists()
    assert store.get(KEY) is not None


def open_as_a_reader(store: SmbStore) -> tuple[Wire, Handle]:
    """The file, held open on the store's own connection: so Samba takes both for one client."""
    wire = store.calls.wire
    assert wire is not None
    path = store.calls.path((KEY,))
    return wire, wire._handle(path, READ_DATA, SHARE_ALL, OPEN, PLAIN)


def eventually(call: Callable[[], object], seconds: float = 20.0) -> object:
    """What call() gives as soon as that is something and no StoreError."""
    end = time.monotonic() + seconds
    while True:
        try:
            if result := call():
                return result
        except StoreError:
            if time.monotonic() > end:
                raise
        if time.monotonic() > end:
            pytest.fail(f"nothing after {seconds:g} s")
        time.sleep(0.02)


@contextmanager
def tmpfs_on(folder: Path, size: str) -> Iterator[None]:
    """A file system of its own, so that it can be full."""
    mounted = subprocess.run(
        ["mount", "-t", "tmpfs", "-o", f"size={size},mode=0777", "tmpfs", str(folder)],
        capture_output=True,
    )
    if mounted.returncode:
        pytest.skip("mount is not allowed here")
    try:
        yield
    finally:
        subprocess.run(["umount", "-l", str(folder)], check=True)
