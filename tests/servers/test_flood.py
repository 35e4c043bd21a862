"""A flood of names that the shelf does not have, through real servers: it costs nothing that stays.

The reader runs in this process, so that its store is counted and its caches are seen.
"""

from __future__ import annotations

import time
from pathlib import Path

import pytest

from certshelf.names import HostName
from certshelf.resolve import resolver
from certshelf.serve import http, sds
from tests.support.apache import Apache
from tests.support.caddy import Caddy
from tests.support.envoy import Envoy
from tests.support.haproxy import Haproxy
from tests.support.inner_reader import CountedFolder, InnerReader
from tests.support.nginx import LuaNginx, PlainNginx
from tests.support.reader import ShelfFolder
from tests.support.rig import Rig
from tests.support.tls_probe import served, wait_served, wait_until
from tests.support.traefik import Traefik

pytestmark = pytest.mark.slow

ASKERS = [LuaNginx, Caddy, Envoy]
MIRRORED = [PlainNginx, Haproxy, Traefik, Apache]
FLOOD, BOUND = 600, 100


@pytest.fixture(autouse=True)
def small_caches(monkeypatch: pytest.MonkeyPatch) -> None:
    """The same code with caches that a test can fill."""
    monkeypatch.setattr(resolver, "_MAX_ABSENT", BOUND)
    monkeypatch.setattr(resolver, "_MAX_SPELLINGS", BOUND)
    monkeypatch.setattr(sds, "MAX_ABSENT", BOUND)
    monkeypatch.setattr(http, "_MAX_VAIN", BOUND)


def flood(kind: type[Rig], work: Path, *, as_remote: bool) -> tuple[list[str], float]:
    """What a flood asks of the store, and how many seconds it took."""
    if kind.missing():
        pytest.skip(f"not installed: {kind.missing()}")
    shelf = ShelfFolder(work / "shelf")
    sha256 = shelf.publish("www.one.test")
    rig = kind(work / "server")
    reader = InnerReader(CountedFolder(shelf.folder, as_remote=as_remote), rig.reader_flags())
    try:
        if "--mirror" in rig.reader_flags():
            assert wait_until(lambda: "mirror-filled" in reader.log.getvalue())
        rig.start((HostName.parse("www.one.test"),))
        assert wait_served(rig.port, "www.one.test", sha256, rig.seconds) == sha256
        served(rig.port, "first.flood.test")
        reader.settle()
        reader.store.asked.clear()
        before, began = reader.sizes(), time.monotonic()
        for number in range(FLOOD):
            assert served(rig.port, f"n{number}.flood.test") != sha256
            if number % 100 == 0:
                assert served(rig.port, "www.one.test") == sha256
        asked = list(reader.store.asked)
        grown = {
            where: size for where, size in reader.sizes().items() if size > before.get(where, 0)
        }
        assert all(size <= BOUND + 1 for size in grown.values()), grown
        assert served(rig.port, "www.one.test") == sha256
        return asked, time.monotonic() - began
    finally:
        rig.close()
        reader.close()


@pytest.mark.parametrize("kind", [*ASKERS, *MIRRORED], ids=lambda kind: kind.kind)
def test_a_local_shelf_is_asked_nothing_about_unknown_names(
    kind: type[Rig], tmp_path: Path
) -> None:
    asked, _ = flood(kind, tmp_path, as_remote=False)
    assert [what for what in asked if "flood" in what or what == "list"] == []


@pytest.mark.parametrize("kind", ASKERS, ids=lambda kind: kind.kind)
def test_a_share_is_asked_about_a_few_of_the_unknown_names(kind: type[Rig], tmp_path: Path) -> None:
    asked, seconds = flood(kind, tmp_path, as_remote=True)
    burst, rate = resolver._LOOKS[1], resolver._LOOKS[0]
    about = [what for what in asked if "flood" in what]
    assert len(about) <= burst + rate * (seconds + 1)
    assert not [what for what in asked if what == "list"]
