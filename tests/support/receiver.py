"""An HTTP receiver on loopback that remembers what it was sent, and answers as told."""

from __future__ import annotations

import http.server
import ssl
import threading
from dataclasses import dataclass, field
from pathlib import Path


@dataclass
class Got:
    path: str
    headers: dict[str, str]
    body: bytes


@dataclass
class Answer:
    status: int = 200
    headers: dict[str, str] = field(default_factory=dict)
    body: bytes = b"ok"
    hold: threading.Event | None = None


class Receiver:
    """connections counts whoever came, also those that said nothing."""

    def __init__(self, pem: Path | None = None) -> None:
        self.got: list[Got] = []
        self.answer = Answer()
        self.connections = 0
        rig = self

        class Handler(http.server.BaseHTTPRequestHandler):
            def do_POST(self) -> None:
                body = self.rfile.read(int(self.headers.get("Content-Length", 0)))
                rig.got.append(Got(self.path, dict(self.headers), body))
                if rig.answer.hold is not None:
                    rig.answer.hold.wait(20)
                self.send_response(rig.answer.status)
                for name, value in rig.answer.headers.items():
                    self.send_header(name, value)
                self.send_header("Content-Length", str(len(rig.answer.body)))
                self.end_headers()
                self.wfile.write(rig.answer.body)

            do_GET = do_POST  # noqa: N815

            def log_message(self, *_: object) -> None:
                pass

        class Server(http.server.ThreadingHTTPServer):
            daemon_threads = True

            def process_request(self, request: object, client_address: object) -> None:
                rig.connections += 1
                super().process_request(request, client_address)  # type: ignore[arg-type]

            def handle_error(self, request: object, client_address: object) -> None:
                pass

        self._server = Server(("127.0.0.1", 0), Handler)
        if pem is not None:
            tls = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
            tls.load_cert_chain(pem)
            self._server.socket = tls.wrap_socket(self._server.socket, server_side=True)
        self.port = int(self._server.server_address[1])
        self._thread = threading.Thread(target=self._server.serve_forever, daemon=True)
        self._thread.start()

    def close(self) -> None:
        if self.answer.hold is not None:
            self.answer.hold.set()
        self._server.shutdown()
        self._server.server_close()
