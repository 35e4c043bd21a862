"""A door: a listening socket in the event loop, and the visitors that came in through it.

Plain sockets, without asyncio's transports: a stranger's connection would cost us more than the
answer to its question (bench/caddy_floor.py). Who has not yet shown that it may ask is a stranger:
strangers are few, have a short time, and make room for each other, never for guests.
"""

from __future__ import annotations

import asyncio
import contextlib
import socket
import sys
from collections.abc import Callable

MAX_GUESTS = 1024 if sys.platform != "win32" else 256  # select() there knows 512 sockets
MAX_STRANGERS = 64
STRANGER_SECONDS = 5.0
IDLE_SECONDS = 90.0
_READ_BYTES = 65536
_SWEEP_SECONDS = 1.0
_CLOSE_SECONDS = 2.0


class Door:
    """Lets visitors in; runs in the event loop that makes it.

    listener: a listening socket that does not block; closed with the door.
    receive: makes the visitor of a connection.
    """

    def __init__(
        self, listener: socket.socket, receive: Callable[[Door, socket.socket], Visitor]
    ) -> None:
        self.loop = asyncio.get_running_loop()
        self._listener = listener
        self._receive = receive
        self._strangers: dict[Visitor, None] = {}
        self._guests: dict[Visitor, None] = {}
        self._is_open = True
        self._empty = asyncio.Event()
        self._sweeping: asyncio.TimerHandle | None = None
        self._listen()

    async def close(self) -> None:
        """Let nobody in, end the visits; who does not take its answer in time is cut off. Safe to
        repeat."""
        if self._is_open:
            self._is_open = False
            self.loop.remove_reader(self._listener)
            self._listener.close()
        self._empty.clear()
        for visitor in (*self._strangers, *self._guests):
            visitor.close()
        if self._strangers or self._guests:
            with contextlib.suppress(TimeoutError):
                await asyncio.wait_for(self._empty.wait(), _CLOSE_SECONDS)
        for visitor in (*self._strangers, *self._guests):
            visitor.abort()
        if self._sweeping is not None:
            self._sweeping.cancel()

    def admit(self, visitor: Visitor) -> bool:
        """A stranger showed that it may ask: it is a guest now. False when there are too many."""
        if visitor not in self._guests:
            if len(self._guests) >= MAX_GUESTS:
                return False
            self._strangers.pop(visitor, None)
            self._guests[visitor] = None
        return True

    def leave(self, visitor: Visitor) -> None:
        """It is gone."""
        self._strangers.pop(visitor, None)
        self._guests.pop(visitor, None)
        if not (self._strangers or self._guests):
            self._empty.set()

    def _listen(self) -> None:
        if self._is_open:
            self.loop.add_reader(self._listener, self._accept)

    def _accept(self) -> None:
        try:
            connection, _ = self._listener.accept()
        except (BlockingIOError, InterruptedError, ConnectionAbortedError):
            return
        except OSError:  # no descriptor is left: whoever waits is let in when there is one
            self.loop.remove_reader(self._listener)
            self.loop.call_later(_SWEEP_SECONDS, self._listen)
            return
        connection.setblocking(False)
        if len(self._strangers) >= MAX_STRANGERS:
            next(iter(self._strangers)).abort()
        visitor = self._receive(self, connection)
        self._strangers[visitor] = None
        if self._sweeping is None:
            self._sweeping = self.loop.call_later(_SWEEP_SECONDS, self._sweep)
        visitor.arrived()

    def _sweep(self) -> None:
        """One timer for all: one for each visitor would cost more than its question."""
        now = self.loop.time()
        late = [v for v in self._strangers if now - v.came_at > STRANGER_SECONDS]
        late += [v for v in self._guests if now - v.served_at > IDLE_SECONDS and not v.is_waiting]
        for visitor in late:
            visitor.abort()
        self._sweeping = None
        if self._strangers or self._guests:
            self._sweeping = self.loop.call_later(_SWEEP_SECONDS, self._sweep)


class Visitor:
    """One connection. It is read only while it takes what it is sent, so it holds little of us.

    came_at, served_at: when it connected and when it was last sent something, by the loop's clock.
    is_waiting: we owe it an answer; its time does not run, and nothing more is read.
    """

    def __init__(self, door: Door, connection: socket.socket) -> None:
        self.door = door
        self.came_at = self.served_at = door.loop.time()
        self.is_waiting = False
        self.has_ended = False
        self.is_closing = False
        self.socket = connection
        self._number = connection.fileno()  # asyncio is slower with the socket itself
        self._unsent = b""
        self._is_heard = False

    def arrived(self) -> None:
        """It was let in: its question is often there already."""
        self.read()

    def received(self, data: bytes) -> None:
        """What it said; also b"" when it has taken all that was sent, or is not waiting anymore."""
        raise NotImplementedError

    def gone(self) -> None:
        """The connection was closed, by whichever side."""

    @property
    def may_speak(self) -> bool:
        """Whether an answer can be sent, and the next question read."""
        return not (self.is_waiting or self._unsent or self.is_closing)

    def read(self) -> None:
        """Take what lies there; end what cannot be read."""
        try:
            data = self.socket.recv(_READ_BYTES)
        except (BlockingIOError, InterruptedError):
            self._hear()
            return
        except OSError:
            self.abort()
            return
        self.has_ended = not data
        if data:
            self._tell(data)
        if self.has_ended and self.may_speak:
            self.close()
        self._hear()

    def send(self, data: bytes) -> None:
        """Send now what goes now, and the rest when it is taken."""
        self.served_at = self.door.loop.time()
        try:
            sent = 0 if self._unsent else self.socket.send(data)
        except (BlockingIOError, InterruptedError):
            sent = 0
        except OSError:
            self.abort()
            return
        if sent < len(data):
            if not self._unsent:
                self.door.loop.add_writer(self._number, self._send_rest)
            self._unsent += data[sent:]

    def resume(self) -> None:
        """The answer that it waited for was sent."""
        self.is_waiting = False
        if self.may_speak:
            self._tell(b"")
        if self.has_ended and self.may_speak:
            self.close()
        self._hear()

    def close(self) -> None:
        """End the connection when what was sent is taken."""
        self.is_closing = True
        if self._unsent:
            self._hear()
        else:
            self.abort()

    def abort(self) -> None:
        """End the connection now."""
        if self.socket.fileno() < 0:
            return
        self.is_closing = True
        self._hear()
        if self._unsent:
            self.door.loop.remove_writer(self._number)
        self._unsent = b""
        self.socket.close()
        self.door.leave(self)
        self.gone()

    def _tell(self, data: bytes) -> None:
        try:
            self.received(data)
        except BaseException:  # a fault of ours: it is not left waiting; the loop logs it
            self.abort()
            raise

    def _send_rest(self) -> None:
        try:
            self._unsent = self._unsent[self.socket.send(self._unsent) :]
        except (BlockingIOError, InterruptedError):
            return
        except OSError:
            self.abort()
            return
        if self._unsent:
            return
        self.door.loop.remove_writer(self._number)
        if self.is_closing:
            self.abort()
        elif not self.is_waiting:
            self.resume()

    def _hear(self) -> None:
        """Listen to it exactly while it may speak."""
        should = self.may_speak and not self.has_ended
        if should != self._is_heard:
            self._is_heard = should
            if should:
                self.door.loop.add_reader(self._number, self.read)
            else:
                self.door.loop.remove_reader(self._number)
