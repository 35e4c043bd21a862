"""What the server scenarios need of any web server: start it, probe it, know what it can."""

from __future__ import annotations

import http.server
import threading
from abc import ABC, abstractmethod
from pathlib import Path

from certshelf.names import HostName
from certshelf.serve.setup import Setup
from tests.support.ports import free_port
from tests.support.server_process import Process


class Rig(ABC):
    """One kind of server on one free port of loopback, configured by certshelf's own text."""

    kind = ""
    miss_is_default = False
    """An unknown name gets the server's default certificate, not an alert."""
    new_wildcard_needs_restart = False
    wildcard_is_deep = False
    """Its wildcard covers several labels."""
    refuses_upper_case = False
    reads_the_key_apart = False
    """It opens a file for the certificate and again for the key: one handshake at the moment of a
    replacement may see two versions."""
    keeps_nothing = False
    """It asks the reader at each handshake: none succeeds while there is no reader."""
    seconds = 15.0
    """How long a change may take until it is served, with room for a busy machine."""

    def __init__(self, work: Path) -> None:
        self.work = work
        work.mkdir(parents=True, exist_ok=True)
        self.port = free_port()
        self.upstream = Upstream()
        self._process: Process | None = None

    @staticmethod
    @abstractmethod
    def missing() -> str:
        """What is not installed here; "" when the rig can run."""

    @abstractmethod
    def reader_flags(self) -> list[str]:
        """The flags of the reader that serves this server."""

    @abstractmethod
    def command(self, setup: Setup) -> list[str]:
        """Write the configuration; the command that runs the server in the foreground."""

    def setup(self, hosts: tuple[HostName, ...]) -> Setup:
        return Setup(
            mirror=self.work / "mirror",
            http_socket=self.work / "http.sock",
            sds_socket=self.work / "sds" / "sds.sock",
            haproxy_socket=self.work / "haproxy.sock",
            listen=f"127.0.0.1:{self.port}",
            upstream=f"127.0.0.1:{self.upstream.port}",
            hosts=hosts,
        )

    def start(self, hosts: tuple[HostName, ...]) -> None:
        """Start the server; the reader runs already."""
        command = self.command(self.setup(hosts))
        self._process = Process(command, self.work / f"{self.kind}.log", cwd=self.work)
        self._process.wait_port(self.port)

    @property
    def process(self) -> Process:
        assert self._process is not None
        return self._process

    def output(self) -> str:
        return self.process.output()

    def stop(self) -> None:
        if self._process is not None:
            self._process.stop()
        self._process = None

    def close(self) -> None:
        self.stop()
        self.upstream.close()


class Upstream:
    """A plain HTTP server behind the TLS server: answers ok."""

    def __init__(self) -> None:
        class Handler(http.server.BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def do_GET(self) -> None:
                self.send_response(200)
                self.send_header("Content-Length", "2")
                self.end_headers()
                self.wfile.write(b"ok")

            def log_message(self, *_: object) -> None:
                pass

        self._server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self._server.daemon_threads = True
        self.port = int(self._server.server_address[1])
        self._thread = threading.Thread(target=self._server.serve_forever, daemon=True)
        self._thread.start()

    def close(self) -> None:
        self._server.shutdown()
        self._server.server_close()
