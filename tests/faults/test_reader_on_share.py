"""Servers that a reader serves from a real share, which goes away, hangs and comes back."""

from __future__ import annotations

import ssl
from collections.abc import Iterator
from pathlib import Path

import pytest

from certshelf.names import HostName
from certshelf.secret import Secret
from certshelf.shelf.shelf import Shelf
from tests.support.caddy import Caddy
from tests.support.envoy import Envoy
from tests.support.nginx import LuaNginx, PlainNginx
from tests.support.reader import PASSWORD, ReaderProcess
from tests.support.rig import Rig
from tests.support.samba import Samba
from tests.support.small_ca import SmallCa
from tests.support.tls_probe import Load, connect, wait_served, wait_until

pytestmark = [pytest.mark.slow, pytest.mark.timeout(300)]

NAMES = ("www.one.test", "two.test")
SECONDS = 90.0
"""Room for a change to be seen over a share on a busy machine; a share is listed, not watched."""


class ShareFarm:
    """A shelf on the share, a reader that reads it as a user of the share, one server."""

    def __init__(self, samba: Samba, work: Path, kind: type[Rig]) -> None:
        self._ca = SmallCa()
        folder = samba.new_folder()
        self._shelf = Shelf(samba.store(folder), Secret(PASSWORD), owner="tests")
        self.current: dict[str, str] = {}
        for name in NAMES:
            self.publish(name)
        self.rig = kind(work / "server")
        password = work / "share-password"
        password.write_text(samba.reader.password)
        account = ["--store-username", samba.reader.name, "--store-password-file", str(password)]
        flags = [*self.rig.reader_flags(), *account]
        url = samba.url(folder, samba.reader)
        self.reader = ReaderProcess(work / "reader", url, flags)
        if kind is PlainNginx:
            assert wait_until(lambda: "mirror-filled" in self.reader.log, 60), self.reader.log
        self.rig.start(tuple(HostName.parse(name) for name in NAMES))

    def publish(self, name: str) -> None:
        """Put a new certificate on the share."""
        bundle = self._ca.issue(name)
        assert self._shelf.publish(bundle).ok
        self.current[name] = bundle.sha256

    def serve_all(self) -> None:
        for name, sha256 in self.current.items():
            seen = wait_served(self.rig.port, name, sha256, SECONDS)
            assert seen == sha256, f"{name}: {seen}\n{self.reader.log[-3000:]}"

    def close(self) -> None:
        self.rig.close()
        self.reader.close()


@pytest.fixture(params=[PlainNginx, LuaNginx, Caddy, Envoy], ids=lambda kind: kind.kind)
def farm(request: pytest.FixtureRequest, samba: Samba, tmp_path: Path) -> Iterator[ShareFarm]:
    kind: type[Rig] = request.param
    if kind.missing():
        pytest.skip(f"not installed: {kind.missing()}")
    pytest.importorskip("smbprotocol")
    farm = ShareFarm(samba, tmp_path, kind)
    try:
        yield farm
    finally:
        farm.close()


def test_a_share_that_goes_and_comes_back_is_not_noticed(farm: ShareFarm, samba: Samba) -> None:
    farm.serve_all()
    with Load(farm.rig.port, "www.one.test") as load:
        samba.stop()
        for _ in range(10):
            farm.serve_all()
        samba.start()
        farm.publish("two.test")
        farm.serve_all()
    assert not load.failures, (load.failures, farm.rig.output())


def test_a_share_that_hangs_holds_up_neither_known_names_nor_open_connections(
    farm: ShareFarm, samba: Samba
) -> None:
    farm.serve_all()
    with connect(farm.rig.port, "two.test") as connection:
        assert ask(connection).startswith(b"HTTP/1.1 200")
        with Load(farm.rig.port, "www.one.test") as load:
            samba.freeze()
            try:
                for _ in range(20):
                    farm.serve_all()
                    assert ask(connection).startswith(b"HTTP/1.1 200")
            finally:
                samba.thaw()
        assert not load.failures, (load.failures, farm.rig.output())
    farm.publish("www.one.test")
    farm.serve_all()


def ask(connection: ssl.SSLSocket) -> bytes:
    connection.sendall(b"GET / HTTP/1.1\r\nHost: two.test\r\n\r\n")
    answer = connection.recv(4096)
    while not answer.endswith(b"ok"):
        more = connection.recv(4096)
        if not more:
            break
        answer += more
    return answer
