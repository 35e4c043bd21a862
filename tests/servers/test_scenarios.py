"""The same story over each real server: it serves what lies on the shelf, come what may."""

from __future__ import annotations

import ssl
from collections.abc import Iterator
from pathlib import Path

import pytest

from certshelf.names import HostName
from tests.support.apache import Apache
from tests.support.caddy import Caddy
from tests.support.envoy import Envoy
from tests.support.haproxy import Haproxy
from tests.support.nginx import CachedNginx, LuaNginx, PlainNginx
from tests.support.reader import ReaderProcess, ShelfFolder
from tests.support.rig import Rig
from tests.support.tls_probe import Load, connect, served, served_raw, wait_served, wait_until
from tests.support.traefik import Traefik

pytestmark = pytest.mark.slow

RIGS = [PlainNginx, CachedNginx, LuaNginx, Haproxy, Caddy, Envoy, Traefik, Apache]
NAMES = ("www.one.test", "two.test", "*.wild.test", "bücher.test", "rsa.one.test")
ON_THE_WIRE = {"*.wild.test": "host.wild.test", "bücher.test": "xn--bcher-kva.test"}


class Farm:
    """A shelf with NAMES, a reader and one server."""

    def __init__(self, work: Path, kind: type[Rig]) -> None:
        self.shelf = ShelfFolder(work / "shelf")
        for name in NAMES:
            self.shelf.publish(name, rsa_key=name.startswith("rsa"))
        self.rig = kind(work / "server")
        flags = ["--cache", str(work / "cache"), *self.rig.reader_flags()]
        self.reader = ReaderProcess(work / "reader", self.shelf, flags)
        self.start()

    def start(self) -> None:
        mirror = self.rig.work / "mirror"
        if "--mirror" in self.rig.reader_flags():
            assert wait_until(lambda: "mirror-filled" in self.reader.log), self.reader.log
            assert mirror.is_dir()
        self.start_server()

    def start_server(self) -> None:
        self.rig.start(tuple(HostName.parse(name) for name in self.shelf.current))

    def wait(self, name: str, sha256: str) -> None:
        seen = wait_served(self.rig.port, wire(name), sha256, self.rig.seconds)
        assert seen == sha256, f"{name}: {seen}\n{self.rig.output()}\n{self.reader.log[-3000:]}"

    def serve_all(self) -> None:
        for name, bundle in self.shelf.current.items():
            self.wait(name, bundle.sha256)

    def close(self) -> None:
        self.rig.close()
        self.reader.close()


def wire(name: str) -> str:
    return ON_THE_WIRE.get(name, name.replace("*", "any"))


@pytest.fixture(params=RIGS, ids=lambda kind: kind.kind)
def farm(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Farm]:
    kind: type[Rig] = request.param
    if kind.missing():
        pytest.skip(f"not installed: {kind.missing()}")
    farm = Farm(tmp_path, kind)
    try:
        yield farm
    finally:
        farm.close()


def test_each_name_is_served_with_its_own_certificate(farm: Farm) -> None:
    farm.serve_all()


def test_a_name_published_later_is_served_without_a_reload(farm: Farm) -> None:
    farm.serve_all()
    served(farm.rig.port, "late.test")  # the server may remember that it was not there
    farm.wait("late.test", farm.shelf.publish("late.test"))


def test_a_wildcard_published_later_is_served(farm: Farm) -> None:
    sha256 = farm.shelf.publish("*.latewild.test")
    if farm.rig.new_wildcard_needs_restart:
        farm.rig.stop()
        farm.start()
    farm.wait("*.latewild.test", sha256)


def test_an_exact_name_wins_over_its_wildcard(farm: Farm) -> None:
    farm.serve_all()
    sha256 = farm.shelf.publish("exact.wild.test")
    if farm.rig.new_wildcard_needs_restart:
        farm.rig.stop()
        farm.start()
    farm.wait("exact.wild.test", sha256)
    farm.wait("*.wild.test", farm.shelf.current["*.wild.test"].sha256)


def test_a_replaced_certificate_is_served_and_no_handshake_fails(farm: Farm) -> None:
    farm.serve_all()
    with Load(farm.rig.port, "www.one.test") as load, Load(farm.rig.port, "x.wild.test") as other:
        for name in ("www.one.test", "*.wild.test", "bücher.test", "www.one.test", "www.one.test"):
            farm.wait(name, sha256 := farm.shelf.publish(name))
        assert load.saw(sha256)
    assert_no_failures(farm, load, replaced=3)
    assert_no_failures(farm, other, replaced=1)


def test_a_file_that_takes_long_to_open_is_served_and_no_handshake_fails(farm: Farm) -> None:
    farm.serve_all()
    with Load(farm.rig.port, "www.one.test") as load, Load(farm.rig.port, "two.test") as other:
        farm.wait("www.one.test", farm.shelf.publish_slow("www.one.test", rsa_key=True))
        farm.wait("late.test", farm.shelf.publish_slow("late.test"))
    assert_no_failures(farm, load, replaced=1)
    assert_no_failures(farm, other, replaced=0)


def test_an_open_connection_survives_a_replacement(farm: Farm) -> None:
    farm.serve_all()
    with connect(farm.rig.port, "two.test") as connection:
        farm.wait("two.test", farm.shelf.publish("two.test"))
        assert ask(connection).startswith(b"HTTP/1.1 200")


def test_with_the_shelf_gone_all_that_was_served_is_served(farm: Farm) -> None:
    farm.serve_all()
    farm.shelf.take_away()
    for _ in range(20):
        farm.serve_all()
    farm.shelf.bring_back()
    farm.wait("two.test", farm.shelf.publish("two.test"))


def test_garbage_on_the_shelf_leaves_the_last_good(farm: Farm) -> None:
    farm.serve_all()
    for name in farm.shelf.current:
        farm.shelf.spoil(name)
    sha256 = farm.shelf.publish("after.test")  # seen by the reader after the garbage
    farm.wait("after.test", sha256)
    farm.shelf.current.pop("after.test")
    for _ in range(10):
        farm.serve_all()


def test_an_unknown_name_gets_a_clean_no(farm: Farm) -> None:
    farm.serve_all()
    seen = served(farm.rig.port, "unknown.elsewhere.test")
    known = {bundle.sha256 for bundle in farm.shelf.current.values()}
    if farm.rig.miss_is_default:
        assert seen not in known and ":" not in seen, seen
    else:
        assert seen.startswith("alert: "), seen
    if not farm.rig.wildcard_is_deep:
        assert served(farm.rig.port, "two.levels.wild.test") not in known


@pytest.mark.parametrize("sni", ["../secret/canary", "..%2fcanary", "/etc/passwd", "a/b", "_.wild"])
def test_a_hostile_name_opens_no_file(farm: Farm, sni: str) -> None:
    canary = farm.shelf.ca.issue("canary.test")
    folder = farm.rig.work / "secret"
    folder.mkdir()
    for name in ("canary", "canary.pem"):
        (folder / name).write_bytes(canary.to_pem())
    seen = served_raw(farm.rig.port, sni)
    known = {bundle.sha256 for bundle in farm.shelf.current.values()}
    assert seen not in known | {canary.sha256}
    farm.serve_all()


def test_upper_case_never_gives_another_certificate(farm: Farm) -> None:
    farm.serve_all()
    own = farm.shelf.current["www.one.test"].sha256
    expected = "alert" if farm.rig.refuses_upper_case else own
    assert served_raw(farm.rig.port, "WWW.One.Test") == expected


def test_the_reader_killed_and_started_again_is_not_noticed(farm: Farm) -> None:
    farm.serve_all()
    farm.reader.kill()
    if farm.rig.keeps_nothing:
        assert served(farm.rig.port, "two.test").startswith("alert: ")
    for _ in range(0 if farm.rig.keeps_nothing else 5):
        farm.serve_all()
    farm.reader.start()
    farm.serve_all()
    farm.wait("two.test", farm.shelf.publish("two.test"))
    farm.wait("again.test", farm.shelf.publish("again.test"))


def test_the_reader_started_again_without_the_shelf_takes_nothing_away(farm: Farm) -> None:
    farm.serve_all()
    farm.reader.kill()
    farm.shelf.take_away()
    farm.reader.start()
    for _ in range(20):
        farm.serve_all()
    farm.shelf.bring_back()
    farm.wait("two.test", farm.shelf.publish("two.test"))


def test_the_server_started_again_serves_the_newest(farm: Farm) -> None:
    farm.serve_all()
    farm.wait("two.test", farm.shelf.publish("two.test"))
    farm.rig.stop()
    farm.start_server()
    farm.serve_all()


def test_server_and_reader_started_without_the_shelf_serve_what_was_served(farm: Farm) -> None:
    farm.serve_all()
    farm.reader.kill()
    farm.rig.stop()
    farm.shelf.take_away()
    farm.reader.start()
    farm.start_server()
    for _ in range(5):
        farm.serve_all()


def assert_no_failures(farm: Farm, load: Load, replaced: int) -> None:
    """None at all; where the server reads the key apart, at most one for each replacement."""
    allowed = replaced if farm.rig.reads_the_key_apart else 0
    assert sum(load.failures.values()) <= allowed, (load.failures, farm.rig.output())


def ask(connection: ssl.SSLSocket) -> bytes:
    connection.sendall(b"GET / HTTP/1.1\r\nHost: two.test\r\n\r\n")
    return connection.recv(4096)
