"""nginx's Lua and an endpoint that breaks off: half an answer is none."""

from __future__ import annotations

import hashlib
import socketserver
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

from certshelf.bundle.model import Bundle
from tests.support.nginx import LuaNginx
from tests.support.small_ca import SmallCa
from tests.support.tls_probe import served

pytestmark = pytest.mark.slow

CA = SmallCa()
GOOD, CUT = CA.issue("good.test"), CA.issue("cut.test")


class Endpoint(socketserver.ThreadingUnixStreamServer):
    """Answers as the reader does; of CUT it says half and keeps the connection."""

    daemon_threads = True
    connections = 0


class Connection(socketserver.StreamRequestHandler):
    def handle(self) -> None:
        assert isinstance(self.server, Endpoint)
        self.server.connections += 1
        while line := self.rfile.readline():
            while self.rfile.readline().strip():
                pass
            self.answer(line.decode())

    def answer(self, line: str) -> None:
        bundle: Bundle = CUT if "cut.test" in line else GOOD
        body = bundle.to_pem()
        head = f"HTTP/1.1 200 OK\r\nContent-Length: {len(body)}\r\n\r\n".encode()
        self.wfile.write(head + (body[:100] if bundle is CUT else body))


@pytest.fixture
def nginx(tmp_path: Path) -> Iterator[LuaNginx]:
    if missing := LuaNginx.missing():
        pytest.skip(f"not installed: {missing}")
    rig = LuaNginx(tmp_path / "server")
    mirror = rig.work / "mirror"
    mirror.mkdir()
    (mirror / ".placeholder.pem").write_bytes(CA.issue("placeholder.test").to_pem())
    try:
        rig.start(())
        yield rig
    finally:
        rig.close()


def test_an_answer_that_breaks_off_is_none_and_its_connection_is_not_used_again(
    nginx: LuaNginx,
) -> None:
    with Endpoint(str(nginx.work / "http.sock"), Connection) as endpoint:
        (nginx.work / "http.sock").chmod(0o666)
        threading.Thread(target=endpoint.serve_forever, daemon=True).start()
        try:
            good = hashlib.sha256(GOOD.leaf_der).hexdigest()
            assert "alert" in served(nginx.port, "cut.test")
            assert served(nginx.port, "good.test") == good
            assert endpoint.connections == 2
        finally:
            endpoint.shutdown()
