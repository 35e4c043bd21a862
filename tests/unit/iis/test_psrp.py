"""pypsrp itself against peers that are no Windows: every failure becomes one of our errors.

No Windows was at hand. What is shown is that errors are told apart and that secrets stay out of
them; not that a Windows server understands us.
"""

from __future__ import annotations

import http.server
import socket
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import pytest

from certshelf.errors import DeployError
from certshelf.iis.apply import apply
from certshelf.iis.psrp import PsrpSession
from certshelf.iis.remote import Credential, Remote
from certshelf.secret import Secret

pytest.importorskip("pypsrp")


@contextmanager
def http_peer(status: int, body: bytes) -> Iterator[int]:
    class Handler(http.server.BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            self.rfile.read(int(self.headers.get("Content-Length", "0")))
            self.send_response(status)
            if status == 401:
                self.send_header("WWW-Authenticate", "Negotiate")
            self.send_header("Content-Type", "application/soap+xml")
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, *_: Any) -> None:
            pass

    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    try:
        yield server.server_address[1]
    finally:
        server.shutdown()
        server.server_close()
        thread.join(5)


def remote(port: int) -> Remote:
    return Remote("127.0.0.1", "admin", Secret("hunter2"), port=port, ssl=False)


def failure(port: int) -> DeployError:
    with pytest.raises(DeployError) as caught:
        apply(remote(port), "Get-Date", {}, lambda stream, line: None)
    shown = f"{caught.value} {caught.value.hint} {caught.value.output}"
    assert "hunter2" not in shown
    return caught.value


def test_a_closed_port_is_one_of_our_errors() -> None:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    assert "does not answer PowerShell Remoting" in str(failure(port))


@pytest.mark.parametrize(("status", "body"), [(401, b""), (500, b"<x"), (404, b"no"), (200, b"{}")])
def test_a_peer_that_is_no_windows_is_one_of_our_errors(status: int, body: bytes) -> None:
    with http_peer(status, body) as port:
        assert "127.0.0.1" in str(failure(port))


class FakePool:
    """Stands in for a runspace pool: how PsrpSession treats secrets can be seen on it."""

    def __init__(self) -> None:
        self.exchanged = False
        self.serialized: list[str] = []

    def exchange_keys(self) -> None:
        self.exchanged = True

    def serialize(self, value: str, metadata: Any) -> str:
        assert metadata.tag == "SS"  # MS-PSRP 2.2.5.1.24, a secure string
        self.serialized.append(value)
        return "sealed"


def test_a_secret_becomes_a_secure_string_and_a_credential_a_pscredential() -> None:
    pool = FakePool()
    session = PsrpSession(pool, Remote("web1"))
    assert session._argument(Secret("s3cret")) == "sealed"
    assert pool.serialized == ["s3cret"]
    credential = session._argument(Credential("FARM\\ccs", Secret("p")))
    assert (credential.username, credential.password) == ("FARM\\ccs", "p")
    assert session._argument(True) is True
