"""certshelf edge: one command is a TLS server for every name of the shelf."""

from __future__ import annotations

import signal
import socket
import ssl
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.support.envoy import Envoy
from tests.support.ports import free_port
from tests.support.reader import PASSWORD, ShelfFolder
from tests.support.rig import Upstream
from tests.support.server_process import Process
from tests.support.tls_probe import connect, wait_served, wait_until

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(bool(Envoy.missing()), reason=f"not installed: {Envoy.missing()}"),
]


class Edge:
    def __init__(self, work: Path, upstream_port: int | None = None) -> None:
        self.shelf = ShelfFolder(work / "shelf")
        self.sha256 = self.shelf.publish("www.one.test")
        self.upstream = Upstream()
        self.port = free_port()
        password = work / "password"
        password.write_text(PASSWORD)
        words = ["--shelf", str(self.shelf.folder), "--password-file", str(password)]
        to = upstream_port or self.upstream.port
        words += ["--listen", f"127.0.0.1:{self.port}", "--to", f"127.0.0.1:{to}"]
        command = [sys.executable, "-m", "certshelf", "edge", *words]
        self.process = Process(command, work / "edge.log")
        self.process.wait_port(self.port)

    def close(self) -> None:
        self.process.stop()
        self.upstream.close()


@pytest.fixture
def edge(tmp_path: Path) -> Iterator[Edge]:
    edge = Edge(tmp_path)
    try:
        yield edge
    finally:
        edge.close()


def test_every_name_is_served_without_any_configuration(edge: Edge) -> None:
    assert wait_served(edge.port, "www.one.test", edge.sha256) == edge.sha256
    late = edge.shelf.publish("late.test")
    assert wait_served(edge.port, "late.test", late) == late


def test_requests_reach_the_server_behind(edge: Edge) -> None:
    wait_served(edge.port, "www.one.test", edge.sha256)
    with connect(edge.port, "www.one.test") as connection:
        connection.sendall(b"GET / HTTP/1.1\r\nHost: www.one.test\r\n\r\n")
        assert connection.recv(4096).startswith(b"HTTP/1.1 200")


def test_http2_is_offered(edge: Edge) -> None:
    wait_served(edge.port, "www.one.test", edge.sha256)
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
    context.set_alpn_protocols(["h2"])
    with (
        socket.create_connection(("127.0.0.1", edge.port), 10) as raw,
        context.wrap_socket(raw, server_hostname="www.one.test") as connection,
    ):
        assert connection.selected_alpn_protocol() == "h2"


def test_tls_begins_with_1_2(edge: Edge) -> None:
    wait_served(edge.port, "www.one.test", edge.sha256)
    for version in (ssl.TLSVersion.TLSv1_2, ssl.TLSVersion.TLSv1_3):
        assert handshake(edge.port, version) == version.name.replace("_", ".", 1)
    with pytest.warns(DeprecationWarning), pytest.raises(ssl.SSLError):
        handshake(edge.port, ssl.TLSVersion.TLSv1_1)


def handshake(port: int, version: ssl.TLSVersion) -> str | None:
    """The version of a connection of a client that knows this one only."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
    context.set_ciphers("ALL:@SECLEVEL=0")  # else OpenSSL does not even try the old versions
    context.minimum_version = context.maximum_version = version
    with (
        socket.create_connection(("127.0.0.1", port), 10) as raw,
        context.wrap_socket(raw, server_hostname="www.one.test") as connection,
    ):
        return connection.version()


def test_a_request_in_flight_is_answered_before_it_stops(tmp_path: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        listener.settimeout(20)
        edge = Edge(tmp_path, int(listener.getsockname()[1]))
        try:
            wait_served(edge.port, "www.one.test", edge.sha256)
            with connect(edge.port, "www.one.test") as connection:
                connection.sendall(b"GET /slow HTTP/1.1\r\nHost: www.one.test\r\n\r\n")
                upstream, _ = listener.accept()
                with upstream:
                    assert upstream.recv(4096).startswith(b"GET /slow ")
                    edge.process.send(signal.SIGTERM)
                    assert not wait_until(lambda: not edge.process.is_running, 2)
                    upstream.sendall(b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok")
                    assert connection.recv(4096).startswith(b"HTTP/1.1 200")
            assert edge.process.wait(30) == 0, edge.process.output()
        finally:
            edge.close()


def test_it_stops_when_told_and_leaves_no_process(edge: Edge) -> None:
    edge.process.send(signal.SIGTERM)
    assert edge.process.wait(30) == 0, edge.process.output()
    with pytest.raises(OSError):
        socket.create_connection(("127.0.0.1", edge.port), 1)
