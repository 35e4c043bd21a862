"""The PEM mirror: what is written, for whom, and what stays."""

from __future__ import annotations

import io
import os
import stat
from collections.abc import Iterator
from pathlib import Path

import pytest
from tests.support.small_ca import SmallCa
from tests.support.source import FakeSource
from tests.support.tls_probe import wait_until

from certshelf.clock import SYSTEM
from certshelf.errors import ConfigError
from certshelf.names import HostName
from certshelf.serve.changes import MAX_WAITING, ChangeQueue
from certshelf.serve.log import ReaderLog
from certshelf.serve.mirror import CHANGES_FILE, Journal, Mirror
from certshelf.serve.mirror_files import MirrorFolder, Rights
from certshelf.serve.pems import PemCache

posix = pytest.mark.skipif(os.name != "posix", reason="modes are POSIX's")


@pytest.fixture(scope="module")
def ca() -> SmallCa:
    return SmallCa()


class Running:
    def __init__(self, folder: Path, source: FakeSource, *, whole: bool, grace_s: float) -> None:
        self.told: list[frozenset[str]] = []
        self.folder = folder
        log = ReaderLog(io.StringIO(), SYSTEM)
        self.mirror = Mirror(
            MirrorFolder(folder, Rights()),
            source,
            PemCache(),
            log,
            SYSTEM,
            whole=whole,
            grace_s=grace_s,
        )
        self.mirror.follow(self.told.append)
        self.mirror.prepare()
        self.mirror.start()

    def holds(self, name: str, data: bytes | None) -> bool:
        path = self.folder / name
        return wait_until(lambda: (path.read_bytes() if path.exists() else None) == data, 10)


@pytest.fixture
def source() -> FakeSource:
    return FakeSource()


@pytest.fixture
def whole(tmp_path: Path, source: FakeSource) -> Iterator[Running]:
    running = Running(tmp_path / "mirror", source, whole=True, grace_s=0.0)
    yield running
    running.mirror.close()


@pytest.fixture
def lazy(tmp_path: Path, source: FakeSource) -> Iterator[Running]:
    running = Running(tmp_path / "mirror", source, whole=False, grace_s=3600.0)
    yield running
    running.mirror.close()


def test_a_whole_mirror_follows_the_shelf(ca: SmallCa, source: FakeSource, whole: Running) -> None:
    for name, file in (("www.one.test", "www.one.test.pem"), ("*.wild.test", "_.wild.test.pem")):
        bundle = ca.issue(name)
        source.put(name, bundle)
        source.tell(name)
        assert whole.holds(file, bundle.to_pem())
    assert wait_until(lambda: frozenset({"*.wild.test"}) in whole.told)


def test_what_left_the_shelf_goes_after_the_grace_time(
    ca: SmallCa, source: FakeSource, whole: Running
) -> None:
    source.put("www.one.test", ca.issue("www.one.test"))
    source.tell("www.one.test")
    assert wait_until((whole.folder / "www.one.test.pem").exists)
    source.drop("www.one.test")
    source.tell("www.one.test")
    assert whole.holds("www.one.test.pem", None)


def test_a_file_that_cannot_be_read_now_stays(
    ca: SmallCa, source: FakeSource, whole: Running
) -> None:
    bundle = ca.issue("www.one.test")
    source.put("www.one.test", bundle)
    source.tell("www.one.test")
    assert whole.holds("www.one.test.pem", bundle.to_pem())
    source.files.clear()  # the index still has it
    other = ca.issue("two.test")
    source.put("two.test", other)
    source.tell("www.one.test", "two.test")
    assert whole.holds("two.test.pem", other.to_pem())
    assert whole.holds("www.one.test.pem", bundle.to_pem())


def test_a_lazy_mirror_holds_what_was_asked_for(
    ca: SmallCa, source: FakeSource, lazy: Running
) -> None:
    asked, other = ca.issue("*.wild.test"), ca.issue("two.test")
    source.put("*.wild.test", asked)
    source.put("two.test", other)
    source.tell("two.test")
    lazy.mirror.want(source.files["_.wild.test.pfx"])
    assert lazy.holds("_.wild.test.pem", asked.to_pem())
    assert not (lazy.folder / "two.test.pem").exists()
    changes = lazy.folder / CHANGES_FILE
    assert wait_until(lambda: changes.exists() and b" two.test\n" in changes.read_bytes())


@pytest.mark.parametrize("kind", ["whole", "lazy"])
def test_a_host_is_one_name_in_whatever_spelling_its_change_is_told(
    ca: SmallCa, source: FakeSource, kind: str, request: pytest.FixtureRequest
) -> None:
    running: Running = request.getfixturevalue(kind)
    changes = running.folder / CHANGES_FILE
    source.put("bücher.test", ca.issue("bücher.test"))
    source.tell("bücher.test")
    assert wait_until(lambda: changes.exists() and b" xn--bcher-kva.test\n" in changes.read_bytes())
    assert running.mirror.held() <= {"xn--bcher-kva.test"}


def test_an_error_that_nobody_foresaw_ends_no_copying(
    ca: SmallCa, source: FakeSource, whole: Running, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked: list[str] = []

    def fail(host: HostName) -> None:
        asked.append(host.ascii)
        raise RuntimeError("told so")

    with monkeypatch.context() as broken:
        broken.setattr(source, "exact", fail)
        source.tell("a.test")
        assert wait_until(lambda: asked == ["a.test"])
    bundle = ca.issue("www.one.test")
    source.put("www.one.test", bundle)
    source.tell("www.one.test")
    assert whole.holds("www.one.test.pem", bundle.to_pem())


def test_what_a_server_was_given_is_no_change_until_it_is_another(
    ca: SmallCa, source: FakeSource, lazy: Running
) -> None:
    given, newer = ca.issue("www.one.test"), ca.issue("www.one.test")
    source.put("www.one.test", given)
    lazy.mirror.want(source.files["www.one.test.pfx"])
    assert lazy.holds("www.one.test.pem", given.to_pem())
    source.put("two.test", ca.issue("two.test"))
    source.tell("two.test")
    changes = lazy.folder / CHANGES_FILE
    assert wait_until(lambda: b" two.test\n" in changes.read_bytes())
    assert b" www.one.test\n" not in changes.read_bytes()
    source.put("www.one.test", newer)
    source.tell("www.one.test")
    assert lazy.holds("www.one.test.pem", newer.to_pem())
    assert wait_until(lambda: b" www.one.test\n" in changes.read_bytes())


@posix
def test_keys_are_for_owner_and_group_only(ca: SmallCa, source: FakeSource, whole: Running) -> None:
    source.put("www.one.test", ca.issue("www.one.test"))
    source.tell("www.one.test")
    path = whole.folder / "www.one.test.pem"
    assert wait_until(path.exists)
    assert stat.S_IMODE(path.stat().st_mode) == 0o640
    assert stat.S_IMODE(whole.folder.stat().st_mode) == 0o750


@posix
def test_a_folder_that_others_may_write_is_refused(tmp_path: Path) -> None:
    folder = tmp_path / "mirror"
    folder.mkdir()
    folder.chmod(0o777)
    with pytest.raises(ConfigError, match="others may write"):
        MirrorFolder(folder, Rights()).prepare()


@posix
def test_a_link_in_place_of_the_folder_is_refused(tmp_path: Path) -> None:
    (tmp_path / "real").mkdir()
    (tmp_path / "mirror").symlink_to(tmp_path / "real")
    with pytest.raises(ConfigError):
        MirrorFolder(tmp_path / "mirror", Rights()).prepare()


@posix
def test_a_link_in_place_of_a_file_is_replaced_and_not_followed(tmp_path: Path) -> None:
    folder = MirrorFolder(tmp_path / "mirror", Rights())
    folder.prepare()
    target = tmp_path / "target"
    target.write_bytes(b"old")
    (folder.path / "a.test.pem").symlink_to(target)
    assert folder.write("a.test.pem", b"new")
    assert target.read_bytes() == b"old"
    assert not (folder.path / "a.test.pem").is_symlink()


def test_what_a_killed_reader_left_is_swept(tmp_path: Path) -> None:
    folder = MirrorFolder(tmp_path / "mirror", Rights())
    folder.prepare()
    (folder.path / ".tmp-0123").write_bytes(b"half a key")
    folder.prepare()
    assert [path.name for path in folder.path.iterdir()] == []


def test_the_journal_says_what_is_no_longer_listed() -> None:
    journal = Journal(100)
    journal.add({"a.test"})
    assert journal.text() == b"101 100\n101 a.test\n"
    for number in range(600):
        journal.add({f"n{number}.test"})
    newest, floor = journal.text().split(b"\n")[0].split()
    assert int(newest) == 701
    assert int(floor) > 101
    assert b" a.test\n" not in journal.text()


def test_a_change_of_very_many_names_is_a_change_of_all() -> None:
    journal = Journal(100)
    journal.add({f"n{number}.test" for number in range(600)})
    assert journal.text() == b"101 101\n"


def test_a_queue_folds_what_waits() -> None:
    queue = ChangeQueue()
    for _ in range(3):
        queue.put(frozenset({"a.test"}))
    changes = queue.take(0)
    assert changes is not None and changes.names == {"a.test"}
    assert queue.take(0) is None
    queue.put(frozenset(f"n{n}.test" for n in range(MAX_WAITING + 1)))
    changes = queue.take(0)
    assert changes is not None and changes.everything and not changes.names
