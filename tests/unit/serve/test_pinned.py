"""Links for servers that read a file twice: they hold what they held."""

from __future__ import annotations

import io
import json
from pathlib import Path

import pytest
from tests.support.clock import FakeClock

from certshelf.clock import SYSTEM
from certshelf.serve.apache import ApacheReloader
from certshelf.serve.log import ReaderLog
from certshelf.serve.mirror_files import MirrorFolder, Rights
from certshelf.serve.pinned import Pinned
from certshelf.serve.traefik import TraefikFile


@pytest.fixture
def mirror(tmp_path: Path) -> MirrorFolder:
    mirror = MirrorFolder(tmp_path / "mirror", Rights())
    mirror.prepare()
    mirror.write("a.test.pem", b"first")
    return mirror


@pytest.fixture
def pinned(mirror: MirrorFolder) -> Pinned:
    pinned = Pinned(mirror, "test")
    pinned.prepare()
    return pinned


def test_a_link_holds_what_the_file_held_when_it_was_listed(
    mirror: MirrorFolder, pinned: Pinned
) -> None:
    first = pinned.paths(["a.test"])["a.test"]
    mirror.write("a.test.pem", b"second")
    assert first.read_bytes() == b"first"
    second = pinned.paths(["a.test"])["a.test"]
    assert second.read_bytes() == b"second"
    assert first.read_bytes() == b"first"  # the list before may still be read
    assert pinned.paths(["a.test"])["a.test"] == second
    assert not first.exists()


def test_a_name_without_a_file_is_left_out(mirror: MirrorFolder, pinned: Pinned) -> None:
    assert list(pinned.paths(["a.test", "gone.test"])) == ["a.test"]


def test_links_of_an_earlier_run_stay_until_the_server_has_the_next_list(
    mirror: MirrorFolder, pinned: Pinned
) -> None:
    first = pinned.paths(["a.test"])["a.test"]
    mirror.write("a.test.pem", b"second")
    again = Pinned(mirror, "test")
    again.prepare()
    again.paths(["a.test"])
    assert first.exists()
    again.paths(["a.test"])
    assert not first.exists()


def test_no_link_is_taken_for_a_host(mirror: MirrorFolder, pinned: Pinned) -> None:
    pinned.paths(["a.test"])
    assert [host.ascii for host in mirror.hosts()] == ["a.test"]


def test_apache_and_traefik_are_given_links(mirror: MirrorFolder, tmp_path: Path) -> None:
    log = ReaderLog(io.StringIO(), SYSTEM)
    apache = ApacheReloader("true", mirror, lambda: {"a.test"}, log)
    apache.prepare()
    file = Path(apache.text().split()[-1])
    clock = FakeClock()
    traefik = TraefikFile(tmp_path / "t" / "c.yml", mirror, lambda: {"a.test"}, log, clock)
    traefik.prepare()
    told = traefik.text().splitlines()[-1].partition("certFile: ")[2].partition(",")[0]
    mirror.write("a.test.pem", b"second")
    assert file.read_bytes() == Path(json.loads(told)).read_bytes() == b"first"
