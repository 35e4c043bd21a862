"""gRPC's half of HTTP/2 that a server of one streaming method needs: bytes in, bytes out, no I/O.

Request headers are not decoded: whoever may connect may call, and there is one method. Response
headers are constants. Frames, flow control, settings and pings are as the standards say.
Why not the grpcio library: docs/decisions/0007.
Sources: RFC 9113 (HTTP/2), RFC 7541 (header literals), grpc.io "gRPC over HTTP2".
"""

from __future__ import annotations

import struct
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass, field

PREFACE = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"
MAX_MESSAGE_BYTES = 64 * 1024 * 1024
"""A reconnected Envoy lists every name that it holds. All streams of a connection together hold no
more."""
MAX_STREAMS = 100
"""Envoy needs one; RFC 9113 section 6.5.2 advises against fewer than 100."""
_MAX_HEAD_BYTES = 65536
_MAX_FRAME = 16384
_WINDOW = 1 << 20
_FIRST_WINDOW = 65535
_MOST_WINDOW = (1 << 31) - 1

_DATA, _HEADERS, _RST_STREAM, _SETTINGS, _PUSH_PROMISE = 0, 1, 3, 4, 5
_PING, _GOAWAY, _WINDOW_UPDATE, _CONTINUATION = 6, 7, 8, 9
_END_STREAM, _ACK, _END_HEADERS, _PADDED = 0x1, 0x1, 0x4, 0x8
_SET_MAX_STREAMS, _SET_INITIAL_WINDOW = 3, 4
_NO_ERROR, _PROTOCOL_ERROR, _FLOW_CONTROL_ERROR, _FRAME_SIZE_ERROR = 0, 1, 3, 6
_REFUSED_STREAM, _ENHANCE_YOUR_CALM = 7, 11


def _literal(name: bytes, value: bytes) -> bytes:
    """A header that no table keeps (RFC 7541 section 6.2.2)."""
    return b"\x00" + bytes((len(name),)) + name + bytes((len(value),)) + value


_OK = b"\x88" + _literal(b"content-type", b"application/grpc")
_DONE = _literal(b"grpc-status", b"0")


class Http2Error(Exception):
    """The peer broke the protocol; the connection ends with this code."""

    def __init__(self, code: int, what: str) -> None:
        super().__init__(what)
        self.code = code


@dataclass(slots=True)
class _Stream:
    """window: what the peer still takes. eaten: what we took and did not confirm."""

    window: int
    inbox: bytearray = field(default_factory=bytearray)
    outbox: deque[bytes] = field(default_factory=deque)
    eaten: int = 0


class GrpcConnection:
    """One connection. Give it what arrived by receive(), send what take() returns.

    on_message: called with the number of the stream and each whole message. on_end: the stream is
    over. Not thread-safe: one event loop uses it.
    """

    def __init__(
        self, on_message: Callable[[int, bytes], None], on_end: Callable[[int], None]
    ) -> None:
        self._on_message = on_message
        self._on_end = on_end
        self._streams: dict[int, _Stream] = {}
        self._blocked: dict[int, _Stream] = {}
        self._held = 0
        self._newest = 0
        self._has_preface = False
        self._unread = b""
        self._head: tuple[int, int, int] | None = None
        self._window = _FIRST_WINDOW
        self._eaten = 0
        self._stream_window = _FIRST_WINDOW
        settings = struct.pack(">HIHI", _SET_MAX_STREAMS, MAX_STREAMS, _SET_INITIAL_WINDOW, _WINDOW)
        self._out = [
            _frame(_SETTINGS, 0, 0, settings),
            _frame(_WINDOW_UPDATE, 0, 0, struct.pack(">I", _WINDOW - _FIRST_WINDOW)),
        ]

    def receive(self, data: bytes) -> None:
        """Read what arrived. Raises Http2Error; then send goodbye() and close."""
        data = self._unread + data if self._unread else data
        at = 0
        if not self._has_preface:
            if not PREFACE.startswith(data[: len(PREFACE)]):
                raise Http2Error(_PROTOCOL_ERROR, "no HTTP/2 preface")
            if len(data) < len(PREFACE):
                self._unread = data
                return
            self._has_preface, at = True, len(PREFACE)
        while len(data) - at >= 9:
            length = int.from_bytes(data[at : at + 3], "big")
            if length > _MAX_FRAME:
                raise Http2Error(_FRAME_SIZE_ERROR, "a frame is too long")
            if len(data) - at < 9 + length:
                break
            number = int.from_bytes(data[at + 5 : at + 9], "big") & _MOST_WINDOW
            self._frame(data[at + 3], data[at + 4], number, data[at + 9 : at + 9 + length])
            at += 9 + length
        self._unread = data[at:]

    def send(self, number: int, message: bytes) -> None:
        """Send a message on a stream as far as the peer's windows let it, the rest later."""
        stream = self._streams.get(number)
        if stream is None:
            return
        message = struct.pack(">BI", 0, len(message)) + message
        for start in range(0, len(message), _MAX_FRAME):
            stream.outbox.append(message[start : start + _MAX_FRAME])
        self._flush(number, stream)

    def is_blocked(self, number: int) -> bool:
        """Whether the peer has not taken all that was sent on a stream."""
        return number in self._blocked

    def take(self) -> bytes:
        """What is to be sent now."""
        out = b"".join(self._out)
        self._out.clear()
        return out

    def goodbye(self, code: int = _NO_ERROR) -> bytes:
        """The last frame of a connection."""
        return self.take() + _frame(_GOAWAY, 0, 0, struct.pack(">II", self._newest, code))

    # --- frames

    def _frame(self, kind: int, flags: int, number: int, payload: bytes) -> None:
        if self._head is not None and kind != _CONTINUATION:
            raise Http2Error(_PROTOCOL_ERROR, "headers that do not end")
        if kind == _DATA:
            self._data(flags, number, payload)
        elif kind in (_HEADERS, _CONTINUATION):
            self._headers(kind, flags, number, payload)
        elif kind == _WINDOW_UPDATE:
            self._more_window(number, payload)
        elif kind == _SETTINGS and not flags & _ACK:
            self._settings(payload)
        elif kind == _PING and not flags & _ACK:
            if len(payload) != 8:
                raise Http2Error(_FRAME_SIZE_ERROR, "a ping is 8 bytes")
            self._out.append(_frame(_PING, _ACK, 0, payload))
        elif kind == _RST_STREAM:
            self._end(number)
        elif kind == _PUSH_PROMISE:
            raise Http2Error(_PROTOCOL_ERROR, "a client does not push")

    def _headers(self, kind: int, flags: int, number: int, payload: bytes) -> None:
        """Headers may come in parts; only their end counts."""
        if kind == _HEADERS:
            self._head = (number, flags & _END_STREAM, 0)
        if self._head is None or self._head[0] != number:
            raise Http2Error(_PROTOCOL_ERROR, "headers of no stream")
        _, is_last, size = self._head
        if size + len(payload) > _MAX_HEAD_BYTES:
            raise Http2Error(_ENHANCE_YOUR_CALM, "headers without end")
        self._head = (number, is_last, size + len(payload))
        if not flags & _END_HEADERS:
            return
        self._head = None
        if number not in self._streams:
            self._open(number)
        if is_last:
            self._finish(number)

    def _open(self, number: int) -> None:
        if number % 2 == 0 or number <= self._newest:
            raise Http2Error(_PROTOCOL_ERROR, "a stream's number does not rise")
        self._newest = number
        if len(self._streams) >= MAX_STREAMS:
            self._out.append(_frame(_RST_STREAM, 0, number, struct.pack(">I", _REFUSED_STREAM)))
            return
        self._streams[number] = _Stream(self._stream_window)
        self._out.append(_frame(_HEADERS, _END_HEADERS, number, _OK))

    def _data(self, flags: int, number: int, payload: bytes) -> None:
        if number == 0 or number > self._newest:
            raise Http2Error(_PROTOCOL_ERROR, "data of no stream")
        self._eaten = self._confirm(0, self._eaten + len(payload))
        stream = self._streams.get(number)
        if stream is None:
            return  # it was ended while this was on its way
        stream.eaten = self._confirm(number, stream.eaten + len(payload))
        if flags & _PADDED:
            padding = payload[0] if payload else 1
            if padding >= len(payload):
                raise Http2Error(_PROTOCOL_ERROR, "more padding than data")
            payload = payload[1 : len(payload) - padding]
        self._held += len(payload)
        if self._held > MAX_MESSAGE_BYTES + _MAX_FRAME:
            raise Http2Error(_ENHANCE_YOUR_CALM, "messages that do not end")
        stream.inbox += payload
        self._messages(number, stream)
        if flags & _END_STREAM:
            self._finish(number)

    def _messages(self, number: int, stream: _Stream) -> None:
        inbox = stream.inbox
        while len(inbox) >= 5 and number in self._streams:
            compressed, length = struct.unpack_from(">BI", inbox)
            if compressed or length > MAX_MESSAGE_BYTES:
                raise Http2Error(_ENHANCE_YOUR_CALM, "a message is compressed or too long")
            if len(inbox) < 5 + length:
                return
            message = bytes(inbox[5 : 5 + length])
            del inbox[: 5 + length]
            self._held -= 5 + length
            self._on_message(number, message)

    def _confirm(self, number: int, eaten: int) -> int:
        """Let the peer send as much again, in large steps; what is not confirmed yet."""
        if eaten < _WINDOW // 2:
            return eaten
        self._out.append(_frame(_WINDOW_UPDATE, 0, number, struct.pack(">I", eaten)))
        return 0

    def _settings(self, payload: bytes) -> None:
        if len(payload) % 6:
            raise Http2Error(_FRAME_SIZE_ERROR, "settings are 6 bytes each")
        windows = [v for key, v in struct.iter_unpack(">HI", payload) if key == _SET_INITIAL_WINDOW]
        if windows:
            self._first_window(windows[-1])  # one walk, however often a frame says it
        self._out.append(_frame(_SETTINGS, _ACK, 0, b""))

    def _first_window(self, window: int) -> None:
        if window > _MOST_WINDOW:
            raise Http2Error(_FLOW_CONTROL_ERROR, "a window is too large")
        for stream in self._streams.values():
            stream.window += window - self._stream_window
            if stream.window > _MOST_WINDOW:
                raise Http2Error(_FLOW_CONTROL_ERROR, "a window is too large")
        self._stream_window = window
        self._flush_blocked()

    def _more_window(self, number: int, payload: bytes) -> None:
        if len(payload) != 4:
            raise Http2Error(_FRAME_SIZE_ERROR, "a window update is 4 bytes")
        more = int.from_bytes(payload, "big") & _MOST_WINDOW
        stream = self._streams.get(number)
        if number == 0:
            self._window += more
        elif stream is not None:
            stream.window += more
        if self._window > _MOST_WINDOW or (stream is not None and stream.window > _MOST_WINDOW):
            raise Http2Error(_FLOW_CONTROL_ERROR, "a window is too large")
        if number == 0:
            self._flush_blocked()
        elif stream is not None:
            self._flush(number, stream)

    def _flush_blocked(self) -> None:
        for number, stream in tuple(self._blocked.items()):
            if self._window <= 0:
                return
            self._flush(number, stream)

    def _flush(self, number: int, stream: _Stream) -> None:
        outbox = stream.outbox
        while outbox:
            room = min(self._window, stream.window)
            if room <= 0:
                self._blocked[number] = stream
                return
            part = outbox.popleft()
            if len(part) > room:
                outbox.appendleft(part[room:])
                part = part[:room]
            self._window -= len(part)
            stream.window -= len(part)
            self._out.append(_frame(_DATA, 0, number, part))
        self._blocked.pop(number, None)

    def _finish(self, number: int) -> None:
        """The client has said all: so have we."""
        if number in self._streams:
            self._out.append(_frame(_HEADERS, _END_HEADERS | _END_STREAM, number, _DONE))
            self._end(number)

    def _end(self, number: int) -> None:
        stream = self._streams.pop(number, None)
        if stream is not None:
            self._held -= len(stream.inbox)
            self._blocked.pop(number, None)
            self._on_end(number)


def _frame(kind: int, flags: int, number: int, payload: bytes) -> bytes:
    return struct.pack(">I", len(payload))[1:] + struct.pack(">BBI", kind, flags, number) + payload
