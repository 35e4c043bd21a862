"""SMB 2 requests as smbprotocol sends them, and answers read from their bytes.

Layouts: MS-SMB2 sections 2.2.13 to 2.2.40, MS-FSCC sections 2.4 and 2.7.1. Answers are hostile
input: a number that points outside raises ValueError or struct.error, never more.
"""

from __future__ import annotations

import importlib
import struct
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any

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
_HEADER = 64  # offsets in answers count from the header's first byte


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
    try:
        return importlib.import_module(f"smbprotocol.{name}")
    except ImportError as error:
        raise ConfigError(
            "an smb: store needs the package smbprotocol",
            hint="pip install 'certshelf[smb]'",
        ) from error


# --- requests


def create(
    path: str, access: int, share: int, disposition: int, options: int, context: bytes = DISK_ID
) -> Any:
    """Open or make a file; context: what to be told besides."""
    request = library("open").SMB2CreateRequest()
    request["impersonation_level"] = 2
    request["desired_access"] = access
    request["share_access"] = share
    request["create_disposition"] = disposition
    request["create_options"] = options
    request["buffer_path"] = path.encode("utf-16-le") or b"\x00\x00"
    contexts = library("create_contexts").SMB2CreateContextRequest
    wanted = contexts()
    wanted["buffer_name"] = context
    request["buffer_contexts"] = contexts.pack_multiple([wanted])
    return request


def read(file_id: bytes, offset: int) -> Any:
    """Read up to CHUNK bytes."""
    request = library("open").SMB2ReadRequest()
    request["length"] = CHUNK
    request["offset"] = offset
    request["file_id"] = file_id
    request["padding"] = b"\x50"
    return request


def write(file_id: bytes, offset: int, data: bytes) -> Any:
    """Write up to CHUNK bytes."""
    request = library("open").SMB2WriteRequest()
    request["length"] = len(data)
    request["offset"] = offset
    request["file_id"] = file_id
    request["buffer"] = data
    return request


def flush(file_id: bytes) -> Any:
    """Have it on the disk before the answer."""
    request = library("open").SMB2FlushRequest()
    request["file_id"] = file_id
    return request


def close(file_id: bytes = RELATED) -> Any:
    """Close an open file."""
    request = library("open").SMB2CloseRequest()
    request["file_id"] = file_id
    return request


def set_info(file_id: bytes, kind: int, level: int, buffer: bytes, *, parts: int = 0) -> Any:
    """Rename, delete, or set the DACL (parts: which parts of the descriptor)."""
    request = library("open").SMB2SetInfoRequest()
    request["info_type"] = kind
    request["file_info_class"] = level
    request["file_id"] = file_id
    request["buffer"] = buffer
    request["additional_information"] = parts
    return request


def rename_buffer(new_path: str, *, replace: bool) -> bytes:
    """FileRenameInformation for SMB2 (MS-FSCC section 2.4.37.2)."""
    name = new_path.encode("utf-16-le")
    return struct.pack("<B7xQI", replace, 0, len(name)) + name


def query_security(file_id: bytes) -> Any:
    """Ask for owner and DACL."""
    request = library("open").SMB2QueryInfoRequest()
    request["info_type"] = SECURITY_INFO
    request["output_buffer_length"] = CHUNK
    request["additional_information"] = 0x5
    request["file_id"] = file_id
    return request


def query_directory(file_id: bytes) -> Any:
    """Ask for the next page of an open folder."""
    request = library("open").SMB2QueryDirectoryRequest()
    request["file_information_class"] = _ID_BOTH_DIRECTORY
    request["file_id"] = file_id
    request["output_buffer_length"] = CHUNK
    request["buffer"] = "*".encode("utf-16-le")
    return request


def notify(file_id: bytes) -> Any:
    """Ask to be told of the next change of a name, size or last write in an open folder."""
    request = library("change_notify").SMB2ChangeNotifyRequest()
    request["output_buffer_length"] = CHUNK
    request["file_id"] = file_id
    request["completion_filter"] = 0x1 | 0x8 | 0x10
    return request


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
        name = page[at + 104 : at + 104 + name_size].decode("utf-16-le", "replace")
        yield name, Facts(written, changed, size, attributes, file_id)
        if not step:
            return
        at += step


def notifications(page: bytes) -> Iterator[tuple[int, str]]:
    """Actions and names in a page of FILE_NOTIFY_INFORMATION (MS-FSCC section 2.7.1)."""
    at = 0
    while at < len(page):
        step, action, name_size = struct.unpack_from("<III", page, at)
        yield action, page[at + 12 : at + 12 + name_size].decode("utf-16-le", "replace")
        if not step:
            return
        at += step
