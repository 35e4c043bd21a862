"""Requests and answers of one SMB session on the wire: framed, numbered, counted, matched.

smbprotocol negotiates and logs in; then its connection gets a Link as its transport. The library's
thread reads through it, and the Link keeps what answers our own requests. All else, such as the
library's sign of life on an idle connection, it passes on.
"""

from __future__ import annotations

import contextlib
import socket
import struct
from collections.abc import Sequence
from threading import Event, Lock, get_ident
from typing import Any

from certshelf.store.smb_messages import Message
from certshelf.store.smb_seal import Seal, seal_of

_HEADER = struct.Struct("<4sHHIHHIIQQQ16s")  # MS-SMB2 section 2.2.1
_SIZE = 64
_ASYNC, _RELATED, _DFS = 0x2, 0x4, 0x10000000
_CANCEL = Message(0x0C, struct.pack("<HH", 4, 0))
_PENDING = 0x00000103
_MAX_FRAME = 4 << 20
_UNPROVED = bytes(16)


class LinkLost(Exception):
    """The connection is of no more use."""


class Exchange:
    """One compound on its way. answers: (status, body) of each of its requests."""

    def __init__(self, number: int, count: int) -> None:
        self.number = number
        self.answers: list[tuple[int, bytes]] = [(_PENDING, b"")] * count
        self.left = count
        self.async_id: int | None = None
        self.done = Event()

    def wait(self) -> list[tuple[int, bytes]]:
        """The answers, when they are all there; LinkLost when they will never be."""
        self.done.wait()
        if self.left:
            raise LinkLost("the connection ended")
        return self.answers


class Link:
    """The connection's transport, for smbprotocol (connected, send, recv, close) and for us."""

    def __init__(self, connection: Any) -> None:
        self._raw: socket.socket = connection.transport._sock
        self._raw.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self._connection = connection
        self._sending = Lock()
        self._received = bytearray()
        self._waiting: dict[int, tuple[Exchange, int]] = {}
        self._reader: int | None = None
        self._seal: Seal | None = None
        self._session_id = self._tree_id = self._flags = 0
        self.connected = True
        connection.transport = self

    def open(self, session: Any, tree: Any) -> None:
        """From now on ask() speaks for this session on this share."""
        self._session_id, self._tree_id = session.session_id, tree.tree_connect_id
        self._flags = _DFS if tree.is_dfs_share else 0
        self._seal = seal_of(self._connection, session, tree)

    # --- for us

    def ask(self, requests: Sequence[Message]) -> Exchange:
        """Send requests as one compound about one file; LinkLost when it cannot travel."""
        exchange = self._numbered(len(requests))
        parts = []
        for position, request in enumerate(requests):
            size = 0
            if position < len(requests) - 1:  # each one begins at a multiple of 8
                size = (_SIZE + len(request.data) + 7) & ~7
            flags = self._flags | (_RELATED if position else 0)
            head = self._header(
                request, flags, size, exchange.number + position, self._tree_id << 32
            )
            parts.append((head + request.data).ljust(size, b"\0"))
        self._send_sealed(parts)
        return exchange

    def cancel(self, exchange: Exchange) -> None:
        """Ask the server to answer now what it still waits with; that answer is not heard."""
        flags, where = self._flags, self._tree_id << 32
        if exchange.async_id is not None:
            flags, where = flags | _ASYNC, exchange.async_id
        head = self._header(_CANCEL, flags, 0, exchange.number, where, credits=0)
        self._send_sealed([head + _CANCEL.data])

    def _header(
        self, request: Message, flags: int, size: int, number: int, where: int, credits: int = 1
    ) -> bytes:
        charge = credits if self._connection.supports_multi_credit else 0
        return _HEADER.pack(
            *(b"\xfeSMB", _SIZE, charge, 0, request.command, credits, flags, size),
            *(number, where, self._session_id, _UNPROVED),
        )

    def _numbered(self, count: int) -> Exchange:
        """An exchange with the next message numbers, which the server must have granted."""
        with self._connection.sequence_lock:
            window = self._connection.sequence_window
            if not self.connected or self._seal is None:
                raise LinkLost("not connected")
            if window["high"] - window["low"] < count:
                raise LinkLost("the server grants too few requests at once")
            exchange = Exchange(window["low"], count)
            window["low"] += count
            for position in range(count):
                self._waiting[exchange.number + position] = exchange, position
        return exchange

    def _send_sealed(self, parts: list[bytes]) -> None:
        if self._seal is None:
            raise LinkLost("not connected")
        try:
            self.send(self._seal.sealed(parts))
        except OSError as error:
            self.close()
            raise LinkLost(str(error)) from error

    # --- for smbprotocol

    def send(self, message: Any) -> None:
        """Send a frame: bytes, or a structure of the library."""
        data = message if isinstance(message, bytes) else message.pack()
        with self._sending:
            self._raw.sendall(len(data).to_bytes(4, "big") + data)

    def recv(self, timeout: float) -> bytes | None:
        """The next frame that is not for us; None at the end, TimeoutError when all is quiet."""
        self._reader = get_ident()
        self._raw.settimeout(timeout)
        while (frame := self._frame()) is not None:
            if not self._take(frame):
                return frame
        self.close()
        return None

    def close(self) -> None:
        """Hang up, and let go of all who wait for an answer. The reader closes the socket."""
        with self._connection.sequence_lock:
            self.connected = False
            left = [exchange for exchange, _ in self._waiting.values()]
            self._waiting.clear()
        with contextlib.suppress(OSError):
            self._raw.shutdown(socket.SHUT_RDWR)
        if self._reader == get_ident():
            with self._sending:  # nobody may write to a number that the next file gets
                self._raw.close()
        for exchange in left:
            exchange.done.set()

    def abort(self) -> None:
        """Cut the connection at once, from any thread: its reader then ends the rest."""
        with contextlib.suppress(OSError):
            self._raw.shutdown(socket.SHUT_RDWR)

    def _frame(self) -> bytes | None:
        buffer = self._received
        while True:
            if len(buffer) >= 4:
                end = 4 + int.from_bytes(buffer[:4], "big")
                if end > _MAX_FRAME:
                    raise ValueError("an answer that is too long")
                if len(buffer) >= end:
                    frame = bytes(buffer[4:end])
                    del buffer[:end]
                    return frame
            try:
                data = self._raw.recv(65536)
            except TimeoutError:
                raise
            except OSError:
                return None
            if not data:
                return None
            buffer += data

    def _take(self, frame: bytes) -> bool:
        """Whether the frame answers us. What is forged or makes no sense ends the connection."""
        seal = self._seal
        rest = seal.opened(frame) if seal is not None else None
        if seal is None or rest is None or _HEADER.unpack_from(rest)[8] not in self._waiting:
            return False
        while rest:
            size = _HEADER.unpack_from(rest)[7] or len(rest)
            if size < _SIZE:
                raise ValueError("answers that lie in one another")
            answer, rest = rest[:size], rest[size:]
            seal.check(answer)
            self._answered(answer)
        return True

    def _answered(self, answer: bytes) -> None:
        _, _, _, status, _, granted, flags, _, number, where, _, _ = _HEADER.unpack_from(answer)
        with self._connection.sequence_lock:
            exchange, position = self._waiting[number]
            if granted == 0 and not self._connection.supports_multi_credit:
                granted = 1
            self._connection.sequence_window["high"] += granted
            if status == _PENDING:
                if flags & _ASYNC:
                    exchange.async_id = where
                return
            del self._waiting[number]
        exchange.answers[position] = status, answer[_SIZE:]
        exchange.left -= 1
        if not exchange.left:
            exchange.done.set()
