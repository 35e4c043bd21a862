"""One authenticated SMB 3 connection to one share: what to ask, in one round trip each.

smbprotocol's low level is used, not its `smbclient`: that has one connection pool and one client
id for the whole process, takes a wrong password on a live session for a right one, and follows
links that a server sends. Requests that belong together travel as one compound.
"""

from __future__ import annotations

import contextlib
import socket
import struct
import uuid
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from threading import Event
from typing import Any, TypeVar

from certshelf.secret import Secret
from certshelf.store import smb_messages as message
from certshelf.store import smb_status as status
from certshelf.store.smb_link import Exchange, Link, LinkLost
from certshelf.store.smb_messages import (
    CHUNK,
    CREATE,
    DELETE,
    FILE_INFO,
    FOLDER,
    LIST,
    MAXIMAL_ACCESS,
    NO_FOLLOW,
    OPEN,
    OPEN_IF,
    PLAIN,
    READ_ATTRIBUTES,
    READ_CONTROL,
    READ_DATA,
    RELATED,
    SECURITY_INFO,
    SHARE_ALL,
    SHARE_NONE,
    SHARE_READ,
    WRITE_DAC,
    WRITE_DATA,
    Facts,
    Message,
    Opened,
)

T = TypeVar("T")
_SMB_3 = 0x0300
_SMB_3_0_2 = 0x0302
_SIGNING_REQUIRED = 0x02
_CAN_ENCRYPT = 0x40  # SMB2_GLOBAL_CAP_ENCRYPTION, MS-SMB2 section 2.2.3


class StatusError(Exception):
    """The server answered with an NTSTATUS that is no success."""

    def __init__(self, code: int) -> None:
        super().__init__(f"0x{code:08X}")
        self.status = code


class WireLost(Exception):
    """The connection is of no more use; a new one may work."""


class WireRefused(Exception):
    """The server does not offer what certshelf demands: SMB 3, signing, encryption, no guest."""


class LoginRefused(Exception):
    """There is no usable login: no password, no Kerberos ticket."""


@dataclass(frozen=True, slots=True)
class Login:
    """Where to connect and as whom. password None: the Kerberos ticket of this process.

    encrypt: whether to insist on it. offers False: not even say that this side could.
    """

    server: str
    port: int
    share: str
    username: str
    password: Secret | None
    encrypt: bool
    offers: bool = True


@dataclass(frozen=True, slots=True)
class Handle:
    """A file that the server holds open for us until release() or the connection's end."""

    file_id: bytes


class Wire:
    """The connection. Threads may share it; after WireLost throw it away."""

    def __init__(self, login: Login, client_guid: uuid.UUID) -> None:
        self._login = login
        self._guid = client_guid
        self._connection: Any = None
        self._session: Any = None
        self._tree: Any = None
        self._link: Link | None = None

    def connect(self, seconds: float) -> None:
        """Negotiate, log in, and connect to the share, with a session of our own.

        seconds bounds the connection and the negotiation; the caller's deadline bounds the rest.
        Raises WireLost, WireRefused, LoginRefused or StatusError.
        """
        login = self._login
        connection = message.library("connection").Connection(
            self._guid, login.server, login.port, require_signing=True
        )
        # The library would wait 600 s, twice, before it takes a silent server for dead.
        connection._receive_timeout = max(1, int(seconds))
        self._connection = connection
        dialect = None
        if not login.offers:
            connection.client_capabilities &= ~_CAN_ENCRYPT
            dialect = _SMB_3_0_2  # the last one where the capability decides
        with _translated():
            connection.connect(dialect=dialect, timeout=max(1, int(seconds)))
            link = Link(connection)
        if connection.dialect < _SMB_3:
            raise WireRefused("the server does not speak SMB 3")
        if login.encrypt and not connection.supports_encryption:
            raise WireRefused("the server does not offer SMB encryption")
        self._log_in()
        tree = message.library("tree").TreeConnect(
            self._session, rf"\\{login.server}\{login.share}"
        )
        with _translated():
            tree.connect()
            link.open(self._session, tree)
        self._link, self._tree = link, tree

    def _log_in(self) -> None:
        login = self._login
        session = message.library("session").Session(
            self._connection,
            username=login.username or None,
            password=login.password.reveal() if login.password is not None else None,
            require_encryption=login.encrypt,
        )
        try:
            with _translated(login=True):
                session.connect()
        finally:
            session.password = None  # of no more use, and a traceback could show it
        if session.signing_key is None:
            raise WireRefused("the server takes this account for a guest")
        self._session = session

    @property
    def alive(self) -> bool:
        """Whether it is connected, as far as this side knows."""
        return self._link is not None and self._link.connected

    @property
    def encrypts(self) -> bool:
        """Whether what travels is encrypted."""
        return bool(self._session.encrypt_data or self._tree.encrypt_data)

    @property
    def demands_signing(self) -> bool:
        """Whether the server wants every client's messages signed (MS-SMB2 section 2.2.4)."""
        return bool(self._connection.server_security_mode & _SIGNING_REQUIRED)

    def abort(self) -> None:
        """Cut the connection at once, from any thread: whoever waits on it gets WireLost."""
        transport = getattr(self._connection, "transport", None)
        raw: socket.socket | None = getattr(transport, "_sock", None)
        with contextlib.suppress(OSError):
            if isinstance(transport, Link):
                transport.abort()
            elif raw is not None:
                raw.shutdown(socket.SHUT_RDWR)

    def close(self) -> None:
        """Hang up, without waiting for the server."""
        self.abort()
        if getattr(self._connection, "transport", None) is not None:
            with contextlib.suppress(WireLost), _translated():
                self._connection.disconnect(close=False)
        self._link = None

    # --- files

    def read(self, path: str, limit: int) -> tuple[Facts, bytes]:
        """A whole file and its facts; no bytes when it is a link or larger than limit."""
        answers = self._chain(
            message.create(path, READ_DATA | READ_ATTRIBUTES, SHARE_ALL, OPEN, PLAIN | NO_FOLLOW),
            message.read(RELATED, 0),
            message.close(),
            allow={1: status.END_OF_FILE},
        )
        facts = _opened(answers[0]).facts
        if facts.is_link or facts.is_folder or facts.size > limit:
            return facts, b""
        if facts.size > CHUNK:
            return self._read_long(path, limit)
        return facts, _parsed(message.data_read, answers[1]) if answers[1] else b""

    def _read_long(self, path: str, limit: int) -> tuple[Facts, bytes]:
        found = self._open(path, READ_DATA | READ_ATTRIBUTES, SHARE_ALL, OPEN, PLAIN | NO_FOLLOW)
        handle, data = Handle(found.file_id), bytearray()
        try:
            while len(data) <= limit:
                answer = self._chain(
                    message.read(handle.file_id, len(data)), allow={0: status.END_OF_FILE}
                )[0]
                part = _parsed(message.data_read, answer) if answer else b""
                if not part:
                    break
                data += part
        finally:
            self.release(handle)
        return found.facts, bytes(data)

    def facts(self, path: str) -> Facts:
        """The facts of a file without reading it."""
        return self._ask(path).facts

    def rights(self, path: str) -> Opened:
        """What this login could do with a file or folder, without doing any of it."""
        return self._ask(path, MAXIMAL_ACCESS)

    def _ask(self, path: str, context: bytes = message.DISK_ID) -> Opened:
        answers = self._chain(
            message.create(path, READ_ATTRIBUTES, SHARE_ALL, OPEN, NO_FOLLOW, context),
            message.close(),
        )
        return _opened(answers[0])

    def write_new(self, path: str, data: bytes) -> Facts:
        """Make a new file, write it, and have it flushed to the disk; fails when it is there."""
        access = WRITE_DATA | READ_ATTRIBUTES
        if len(data) <= CHUNK:
            answers = self._chain(
                message.create(path, access, SHARE_READ, CREATE, PLAIN),
                *([message.write(RELATED, 0, data)] if data else []),
                message.flush(RELATED),
                message.close(),
            )
            return _opened(answers[0]).facts
        made = self._open(path, access, SHARE_READ, CREATE, PLAIN)
        handle = Handle(made.file_id)
        try:
            for start in range(0, len(data), CHUNK):
                part = data[start : start + CHUNK]
                self._chain(message.write(handle.file_id, start, part))
            self._chain(message.flush(handle.file_id))
        finally:
            self.release(handle)
        return made.facts

    def rename(self, path: str, new_path: str, *, replace: bool) -> None:
        """Give a file another name in one step; what had that name goes only when replace."""
        self._chain(
            message.create(path, DELETE | READ_ATTRIBUTES, SHARE_ALL, OPEN, PLAIN | NO_FOLLOW),
            message.set_info(
                RELATED,
                FILE_INFO,
                message.RENAME,
                message.rename_buffer(new_path, replace=replace),
            ),
            message.close(),
        )

    def remove(self, path: str) -> None:
        """Delete a file (a link itself, never what it points to)."""
        self._chain(
            message.create(path, DELETE, SHARE_ALL, OPEN, PLAIN | NO_FOLLOW),
            message.set_info(RELATED, FILE_INFO, message.DISPOSITION, b"\x01"),
            message.close(),
        )

    def make_folder(self, path: str) -> None:
        """Make a folder; fine when it is there."""
        self._chain(
            message.create(path, READ_ATTRIBUTES, SHARE_ALL, OPEN_IF, FOLDER | NO_FOLLOW),
            message.close(),
        )

    def hold(self, path: str) -> Handle:
        """Open a file so that nobody else can: a lock that dies with its holder."""
        return self._handle(path, READ_DATA | WRITE_DATA, SHARE_NONE, OPEN_IF, PLAIN)

    def open_folder(self, path: str) -> Handle:
        """Open a folder for scan() or changes()."""
        return self._handle(path, LIST | READ_ATTRIBUTES, SHARE_ALL, OPEN, FOLDER | NO_FOLLOW)

    def open_pipe(self, name: str) -> Handle:
        """Open a named pipe of the share IPC$."""
        return self._handle(name, READ_DATA | WRITE_DATA, SHARE_ALL, OPEN, 0)

    def talk(self, handle: Handle, data: bytes) -> bytes:
        """Write one message to a pipe and read the answer to it."""
        self._chain(message.write(handle.file_id, 0, data))
        return _parsed(message.data_read, self._chain(message.read(handle.file_id, 0))[0])

    def release(self, handle: Handle) -> None:
        """Close what was opened; fine when the connection took it along."""
        with contextlib.suppress(StatusError, WireLost):
            self._chain(message.close(handle.file_id))

    def let_go(self, handle: Handle) -> None:
        """Close what was opened without waiting for the answer."""
        with contextlib.suppress(WireLost):
            self._send(message.close(handle.file_id))

    def scan(self, handle: Handle) -> list[tuple[str, Facts]]:
        """The next page of an open folder's entries; an empty page is the end."""
        body = self._chain(
            message.query_directory(handle.file_id),
            allow={0: status.NO_MORE_FILES},
        )[0]
        if not body:
            return []
        page = _parsed(message.buffer, body)
        return _parsed(lambda data: list(message.entries(data)), page)

    # --- rights

    def security(self, path: str) -> bytes:
        """The owner and DACL of a file or folder, as a self-relative descriptor."""
        answers = self._chain(
            message.create(path, READ_CONTROL, SHARE_ALL, OPEN, NO_FOLLOW),
            message.query_security(RELATED),
            message.close(),
        )
        return _parsed(message.buffer, answers[1])

    def set_security(self, path: str, descriptor: bytes) -> None:
        """Replace the DACL of a file or folder."""
        self._chain(
            message.create(path, WRITE_DAC | READ_CONTROL, SHARE_ALL, OPEN, NO_FOLLOW),
            message.set_info(RELATED, SECURITY_INFO, 0, descriptor, parts=0x4),
            message.close(),
        )

    # --- changes

    def changes(self, handle: Handle, stop: Event) -> list[tuple[int, str]] | None:
        """Wait for the next changes in an open folder: (action, name); None when stopped.

        An empty list means that there were too many to tell. What happens between two calls is
        kept by the server for the handle (MS-SMB2 section 3.3.5.19).
        """
        exchange = self._send(message.notify(handle.file_id))
        while not exchange.done.wait(0.25):
            if stop.is_set():
                if self._link is not None:
                    with _lost():
                        self._link.cancel(exchange)
                return None
        code, body = _answers(exchange)[0]
        if code == status.NOTIFY_ENUM_DIR:
            return []
        if code:
            raise StatusError(code)
        page = _parsed(message.buffer, body)
        return _parsed(lambda data: list(message.notifications(data)), page)

    # --- requests and answers

    def _handle(self, path: str, access: int, share: int, disposition: int, options: int) -> Handle:
        return Handle(self._open(path, access, share, disposition, options).file_id)

    def _open(self, path: str, access: int, share: int, disposition: int, options: int) -> Opened:
        return _opened(self._chain(message.create(path, access, share, disposition, options))[0])

    def _chain(self, *requests: Message, allow: dict[int, int] | None = None) -> list[bytes]:
        """Send requests as one compound and return the answers' bodies.

        Every answer is taken before the first failure is raised. allow: position -> a status that
        is no failure there; its body is b"".
        """
        answers = _answers(self._send(*requests))
        bodies = [b"" if code else body for code, body in answers]
        failures = {
            position: code
            for position, (code, _) in enumerate(answers)
            if code and code != (allow or {}).get(position)
        }
        if failures:
            last = len(answers) - 1
            if last and bodies[0] and last in failures:  # it stayed open
                self.release(Handle(_opened(bodies[0]).file_id))
            raise StatusError(failures[min(failures)])
        return bodies

    def _send(self, *requests: Message) -> Exchange:
        if self._link is None:
            raise WireLost("not connected")
        with _lost():
            return self._link.ask(requests)


def _answers(exchange: Exchange) -> list[tuple[int, bytes]]:
    with _lost():
        return exchange.wait()


@contextlib.contextmanager
def _lost() -> Iterator[None]:
    try:
        yield
    except LinkLost as error:
        raise WireLost(str(error)) from error


def _opened(body: bytes) -> Opened:
    return _parsed(message.opened, body)


def _parsed(parse: Callable[[bytes], T], body: bytes) -> T:
    try:
        return parse(body)
    except (ValueError, struct.error) as error:
        raise WireLost("the server's answer makes no sense") from error


@contextlib.contextmanager
def _translated(*, login: bool = False) -> Iterator[None]:
    """Turn what smbprotocol raises into our four exceptions.

    Its receiving thread hands on whatever stopped it, of any class, to whoever asks next: a
    refused connection is a ValueError, a forged answer an InvalidTag or a KeyError. So this is a
    wall: everything but an answered status means that the connection is of no more use.
    """
    exceptions = message.library("exceptions")
    try:
        yield
    except exceptions.SMBResponseException as error:
        raise StatusError(int(error.status)) from error
    except exceptions.SMBAuthenticationError as error:
        raise LoginRefused("no usable login") from error
    except exceptions.SMBConnectionClosed as error:
        raise WireLost(_first_line(error)) from error
    except exceptions.SMBException as error:
        if login:  # a guest, a forged answer: the server does not prove what it must
            raise WireRefused("the server proves no signed and encrypted session") from error
        raise WireLost(_first_line(error)) from error
    except Exception as error:
        raise WireLost(_first_line(error)) from error


def _first_line(error: Exception) -> str:
    return (str(error).splitlines() or [type(error).__name__])[0][:160]
