"""http-01 in farm mode for a server that has no rule of its own: the reader answers every token.

GET TOKEN's path, get TOKEN.THUMBPRINT: no state, no secret, nothing of the shelf (RFC 8555 section
8.1). Everything else is 404. One request a connection.
"""

from __future__ import annotations

import asyncio
import re
from typing import cast

from certshelf.challenge import stateless_answer
from certshelf.errors import ConfigError

_THUMBPRINT = re.compile(r"[A-Za-z0-9_-]{43}", re.ASCII)
_REQUEST = re.compile(rb"(GET|HEAD) (/[!-~]*) HTTP/1\.[01]")
_MAX_HEAD_BYTES = 8192
_MAX_CONNECTIONS = 1024
_PATIENCE_S = 10.0
"""How long a client may take for its question, and for reading the answer."""


class ChallengeEndpoint:
    """Listens on one address for a CA's questions; runs in the event loop that starts it.

    thumbprint: of our account at the CA, as `certshelf issuer show` prints it. ConfigError when it
    is none.
    """

    def __init__(self, thumbprint: str) -> None:
        if not _THUMBPRINT.fullmatch(thumbprint):
            raise ConfigError(
                "that is no thumbprint of an account",
                hint="certshelf issuer show ISSUER prints it: 43 characters",
            )
        self._thumbprint = thumbprint
        self._server: asyncio.Server | None = None
        self._open: dict[_Connection, None] = {}

    async def listen(self, host: str, port: int) -> int:
        """Listen; the port (useful when 0 was asked for). ConfigError when it is taken."""
        loop = asyncio.get_running_loop()
        try:
            self._server = await loop.create_server(
                lambda: _Connection(self._thumbprint, self._open), host or None, port
            )
        except OSError as error:
            raise ConfigError(f"cannot listen on {host}:{port}: {error.strerror}") from error
        return int(self._server.sockets[0].getsockname()[1])

    async def close(self) -> None:
        """Stop listening and drop who is connected."""
        if self._server is not None:
            self._server.close()
        for connection in tuple(self._open):
            connection.abort()


class _Connection(asyncio.Protocol):
    def __init__(self, thumbprint: str, among: dict[_Connection, None]) -> None:
        self._thumbprint = thumbprint
        self._among = among
        self._head = b""

    def abort(self) -> None:
        """Drop the connection."""
        self._transport.abort()

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast(asyncio.Transport, transport)
        self._timer = asyncio.get_running_loop().call_later(_PATIENCE_S, self.abort)
        if len(self._among) >= _MAX_CONNECTIONS:
            oldest = next(iter(self._among))  # whoever is here longest asks nothing
            del self._among[oldest]
            oldest.abort()
        self._among[self] = None

    def connection_lost(self, _error: Exception | None) -> None:
        self._timer.cancel()
        self._among.pop(self, None)

    def data_received(self, data: bytes) -> None:
        if self._transport.is_closing():
            return
        self._head += data
        if b"\r\n\r\n" in self._head or b"\n\n" in self._head:
            self._transport.write(answer(self._head, self._thumbprint))
            self._transport.close()
        elif len(self._head) > _MAX_HEAD_BYTES:
            self.abort()


def answer(head: bytes, thumbprint: str) -> bytes:
    """The whole response to a request's head; only a well-formed token is ever echoed."""
    request = _REQUEST.fullmatch(head.partition(b"\n")[0].removesuffix(b"\r"))
    text = stateless_answer(request[2].decode("ascii"), thumbprint) if request else None
    status, body = ("200 OK", text) if text else ("404 Not Found", "no such challenge\n")
    lines = [
        f"HTTP/1.1 {status}",
        "Content-Type: text/plain",
        f"Content-Length: {len(body)}",
        "X-Content-Type-Options: nosniff",
        "Cache-Control: no-store",
        "Connection: close",
    ]
    whole = "\r\n".join([*lines, "", ""])
    return (whole if request and request[1] == b"HEAD" else whole + body).encode("ascii")
