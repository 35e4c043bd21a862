"""What an SMB server's status code means: the one table from NTSTATUS to the ten store errors."""

from __future__ import annotations

from certshelf.errors import (
    StoreBadCredentials,
    StoreBusy,
    StoreConflict,
    StoreCorrupt,
    StoreDenied,
    StoreError,
    StoreFull,
    StoreInvalidName,
    StoreNotFound,
    StoreTimeout,
    StoreUnreachable,
)

ACCESS_DENIED = 0xC0000022
SHARING_VIOLATION = 0xC0000043
DELETE_PENDING = 0xC0000056
NAME_COLLISION = 0xC0000035
NAME_NOT_FOUND = 0xC0000034
PATH_NOT_FOUND = 0xC000003A
END_OF_FILE = 0xC0000011
NO_MORE_FILES = 0x80000006
NO_SUCH_FILE = 0xC000000F
NOTIFY_ENUM_DIR = 0x0000010C

NOT_THERE = frozenset({NAME_NOT_FOUND, PATH_NOT_FOUND, NO_SUCH_FILE, DELETE_PENDING})
"""A file that is not there, or that is gone as soon as its last handle is closed."""

LOST = frozenset({0xC00000C9, 0xC0000203, 0xC000035C, 0xC0000128, 0xC000020C, 0xC000020D})
"""The server forgot our connection, session, share or handle: connect again."""

HELD = frozenset({SHARING_VIOLATION, DELETE_PENDING, 0xC0000054, 0xC0000055})
"""Somebody has the file open in a way that shuts us out: try again soon."""

# MS-ERREF section 2.3.1 (NTSTATUS Values); what Samba 4.17 answers was measured.
_KINDS: dict[type[StoreError], tuple[int, ...]] = {
    StoreNotFound: (*(NOT_THERE - HELD), 0xC0000039, 0xC00000CC, 0xC0000225, 0xC0000257),
    StoreDenied: (ACCESS_DENIED, 0xC0000061, 0xC00000A2, 0xC00000CA, 0xC0000121, 0xC0000413),
    StoreBadCredentials: (
        *(0xC000006D, 0xC000006A, 0xC0000064, 0xC000006E, 0xC000006F, 0xC0000070, 0xC0000071),
        *(0xC0000072, 0xC0000073, 0xC0000193, 0xC0000224, 0xC0000234, 0xC000015B),
    ),
    StoreBusy: (*HELD, 0xC00000D0, 0xC000009A, 0xC0000205),
    StoreFull: (0xC000007F, 0xC0000044, 0xC000017B),
    StoreConflict: (NAME_COLLISION,),
    StoreInvalidName: (
        *(0xC0000033, 0xC000003B, 0xC0000106, 0xC00000BA, 0xC0000103, 0xC000000D),
        *(0x8000002D, 0xC0000275, 0xC0000276, 0xC0000279),
    ),
    StoreTimeout: (0xC00000B5,),
    StoreCorrupt: (END_OF_FILE, 0xC000003F, 0xC0000032, 0xC0000102, 0xC000009C),
}
_BY_STATUS = {status: kind for kind, statuses in _KINDS.items() for status in statuses}

_REASONS: dict[type[StoreError], tuple[str, str]] = {
    StoreNotFound: ("not there", "check the share and the folder"),
    StoreDenied: ("access denied", "check the rights: certshelf share check"),
    StoreBadCredentials: ("account or password refused", "check the store's credential"),
    StoreUnreachable: ("the server answers an error", "check the file server's log"),
    StoreTimeout: ("the server gave up waiting", "check the file server"),
    StoreBusy: ("held open by somebody else", "look for a virus scanner, a backup or a sync tool"),
    StoreFull: ("no space left", "make room on the share, then try again"),
    StoreConflict: ("it is there already", "read it again, then decide again"),
    StoreInvalidName: ("no plain file of that name", "look at what lies there"),
    StoreCorrupt: ("unreadable", "check the file server's disk"),
}


def kind_of(status: int) -> type[StoreError]:
    """The error class for a status; an unknown one counts as a server that does not work."""
    return _BY_STATUS.get(status, StoreUnreachable)


def error_of(status: int, what: str) -> StoreError:
    """The error to raise: what was tried, why it failed, and the server's own code."""
    kind = kind_of(status)
    reason, hint = _REASONS[kind]
    error = kind(f"{what}: {reason} (0x{status:08X})", hint=hint)
    error.code = f"0x{status:08X}"
    return error
