"""The database is held, damaged, newer, or its writer is killed: nothing is lost or changed."""

from __future__ import annotations

import contextlib
import os
import shutil
import signal
import sqlite3
import subprocess
import sys
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

from certshelf.errors import CredentialError, RecordBusy, RecordError
from certshelf.manage.db.database import Database, open_database
from certshelf.manage.db.rotation import lost_secrets, rotate_keys
from certshelf.manage.keyring import KeyRing
from certshelf.manage.model import Credential, IssuerKind, IssuerRecord, Step
from certshelf.secret import Secret
from tests.support.clock import FakeClock
from tests.support.records import certificate, records_in


@pytest.fixture
def database(tmp_path: Path) -> Iterator[Database]:
    with records_in(tmp_path) as database:
        yield database


def _open_again(tmp_path: Path) -> Database:
    return open_database(f"sqlite:///{tmp_path / 'certshelf.db'}", KeyRing(tmp_path / "keys.json"))


def _put(database: Database, name: str, text: str) -> None:
    with database.write() as records:
        records.credentials.put(Credential(name), Secret(text))


def _hold_exclusively(path: Path) -> subprocess.Popen[str]:
    """A second process with BEGIN EXCLUSIVE, until its standard input is closed."""
    code = (
        "import sqlite3, sys; c = sqlite3.connect(sys.argv[1], isolation_level=None);"
        "c.execute('BEGIN EXCLUSIVE'); print('held', flush=True); sys.stdin.read();"
        "c.execute('ROLLBACK')"
    )
    process = subprocess.Popen(
        [sys.executable, "-c", code, str(path)],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    )
    assert process.stdout is not None
    assert process.stdout.readline() == "held\n"
    return process


def test_a_held_database_is_readable_and_a_write_ends_in_busy(tmp_path: Path) -> None:
    with records_in(tmp_path, busy_seconds=0.1) as database:
        _put(database, "a", "x")
        with _hold_exclusively(tmp_path / "certshelf.db") as other:
            with database.read() as records:
                assert records.credentials.secret("a") == Secret("x")
            with pytest.raises(RecordBusy, match="held by another process") as caught:
                _put(database, "b", "y")
            other.communicate("")
        assert caught.value.retryable
        _put(database, "b", "y")


def test_a_write_waits_for_the_other_process_and_keeps_the_key(database: Database) -> None:
    with database.write() as records:
        added = records.certificates.add(certificate())
        order = records.orders.start(added.id, "local", FakeClock().now())
    with _hold_exclusively(Path(database.where)) as other:
        timer = threading.Timer(0.5, other.communicate, [""])
        timer.start()
        with database.write() as records:
            records.orders.checkpoint(order, Secret("the key"), step=Step.KEY_SEALED)
        timer.join()
    with database.read() as records:
        assert records.orders.key(order.id) == Secret("the key")


def test_a_damaged_database_is_refused_with_a_restore_hint(tmp_path: Path) -> None:
    with records_in(tmp_path) as database, database.write() as records:
        for i in range(200):
            records.certificates.add(certificate(f"c{i}"))
    copy = tmp_path / "copy.db"
    shutil.copy(tmp_path / "certshelf.db", copy)
    data = bytearray(copy.read_bytes())
    for offset in range(4096, len(data), 4096):
        data[offset : offset + 16] = b"\xa5" * 16
    copy.write_bytes(data)
    with pytest.raises(RecordError, match="the database is damaged") as caught:
        open_database(f"sqlite:///{copy}", KeyRing(tmp_path / "keys.json"))
    assert "restore the last backup" in caught.value.hint
    assert copy.read_bytes() == bytes(data)


@pytest.mark.parametrize("content", [b"hello, I am no database, I am a text" * 50, b"\0" * 4096])
def test_a_file_that_is_no_database_is_refused_and_kept(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "certshelf.db"
    path.write_bytes(content)
    with pytest.raises(RecordError, match="damaged"):
        _open_again(tmp_path)
    assert path.read_bytes() == content


def test_a_newer_database_is_refused_and_unchanged(tmp_path: Path) -> None:
    with records_in(tmp_path):
        pass
    with sqlite3.connect(tmp_path / "certshelf.db") as raw:
        raw.execute("UPDATE alembic_version SET version_num = '9999'")
    raw.close()
    before = (tmp_path / "certshelf.db").read_bytes()
    with pytest.raises(RecordError, match="the database is newer than this certshelf") as caught:
        _open_again(tmp_path)
    assert "newer one" in caught.value.hint
    assert (tmp_path / "certshelf.db").read_bytes() == before


def test_somebody_elses_database_is_refused_and_unchanged(tmp_path: Path) -> None:
    with sqlite3.connect(tmp_path / "certshelf.db") as raw:
        raw.execute("CREATE TABLE mine (x)")
    raw.close()
    before = (tmp_path / "certshelf.db").read_bytes()
    with pytest.raises(RecordError, match="not certshelf's"):
        _open_again(tmp_path)
    assert (tmp_path / "certshelf.db").read_bytes() == before


def test_two_processes_that_make_the_database_at_once_make_one(tmp_path: Path) -> None:
    code = (
        "import sys; from pathlib import Path; from certshelf.manage.home import Home;"
        "from certshelf.manage.opening import create_home; sys.stdin.readline();"
        "create_home(Home.at(Path(sys.argv[1]), {}), {'shelf.store': '/srv/shelf'})"
    )
    argv = [sys.executable, "-c", code, str(tmp_path / "home")]
    both = [subprocess.Popen(argv, stdin=subprocess.PIPE, text=True) for _ in range(3)]
    for process in both:
        assert process.stdin is not None
        process.stdin.write("\n")
        process.stdin.flush()
    for process in both:
        process.communicate()
    assert [process.returncode for process in both] == [0, 0, 0]


def test_a_secret_that_is_moved_to_another_row_does_not_open(database: Database) -> None:
    _put(database, "mine", "x")
    _put(database, "other", "y")
    with sqlite3.connect(database.where) as raw:
        raw.execute(
            "UPDATE credential SET sealed = (SELECT sealed FROM credential WHERE name = 'other')"
            " WHERE name = 'mine'"
        )
    raw.close()
    with database.read() as records, pytest.raises(CredentialError, match="another row"):
        records.credentials.secret("mine")


# --- rotation


class _Killed(Exception):
    pass


def _everything(database: Database) -> dict[str, Secret | None]:
    with database.read() as records:
        found: dict[str, Secret | None] = {
            one.name: records.credentials.secret(one.name) for one in records.credentials.all()
        }
        return found | {"issuer": records.issuers.key("local")}


@pytest.mark.parametrize("kill_at", range(1, 6))
def test_a_rotation_that_is_killed_at_a_row_is_finished_by_the_next(
    database: Database, kill_at: int
) -> None:
    for name in ("a", "b", "c"):
        _put(database, name, f"secret {name}")
    with database.write() as records:
        records.issuers.add(IssuerRecord("local", IssuerKind.LOCAL), Secret("ca key"))
    before, old = _everything(database), database.ring.current
    seen: list[str] = []

    def kill(place: str) -> None:
        seen.append(place)
        if len(seen) == kill_at:
            raise _Killed

    if kill_at <= 4:
        with pytest.raises(_Killed):
            rotate_keys(database, progress=kill)
        assert old in database.ring.ids
        assert _everything(database) == before
    rotate_keys(database)
    assert database.ring.ids == {database.ring.current}
    assert old not in database.ring.ids
    assert _everything(database) == before


def test_a_rotation_keeps_what_it_cannot_open(database: Database, tmp_path: Path) -> None:
    _put(database, "lost", "x")
    (tmp_path / "keys.json").unlink()
    database.ring.create()
    _put(database, "kept", "y")
    rotate_keys(database)
    assert [one.row for one in lost_secrets(database)] == ["lost"]
    with database.read() as records:
        assert records.credentials.secret("kept") == Secret("y")


# --- two processes, and a kill


_WRITER = """
import sys
from pathlib import Path
from certshelf.manage.model import Credential
from certshelf.secret import Secret
from tests.support.clock import FakeClock
from tests.support.clock import FakeClock
from tests.support.records import records_in
now = FakeClock().now()
with records_in(Path(sys.argv[1])) as database:
    for i in range(int(sys.argv[3])):
        with database.write() as records:
            records.credentials.put(Credential(f"{sys.argv[2]}{i}"), Secret("x"))
            records.events.append(now, "credential.added", f"{sys.argv[2]}{i}")
        print(i, flush=True)
"""


def _writer(tmp_path: Path, name: str, count: int) -> subprocess.Popen[str]:
    argv = [sys.executable, "-c", _WRITER, str(tmp_path), name, str(count)]
    root = Path(__file__).parents[2]
    return subprocess.Popen(argv, stdout=subprocess.PIPE, text=True, cwd=root)


@pytest.mark.slow
def test_two_processes_write_one_chain_of_events(database: Database, tmp_path: Path) -> None:
    both = [_writer(tmp_path, name, 100) for name in ("a", "b")]
    for process in both:
        process.communicate()
    assert [process.returncode for process in both] == [0, 0]
    with database.read() as records:
        assert records.events.verify() == 200
        assert len(records.credentials.all()) == 200


@pytest.mark.slow
@pytest.mark.skipif(os.name != "posix", reason="SIGKILL")
@pytest.mark.parametrize("after", [1, 7, 40])
def test_a_killed_writer_loses_nothing_that_was_committed(tmp_path: Path, after: int) -> None:
    process = _writer(tmp_path, "a", 100_000)
    assert process.stdout is not None
    for _ in range(after):
        process.stdout.readline()
    process.send_signal(signal.SIGKILL)
    said = after + len(process.stdout.read().splitlines())
    process.wait()
    with records_in(tmp_path) as database, database.read() as records:
        count = records.events.verify()
        assert count in (said, said + 1)  # killed between the commit and the print
        assert len(records.credentials.all()) == count
        assert records.credentials.secret(f"a{count - 1}") == Secret("x")


def test_a_restored_copy_is_brought_back_to_its_journal_mode(tmp_path: Path) -> None:
    with records_in(tmp_path):
        pass
    with sqlite3.connect(tmp_path / "certshelf.db") as raw:
        raw.execute("PRAGMA journal_mode=DELETE")
    raw.close()
    _open_again(tmp_path).close()
    with sqlite3.connect(tmp_path / "certshelf.db") as raw:
        assert raw.execute("PRAGMA journal_mode").fetchone() == ("wal",)
    raw.close()


def test_f3_a_full_disk_under_the_database_is_told_and_loses_nothing(tmp_path: Path) -> None:
    disk = tmp_path / "disk"
    disk.mkdir()
    mount = ["mount", "-t", "tmpfs", "-o", "size=4m", "tmpfs", str(disk)]
    if (
        not shutil.which("mount")
        or subprocess.run(mount, check=False, capture_output=True).returncode
    ):
        pytest.skip("no tmpfs can be mounted here")
    try:
        with records_in(disk) as database:
            with database.write() as records:
                records.certificates.add(certificate("kept"))
            filler = disk / "filler"
            with contextlib.suppress(OSError), filler.open("wb", buffering=0) as file:
                while True:
                    file.write(bytes(4096))
            with pytest.raises(RecordError) as caught:
                for number in range(200):
                    with database.write() as records:
                        records.certificates.add(certificate(f"c{number}", comment="x" * 4000))
            assert "full" in str(caught.value) or "space" in str(caught.value)
            with database.read() as records:
                assert records.certificates.find("kept") is not None
            filler.unlink()
            with database.write() as records:
                records.certificates.add(certificate("after"))
    finally:
        subprocess.run(["umount", str(disk)], check=True)
