"""SMB 2 requests and answers as bytes; smb_link numbers, encrypts and sends them.

Layouts: MS-SMB2 sections 2.2.13 to 2.2.40, MS-FSCC sections 2.4 and 2.7.1. Answers are hostile
input: a number that points outside raises ValueError or struct.error, never more.
"""

from __future__ import annotations

import importlib
import logging
import struct
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any, NamedTuple

from certshelf.errors import ConfigError

CHUNK = 65536
"""Bytes in one request: one SMB credit, so that many threads never run out of them."""
RELATED = b"\xff" * 16
"""As a file id: "the file that this compound opened" (MS-SMB2 section 3.2.4.1.4)."""

# Access masks (MS-SMB2 section 2.2.13.1), share modes, dispositions, options (2.2.13)
READ_DATA = LIST = 0x1
WRITE_DATA = 0x2
READ_ATTRIBUTES, DELETE, READ_CONTROL, WRITE_DAC = 0x80, 0x10000, 0x20000, 0x40000
SHARE_NONE, SHARE_READ, SHARE_ALL = 0, 1, 7
OPEN, CREATE, OPEN_IF = 1, 2, 3
FOLDER, PLAIN, NO_FOLLOW = 0x1, 0x40, 0x200000
FILE_INFO, SECURITY_INFO = 1, 3
RENAME, DISPOSITION = 10, 13
DISK_ID, MAXIMAL_ACCESS = b"QFid", b"MxAc"

_ID_BOTH_DIRECTORY = 37
_ATTRIBUTE_FOLDER, _ATTRIBUTE_REPARSE = 0x10, 0x400
_EPOCH = datetime(1601, 1, 1, tzinfo=UTC)
_HEADER = 64  # offsets count from the header's first byte
_IMPERSONATION = 2
_MAX_NAME = 2 * 1024


@dataclass(frozen=True, slots=True)
class Facts:
    """What the server says of one file; times are FILETIMEs (100 ns since 1601)."""

    written: int
    changed: int
    size: int
    attributes: int
    file_id: int

    @property
    def is_folder(self) -> bool:
        """Whether it is a folder."""
        return bool(self.attributes & _ATTRIBUTE_FOLDER)

    @property
    def is_link(self) -> bool:
        """Whether it is a reparse point: a link, a junction, a placeholder of a sync tool."""
        return bool(self.attributes & _ATTRIBUTE_REPARSE)

    @property
    def modified(self) -> datetime:
        """The last write, aware UTC."""
        return _EPOCH + timedelta(microseconds=min(self.written, 2**61) // 10)


@dataclass(frozen=True, slots=True)
class Opened:
    """What a CREATE answered; maximal_access only when it was asked for."""

    facts: Facts
    file_id: bytes
    maximal_access: int


def library(name: str) -> Any:
    """A module of smbprotocol, imported on first use: only who has a share needs it."""
    _keep_quiet()
    try:
        return importlib.import_module(f"smbprotocol.{name}")
    except ImportError as error:
        raise ConfigError(
            "an smb: store needs the package smbprotocol",
            hint="pip install 'certshelf[smb]'",
        ) from error


def _keep_quiet() -> None:
    """Keep the library's own log, tracebacks too, off standard error: our errors say the same.

    Who wants it sets a level on its loggers.
    """
    for name in ("smbprotocol", "spnego"):
        logger = logging.getLogger(name)
        if logger.level == logging.NOTSET and not logger.handlers:
            logger.addHandler(logging.NullHandler())
            logger.propagate = False


# --- requests


class Message(NamedTuple):
    """A request: its command and what follows the header.

    It costs one credit, since none sends or asks for more than CHUNK.
    """

    command: int
    data: bytes


def create(
    path: str, access: int, share: int, disposition: int, options: int, context: bytes = DISK_ID
) -> Message:
    """Open or make a file (MS-SMB2 section 2.2.13); context: what to be told besides."""
    name = path.encode("utf-16-le")
    padded = name.ljust(-(-max(len(name), 2) // 8) * 8, b"\0")
    wanted = struct.pack("<IHHHHI4s4x", 0, 16, 4, 0, 0, 0, context)
    head = struct.pack(
        "<HBBIQQIIIIIHHII",
        *(57, 0, 0, _IMPERSONATION, 0, 0, access, 0, share, disposition, options),
        *(_HEADER + 56, len(name), _HEADER + 56 + len(padded), len(wanted)),
    )
    return Message(0x05, head + padded + wanted)


def read(file_id: bytes, offset: int) -> Message:
    """Read up to CHUNK bytes (section 2.2.19)."""
    return Message(
        0x08, struct.pack("<HBBIQ16sIIIHHx", 49, 0x50, 0, CHUNK, offset, file_id, 0, 0, 0, 0, 0)
    )


def write(file_id: bytes, offset: int, data: bytes) -> Message:
    """Write up to CHUNK bytes (section 2.2.21)."""
    head = struct.pack("<HHIQ16sIIHHI", 49, _HEADER + 48, len(data), offset, file_id, 0, 0, 0, 0, 0)
    return Message(0x09, head + data)


def flush(file_id: bytes) -> Message:
    """Have it on the disk before the answer (section 2.2.17)."""
    return Message(0x07, struct.pack("<HHI16s", 24, 0, 0, file_id))


def close(file_id: bytes = RELATED) -> Message:
    """Close an open file (section 2.2.15)."""
    return Message(0x06, struct.pack("<HHI16s", 24, 0, 0, file_id))


def set_info(file_id: bytes, kind: int, level: int, data: bytes, *, parts: int = 0) -> Message:
    """Rename, delete, or set the DACL (section 2.2.39; parts: which parts of the descriptor)."""
    head = struct.pack("<HBBIHHI16s", 33, kind, level, len(data), _HEADER + 32, 0, parts, file_id)
    return Message(0x11, head + data)


def rename_buffer(new_path: str, *, replace: bool) -> bytes:
    """FileRenameInformation for SMB2 (MS-FSCC section 2.4.37.2)."""
    name = new_path.encode("utf-16-le")
    return struct.pack("<B7xQI", replace, 0, len(name)) + name


def query_security(file_id: bytes) -> Message:
    """Ask for owner and DACL (section 2.2.37)."""
    head = (41, SECURITY_INFO, 0, CHUNK, 0, 0, 0, 0x5, 0, file_id)
    return Message(0x10, struct.pack("<HBBIHHIII16sx", *head))


def query_directory(file_id: bytes) -> Message:
    """Ask for the next page of an open folder (section 2.2.33)."""
    pattern = "*".encode("utf-16-le")
    head = (33, _ID_BOTH_DIRECTORY, 0, 0, file_id, _HEADER + 32, len(pattern), CHUNK)
    return Message(0x0E, struct.pack("<HBBI16sHHI", *head) + pattern)


def notify(file_id: bytes) -> Message:
    """Ask to be told of the next change of a name, size or last write (section 2.2.35)."""
    return Message(0x0F, struct.pack("<HHI16sII", 32, 0, CHUNK, file_id, 0x1 | 0x8 | 0x10, 0))


# --- answers


def opened(body: bytes) -> Opened:
    """What a CREATE answered."""
    written, changed, _, size, attributes = struct.unpack_from("<QQQQI", body, 24)
    disk_id = maximal = 0
    for name, data in _contexts(body):
        if name == DISK_ID:
            disk_id = int(struct.unpack_from("<Q", data)[0])
        elif name == MAXIMAL_ACCESS:
            status, mask = struct.unpack_from("<II", data)
            maximal = int(mask) if status == 0 else 0
    return Opened(Facts(written, changed, size, attributes, disk_id), body[64:80], maximal)


def _contexts(body: bytes) -> Iterator[tuple[bytes, bytes]]:
    start, length = struct.unpack_from("<II", body, 80)
    at, left = start - _HEADER, 16
    while length and left:
        step, name_at, name_size, data_at, data_size = struct.unpack_from("<IHH2xHI", body, at)
        name = body[at + name_at : at + name_at + name_size]
        yield name, body[at + data_at : at + data_at + data_size]
        if not step:
            return
        at, left = at + step, left - 1


def data_read(body: bytes) -> bytes:
    """What a READ answered."""
    start, length = struct.unpack_from("<BxI", body, 2)
    return body[start - _HEADER : start - _HEADER + length]


def buffer(body: bytes) -> bytes:
    """What a QUERY_INFO, QUERY_DIRECTORY or CHANGE_NOTIFY answered."""
    start, length = struct.unpack_from("<HI", body, 2)
    return body[start - _HEADER : start - _HEADER + length]


def entries(page: bytes) -> Iterator[tuple[str, Facts]]:
    """Names and facts in a page of FileIdBothDirectoryInformation (MS-FSCC section 2.4.22)."""
    at = 0
    while at < len(page):
        step, written, changed, size, attributes, name_size = struct.unpack_from(
            "<I20xQQQ8xII", page, at
        )
        (file_id,) = struct.unpack_from("<Q", page, at + 96)
        name = _name(page, at + 104, name_size)
        yield name, Facts(written, changed, size, attributes, file_id)
        if not step:
            return
        at += _step(step, 104)


def notifications(page: bytes) -> Iterator[tuple[int, str]]:
    """Actions and names in a page of FILE_NOTIFY_INFORMATION (MS-FSCC section 2.7.1)."""
    at = 0
    while at < len(page):
        step, action, name_size = struct.unpack_from("<III", page, at)
        yield action, _name(page, at + 12, name_size)
        if not step:
            return
        at += _step(step, 12)


def _name(page: bytes, at: int, size: int) -> str:
    if size > _MAX_NAME:
        raise ValueError("a name that is too long")
    return page[at : at + size].decode("utf-16-le", "replace")


def _step(step: int, least: int) -> int:
    """How far the next entry is: never so near that a page could be read for ever."""
    if step < least:
        raise ValueError("entries that lie in one another")
    return step
