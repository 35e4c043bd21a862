"""What a folder store does when writers are killed, disks are full and hostile things lie there."""

from __future__ import annotations

import errno
import os
import re
import signal
import socket
import stat
import subprocess
import sys
import textwrap
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from certshelf.errors import (
    StoreBusy,
    StoreCorrupt,
    StoreDenied,
    StoreError,
    StoreFull,
    StoreInvalidName,
    StoreNotFound,
    StoreTimeout,
    StoreUnreachable,
)
from certshelf.store.base import ABSENT, ANY, HIDDEN, MAX_BYTES, Expect, lock_of
from certshelf.store.folder import FolderStore
from tests.support.clock import FakeClock

posix = pytest.mark.skipif(os.name == "nt", reason="POSIX files")
as_root = pytest.mark.skipif(
    not hasattr(os, "geteuid") or os.geteuid() != 0, reason="needs to be root"
)
KEY = "www.example.com.pfx"
OLD = b"old" * 1000
NEW = b"new" * 2000
TEMP = re.compile(r"\.www\.example\.com\.pfx\.[0-9a-f]{16}\.tmp")
NOBODY = 65534


@pytest.fixture
def root(tmp_path: Path) -> Path:
    folder = tmp_path / "shelf"
    folder.mkdir(mode=0o700)
    return folder


def temps(folder: Path) -> list[str]:
    return [name for name in os.listdir(folder) if name.endswith(".tmp")]


# --- a writer that is killed at each of its system calls

KILLER = """
    import os, signal, sys
    import certshelf.store.rights
    from certshelf.store.base import ABSENT, ANY
    from certshelf.store.folder import FolderStore
    root, call, nth, expect = sys.argv[1], sys.argv[2], int(sys.argv[3]), sys.argv[4]
    store = FolderStore(root)
    real, seen = getattr(os, call), 0
    def armed(*args, **kwargs):
        global seen
        seen += 1
        if seen == nth:
            if call == "write":
                real(args[0], bytes(args[1])[:1000])
            os.kill(os.getpid(), signal.SIGKILL)
        return real(*args, **kwargs)
    setattr(os, call, armed)
    store.put("www.example.com.pfx", b"new" * 2000, ABSENT if expect == "absent" else ANY)
"""
STEPS = [
    ("open", 2), ("open", 3), ("open", 5), ("write", 1), ("fsync", 1), ("close", 1), ("stat", 2),
    ("replace", 1), ("link", 1), ("unlink", 1), ("fsync", 2), ("fstat", 1), ("read", 1),
    ("close", 3),
]  # fmt: skip


def killed_put(root: Path, call: str, nth: int, expect: str) -> int:
    script = textwrap.dedent(KILLER)
    arguments = [sys.executable, "-c", script, str(root), call, str(nth), expect]
    return subprocess.run(arguments, check=False, timeout=60, capture_output=True).returncode


@posix
@pytest.mark.slow
@pytest.mark.parametrize(("call", "nth"), STEPS)
def test_3_a_writer_killed_while_it_replaces_leaves_old_or_new_whole(
    root: Path, call: str, nth: int
) -> None:
    store = FolderStore(root)
    store.put(KEY, OLD, ANY)
    status = killed_put(root, call, nth, "any")
    assert status in (-signal.SIGKILL, 0)
    _assert_whole_and_usable(store, root, {OLD, NEW} if status else {NEW})


@posix
@pytest.mark.slow
@pytest.mark.parametrize(("call", "nth"), STEPS)
def test_a_writer_killed_while_it_makes_a_file_leaves_none_or_all_of_it(
    root: Path, call: str, nth: int
) -> None:
    status = killed_put(root, call, nth, "absent")
    assert status in (-signal.SIGKILL, 0)
    _assert_whole_and_usable(FolderStore(root), root, {None, NEW} if status else {NEW})


def _assert_whole_and_usable(store: FolderStore, root: Path, allowed: set[bytes | None]) -> None:
    blob = store.get(KEY)
    assert (None if blob is None else blob.data) in allowed
    left = temps(root)
    assert len(left) <= 1
    assert all(TEMP.fullmatch(name) for name in left)
    assert all(stat.S_IMODE((root / name).lstat().st_mode) == 0o600 for name in left)
    assert [entry.key for entry in store.list()] == ([] if blob is None else [KEY])
    assert store.sweep(older_than_seconds=3600.0) == 0
    assert store.sweep(older_than_seconds=-60.0) == len(left)
    assert temps(root) == []
    store.put(KEY, b"after", ANY)  # the lock died with its holder
    assert store.get(KEY) is not None


# --- a sweep


@posix
def test_a_sweep_removes_our_old_temps_and_nothing_else(root: Path) -> None:
    store = FolderStore(root)
    store.put(f"{HIDDEN}/records/a.json", b"{}", ANY)
    ours = [".a.pfx.0123456789abcdef.tmp", f"{HIDDEN}/records/.a.json.0123456789abcdef.tmp"]
    foreign = [
        ".a.pfx.0123456789ABCDEF.tmp", ".a.pfx.0123456789abcde.tmp", "a.pfx.0123456789abcdef.tmp",
        ".a.pfx.tmp", ".rsync.pfx.XyZ123", ".a.pfx.0123456789abcdef.tmp.bak", "..tmp",
    ]  # fmt: skip
    for name in ours + foreign:
        (root / name).write_bytes(b"x")
        os.utime(root / name, (1, 1))
    (root / ".dir.pfx.0123456789abcdef.tmp").mkdir()
    (root / ".link.pfx.0123456789abcdef.tmp").symlink_to(root / foreign[0])
    young = root / ".young.pfx.0123456789abcdef.tmp"
    young.write_bytes(b"x")
    assert store.sweep() == len(ours)
    assert not any((root / name).exists() for name in ours)
    assert all((root / name).exists() for name in foreign)
    assert young.exists()
    assert store.sweep() == 0


# --- things planted in the folder


def _symlink(path: Path, outside: Path) -> None:
    path.symlink_to(outside)


def _dangling(path: Path, outside: Path) -> None:
    path.symlink_to(outside.with_name("nothing"))


def _fifo(path: Path, outside: Path) -> None:
    os.mkfifo(path)


def _directory(path: Path, outside: Path) -> None:
    path.mkdir()


def _socket(path: Path, outside: Path) -> None:
    with socket.socket(socket.AF_UNIX) as made:
        here = Path.cwd()
        os.chdir(path.parent)  # a socket's path may have 108 bytes
        try:
            made.bind(path.name)
        finally:
            os.chdir(here)


PLANTED: list[Callable[[Path, Path], None]] = [_symlink, _dangling, _fifo, _directory, _socket]


@posix
@pytest.mark.parametrize("plant", PLANTED)
@pytest.mark.parametrize("key", [KEY, f"{HIDDEN}/records/{KEY}.json"])
def test_what_is_no_plain_file_is_neither_read_nor_followed_nor_replaced(
    root: Path, tmp_path: Path, plant: Callable[[Path, Path], None], key: str
) -> None:
    canary = tmp_path / "canary"
    canary.write_bytes(b"secret of somebody else")
    path = root / key
    path.parent.mkdir(parents=True, exist_ok=True)
    plant(path, canary)
    store = FolderStore(root)
    calls: list[Callable[[], object]] = [
        lambda: store.get(key),
        lambda: store.look(key),
        lambda: store.put(key, NEW, ANY),
        lambda: store.put(key, NEW, ABSENT),
        lambda: store.delete(key),
    ]
    for call in calls:
        with pytest.raises(StoreInvalidName):
            call()
    assert list(store.list()) == []
    assert canary.read_bytes() == b"secret of somebody else"
    assert temps(path.parent) == []
    path.lstat()


@posix
@pytest.mark.parametrize("link", [HIDDEN, f"{HIDDEN}/records"])
def test_a_hidden_folder_that_is_a_link_leads_nowhere(
    root: Path, tmp_path: Path, link: str
) -> None:
    outside = tmp_path / "outside"
    (outside / "records").mkdir(parents=True)
    (outside / "x.json").write_bytes(b"canary")
    (outside / "records" / "x.json").write_bytes(b"canary")
    (root / link).parent.mkdir(exist_ok=True)
    (root / link).symlink_to(outside)
    store = FolderStore(root)
    key = f"{HIDDEN}/records/x.json"
    calls: list[Callable[[], object]] = [
        lambda: store.get(key),
        lambda: store.look(key),
        lambda: store.put(key, b"new", ANY),
        lambda: store.delete(key),
        lambda: list(store.list(f"{HIDDEN}/records")),
    ]
    for call in calls:
        with pytest.raises(StoreInvalidName):
            call()
    store.sweep(-60.0)
    assert {p.name for p in outside.rglob("*")} == {"records", "x.json"}
    assert (outside / "records" / "x.json").read_bytes() == b"canary"


@posix
def test_a_put_over_a_hard_link_leaves_the_other_name_alone(root: Path, tmp_path: Path) -> None:
    canary = tmp_path / "canary"
    canary.write_bytes(b"canary")
    os.link(canary, root / KEY)
    FolderStore(root).put(KEY, NEW, ANY)
    assert canary.read_bytes() == b"canary"
    assert (root / KEY).read_bytes() == NEW


@posix
def test_the_root_itself_may_be_a_link_of_the_user_s(root: Path, tmp_path: Path) -> None:
    link = tmp_path / "link"
    link.symlink_to(root)
    FolderStore(link).put(KEY, NEW, ANY)
    assert (root / KEY).read_bytes() == NEW


def test_a_huge_file_is_refused_by_its_size(root: Path) -> None:
    with (root / KEY).open("wb") as file:
        file.truncate(5 * 1024**3 if os.name != "nt" else MAX_BYTES + 1)
    store = FolderStore(root)
    with pytest.raises(StoreCorrupt):
        store.get(KEY)
    assert store.look(KEY) is not None
    store.put(KEY, NEW, ANY)
    assert store.get(KEY) is not None


@posix
def test_a_foreign_name_in_the_folder_is_left_out_of_the_list(root: Path) -> None:
    for name in (".hidden.pfx", "x.pfx ", "e\u0301.pfx", "a:b.pfx", os.fsdecode(b"\xff.pfx")):
        (root / name).write_bytes(b"x")
    FolderStore(root).put(KEY, NEW, ANY)
    assert [entry.key for entry in FolderStore(root).list()] == [KEY]


# --- names


def _keys() -> st.SearchStrategy[str]:
    pieces = ["..", ".", "/", "\\", "canary", HIDDEN, "a", "\0", ":", "~", "%2e", "con", " "]
    steps = ["..", HIDDEN, "a", "canary", ""]
    return st.one_of(
        st.text(max_size=80),
        st.lists(st.sampled_from(pieces), max_size=8).map("".join),
        st.lists(st.sampled_from(steps), max_size=6).map("/".join),
    )


@pytest.mark.slow
@settings(
    max_examples=300,
    deadline=None,
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow],
)
@given(_keys())
def test_no_key_ever_reaches_outside_the_root(root: Path, key: str) -> None:
    canary = root.parent / "canary"
    canary.write_bytes(b"canary")
    store = FolderStore(root)
    calls: list[Callable[[], object]] = [
        lambda: store.put(key, b"x", ANY),
        lambda: store.get(key),
        lambda: store.delete(key),
    ]
    for call in calls:
        try:
            assert b"canary" not in repr(call()).encode()
        except StoreInvalidName:
            continue
        except StoreError as error:
            assert error.kind in ("not-found", "denied"), error
    assert canary.read_bytes() == b"canary"
    assert {p.name for p in root.parent.iterdir()} == {"shelf", "canary"}


def test_the_longest_key_has_a_temp_that_fits(root: Path) -> None:
    for key in ("x" * 255, "ü" * 127):
        FolderStore(root).put(key, NEW, ABSENT)
    assert temps(root) == []


# --- folders and disks that say no


def test_a_missing_folder_is_not_found_and_a_missing_file_is_none(root: Path) -> None:
    assert FolderStore(root).get(KEY) is None
    gone = FolderStore(root / "gone")
    calls: list[Callable[[], object]] = [
        lambda: gone.get(KEY),
        lambda: gone.look(KEY),
        lambda: gone.look(f"{HIDDEN}/x"),
        lambda: gone.put(KEY, NEW, ANY),
        lambda: gone.delete(KEY),
        lambda: list(gone.list()),
        gone.sweep,
    ]
    for call in calls:
        with pytest.raises(StoreNotFound):
            call()
    assert not (root / "gone").exists()


def test_a_file_in_the_place_of_the_folder_is_not_found(root: Path) -> None:
    (root / "file").write_bytes(b"x")
    store = FolderStore(root / "file")
    calls: list[Callable[[], object]] = [
        lambda: store.look(KEY),
        lambda: store.put(KEY, NEW, ANY),
        lambda: list(store.list()),
    ]
    for call in calls:
        with pytest.raises(StoreNotFound):
            call()


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """A disk of 1 MB; needs root."""
    disk = tmp_path / "disk"
    disk.mkdir()
    mount = ["mount", "-t", "tmpfs", "-o", "size=1m", "tmpfs", str(disk)]
    if subprocess.run(mount, check=False, capture_output=True).returncode:
        pytest.skip("no tmpfs can be mounted here")
    yield disk
    subprocess.run(["umount", str(disk)], check=True)


@posix
@as_root
def test_a_full_disk_keeps_the_old_file_and_leaves_no_temp(small_disk: Path) -> None:
    store = FolderStore(small_disk)
    store.put(KEY, OLD, ANY)
    (small_disk / "filler").write_bytes(bytes(900_000))
    with pytest.raises(StoreFull) as caught:
        store.put(KEY, bytes(400_000), ANY)
    assert str(caught.value) == f"cannot write {KEY} in {small_disk}: no space left"
    assert caught.value.code == "ENOSPC"
    blob = store.get(KEY)
    assert blob is not None
    assert blob.data == OLD
    assert temps(small_disk) == []
    (small_disk / "filler").unlink()
    store.put(KEY, bytes(400_000), ANY)


READ_ONLY = """
    import os, sys
    from certshelf.errors import StoreDenied
    from certshelf.store.base import ANY
    from certshelf.store.folder import FolderStore
    import certshelf.store.rights, encodings.idna
    store = FolderStore(sys.argv[1])
    if os.getuid() == 0:
        os.chdir(sys.argv[1])  # the way here may be closed to others
        store = FolderStore(".")
        store._path, store._prefix = ".", "./"
        os.setgroups([]); os.setgid(65534); os.setuid(65534)
    assert store.get("www.example.com.pfx").data == b"old"
    for call in (lambda: store.put("www.example.com.pfx", b"new", ANY),
                 lambda: store.put("new.pfx", b"new", ANY),
                 lambda: store.delete("www.example.com.pfx")):
        try:
            call()
        except StoreDenied as error:
            print(str(error).replace(" in .:", f" in {sys.argv[1]}:"))
        else:
            raise SystemExit("written")
"""


@posix
def test_a_folder_without_write_access_is_denied_and_unchanged(root: Path) -> None:
    FolderStore(root).put(KEY, b"old", ANY)
    (root / KEY).chmod(0o444)
    root.chmod(0o555)
    done = subprocess.run(
        [sys.executable, "-c", textwrap.dedent(READ_ONLY), str(root)],
        check=False,
        timeout=60,
        capture_output=True,
        text=True,
    )
    root.chmod(0o700)
    assert done.returncode == 0, done.stderr
    assert done.stdout.splitlines()[0] == f"cannot write {KEY} in {root}: access denied"
    assert sorted(os.listdir(root)) == [HIDDEN, KEY]
    assert (root / KEY).read_bytes() == b"old"


SAID = [
    (errno.EIO, StoreUnreachable),
    (errno.ESTALE, StoreUnreachable),
    (errno.EACCES, StoreDenied),
    (errno.EROFS, StoreDenied),
    (errno.EDQUOT, StoreFull),
    (errno.EBUSY, StoreBusy),
    (errno.ETIMEDOUT, StoreTimeout),
]


@posix
@pytest.mark.parametrize(("code", "kind"), SAID)
@pytest.mark.parametrize("call", ["fsync", "replace", "write"])
def test_what_the_system_says_becomes_one_of_the_ten_kinds(
    root: Path, monkeypatch: pytest.MonkeyPatch, call: str, code: int, kind: type[StoreError]
) -> None:
    store = FolderStore(root)
    version = store.put(KEY, OLD, ANY)

    def refuse(*_: object, **__: object) -> None:
        raise OSError(code, os.strerror(code))

    with monkeypatch.context() as patched:
        patched.setattr(os, call, refuse)
        with pytest.raises(kind) as caught:
            store.put(KEY, NEW, ANY)
    assert caught.value.code == errno.errorcode[code]
    assert caught.value.hint
    assert store.look(KEY) == version
    assert temps(root) == []


def test_a_target_that_windows_holds_open_is_retried(
    root: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    store = FolderStore(root)
    store.put(KEY, OLD, ANY)
    met = _hold_open(monkeypatch, "replace", times=3)
    store.put(KEY, NEW, ANY)
    assert len(met) == 3
    assert (root / KEY).read_bytes() == NEW


@pytest.mark.parametrize("call", ["replace", "unlink"])
def test_7_a_target_that_windows_holds_open_for_ever_is_busy_and_whole(
    root: Path, monkeypatch: pytest.MonkeyPatch, call: str
) -> None:
    store = FolderStore(root, clock=FakeClock())
    store.put(KEY, OLD, ANY)
    with monkeypatch.context() as patched:
        met = _hold_open(patched, call, times=10**6)
        with pytest.raises(StoreBusy) as caught:
            _ = store.put(KEY, NEW, ANY) if call == "replace" else store.delete(KEY)
    assert len(met) > 10
    assert caught.value.code == "WinError 32"
    assert (root / KEY).read_bytes() == OLD


def _hold_open(monkeypatch: pytest.MonkeyPatch, call: str, times: int) -> list[OSError]:
    """The next calls fail as on Windows when another program has the file open."""
    met: list[OSError] = []
    real = getattr(os, call)

    def refuse(*args: object, **kwargs: object) -> None:
        if len(met) == times:
            real(*args, **kwargs)
            return
        error = PermissionError(errno.EACCES, "in use")
        error.winerror = 32  # type: ignore[attr-defined]
        met.append(error)
        raise error

    monkeypatch.setattr(os, call, refuse)
    return met


@posix
def test_a_writer_that_was_frozen_past_its_deadline_changes_nothing(
    root: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    clock = FakeClock()
    store = FolderStore(root, clock=clock)
    version = store.put(KEY, OLD, ANY)
    real = os.fsync

    def freeze(fd: int) -> None:
        real(fd)
        clock.advance(3600)

    with monkeypatch.context() as patched:
        patched.setattr(os, "fsync", freeze)
        with pytest.raises(StoreTimeout):
            store.put(KEY, NEW, ANY)
    assert store.look(KEY) == version
    assert temps(root) == []


@posix
def test_a_writer_waits_for_another_process_and_then_says_busy(root: Path) -> None:
    store = FolderStore(root, deadline_seconds=0.2)
    version = store.put(KEY, OLD, ANY)
    script = (
        "import fcntl, sys; f = open(sys.argv[1], 'r+'); fcntl.flock(f, fcntl.LOCK_EX)\n"
        "print('held', flush=True); sys.stdin.read()"
    )
    holder = subprocess.Popen(
        [sys.executable, "-c", script, str(root / lock_of(KEY))],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
    )
    try:
        assert holder.stdout is not None
        assert holder.stdout.readline().strip() == b"held"
        with pytest.raises(StoreBusy):
            store.put(KEY, NEW, ANY)
        assert store.look(KEY) == version
    finally:
        holder.communicate()
    FolderStore(root).put(KEY, NEW, version)


@posix
@pytest.mark.parametrize("expect", [ANY, ABSENT])
def test_a_file_system_without_hard_links_and_locks_still_works(
    root: Path, monkeypatch: pytest.MonkeyPatch, expect: Expect
) -> None:
    import fcntl

    def refuse(*_: object, **__: object) -> None:
        raise OSError(errno.EPERM, "no links here")

    def no_locks(*_: object) -> None:
        raise OSError(errno.ENOTSUP, "no locks here")

    monkeypatch.setattr(os, "link", refuse)
    monkeypatch.setattr(fcntl, "flock", no_locks)
    FolderStore(root).put(KEY, NEW, expect)
    assert (root / KEY).read_bytes() == NEW
    assert temps(root) == []


@posix
def test_2_what_another_program_wrote_over_a_put_is_told(
    root: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    real = os.replace

    def replace(*args: object, **kwargs: object) -> None:
        real(*args, **kwargs)  # type: ignore[arg-type]
        (root / KEY).write_bytes(b"torn")

    monkeypatch.setattr(os, "replace", replace)
    with pytest.raises(StoreCorrupt):
        FolderStore(root).put(KEY, NEW, ANY)


# --- rights


def mode(path: Path) -> int:
    return stat.S_IMODE(path.stat().st_mode)


@posix
def test_a_new_file_is_for_its_owner_alone_whatever_the_umask(root: Path) -> None:
    before = os.umask(0)
    try:
        FolderStore(root).put(KEY, NEW, ANY)
        FolderStore(root).put(f"{HIDDEN}/records/x", NEW, ANY)
    finally:
        os.umask(before)
    assert mode(root / KEY) == 0o600
    assert mode(root / HIDDEN) == 0o700
    assert mode(root / HIDDEN / "records" / "x") == 0o600


@posix
def test_in_a_set_group_id_folder_the_group_reads(root: Path) -> None:
    root.chmod(0o2750)
    FolderStore(root).put(KEY, NEW, ANY)
    FolderStore(root).put(f"{HIDDEN}/records/x", NEW, ANY)
    assert mode(root / KEY) == 0o640
    assert mode(root / HIDDEN / "records") == 0o2750
    assert mode(root / HIDDEN / "records" / "x") == 0o640


@posix
@pytest.mark.parametrize(
    ("before", "after"), [(0o640, 0o640), (0o444, 0o444), (0o666, 0o664), (0o4755, 0o755)]
)
def test_a_replaced_file_keeps_its_mode_but_never_write_access_for_all(
    root: Path, before: int, after: int
) -> None:
    FolderStore(root).put(KEY, OLD, ANY)
    (root / KEY).chmod(before)
    FolderStore(root).put(KEY, NEW, ANY)
    assert mode(root / KEY) == after


@posix
@as_root
def test_a_replaced_file_keeps_its_owner_and_group_when_root_writes(root: Path) -> None:
    FolderStore(root).put(KEY, OLD, ANY)
    os.chown(root / KEY, NOBODY, NOBODY)
    FolderStore(root).put(KEY, NEW, ANY)
    found = (root / KEY).stat()
    assert (found.st_uid, found.st_gid) == (NOBODY, NOBODY)


@posix
def test_4_a_temp_is_for_its_owner_alone_before_the_first_byte(
    root: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    store = FolderStore(root)
    store.put(KEY, OLD, ANY)
    (root / KEY).chmod(0o644)
    real = os.write
    modes = []

    def write(fd: int, data: bytes) -> int:
        modes.append(stat.S_IMODE(os.fstat(fd).st_mode))
        return real(fd, data)

    before = os.umask(0)
    try:
        with monkeypatch.context() as patched:
            patched.setattr(os, "write", write)
            store.put(KEY, NEW, ANY)
    finally:
        os.umask(before)
    assert modes == [0o600]
