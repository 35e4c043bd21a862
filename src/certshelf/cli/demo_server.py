"""The demo's web server: an ASGI application under uvicorn that reads its shelf at handshakes.

Run as a process of its own by `certshelf demo`. Standard input: the shelf's URL on the first line,
the PFX password on the second. Standard output: one JSON line once it listens.
"""

from __future__ import annotations

import json
import os
import socket
import sys
import threading
from collections.abc import Awaitable, Callable, MutableMapping
from typing import Any

Scope = MutableMapping[str, Any]
Send = Callable[[MutableMapping[str, Any]], Awaitable[None]]


async def application(scope: Scope, receive: object, send: Send) -> None:
    """Answer every request with the host it was for and the process that answers."""
    if scope["type"] != "http":
        return
    host = dict(scope["headers"]).get(b"host", b"?").decode("latin-1")
    body = json.dumps({"host": host, "pid": os.getpid()}).encode() + b"\n"
    headers = [(b"content-type", b"application/json"), (b"content-length", b"%d" % len(body))]
    await send({"type": "http.response.start", "status": 200, "headers": headers})
    await send({"type": "http.response.body", "body": body})


def main() -> None:
    """Serve until the standard input ends or SIGTERM comes."""
    import uvicorn

    from certshelf import open_shelf
    from certshelf.serve.python import server_context

    url, password = (sys.stdin.readline().rstrip("\n") for _ in range(2))
    config = uvicorn.Config(
        application, log_level="warning", lifespan="off", timeout_keep_alive=3600
    )
    config.load()
    config.ssl = server_context(open_shelf(url, password=password))
    listener = socket.create_server(("127.0.0.1", 0))
    print(json.dumps({"port": listener.getsockname()[1], "pid": os.getpid()}), flush=True)
    server = uvicorn.Server(config)

    def follow_parent() -> None:
        sys.stdin.read()  # ends with the demo's process, however that ends
        server.should_exit = True

    threading.Thread(target=follow_parent, daemon=True).start()
    server.run(sockets=[listener])


if __name__ == "__main__":
    main()
