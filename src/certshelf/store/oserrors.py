"""What an operating system's refusal means to a store: one table from its codes to the kinds."""

from __future__ import annotations

import errno

from certshelf.errors import (
    StoreBadCredentials,
    StoreBusy,
    StoreCorrupt,
    StoreDenied,
    StoreError,
    StoreFull,
    StoreInvalidName,
    StoreNotFound,
    StoreTimeout,
    StoreUnreachable,
)

# Names, since not every system knows every code.
_BY_ERRNO: dict[str, tuple[type[StoreError], str]] = {
    "ENOENT": (StoreNotFound, "the folder is not there"),
    "ENOTDIR": (StoreNotFound, "a part of the path is no folder"),
    "EACCES": (StoreDenied, "access denied"),
    "EPERM": (StoreDenied, "not permitted"),
    "EROFS": (StoreDenied, "the file system is read-only"),
    "EKEYEXPIRED": (StoreBadCredentials, "the login has expired"),
    "EKEYREJECTED": (StoreBadCredentials, "the login is refused"),
    "ENOKEY": (StoreBadCredentials, "no login for this share"),
    "ENOSPC": (StoreFull, "no space left"),
    "EDQUOT": (StoreFull, "the quota is used up"),
    "EIO": (StoreUnreachable, "input/output error"),
    "EREMOTEIO": (StoreUnreachable, "the file server reports an input/output error"),
    "ESTALE": (StoreUnreachable, "the file server has forgotten this folder"),
    "ENOTCONN": (StoreUnreachable, "the share is not connected"),
    "ECONNREFUSED": (StoreUnreachable, "the file server refuses the connection"),
    "ECONNRESET": (StoreUnreachable, "the file server closed the connection"),
    "ECONNABORTED": (StoreUnreachable, "the connection to the file server broke"),
    "EPIPE": (StoreUnreachable, "the connection to the file server broke"),
    "ESHUTDOWN": (StoreUnreachable, "the connection to the file server broke"),
    "EHOSTDOWN": (StoreUnreachable, "the file server is down"),
    "EHOSTUNREACH": (StoreUnreachable, "no way to the file server"),
    "ENETDOWN": (StoreUnreachable, "the network is down"),
    "ENETUNREACH": (StoreUnreachable, "no way to the file server's network"),
    "ENODEV": (StoreUnreachable, "the device is gone"),
    "ETIMEDOUT": (StoreTimeout, "the file server did not answer in time"),
    "EBUSY": (StoreBusy, "somebody holds it open"),
    "ETXTBSY": (StoreBusy, "somebody holds it open"),
    "EAGAIN": (StoreBusy, "somebody holds it locked"),
    "ENOLCK": (StoreBusy, "no lock to be had"),
    "EMFILE": (StoreBusy, "this process has too many files open"),
    "ENFILE": (StoreBusy, "this machine has too many files open"),
    "ELOOP": (StoreInvalidName, "it is a symbolic link"),
    "EISDIR": (StoreInvalidName, "it is a folder"),
    "ENXIO": (StoreInvalidName, "it is no plain file"),
    "ENAMETOOLONG": (StoreInvalidName, "the name is too long for this file system"),
    "EILSEQ": (StoreInvalidName, "the file system cannot hold this name"),
    "EINVAL": (StoreInvalidName, "the file system does not accept this name"),
    "EBADMSG": (StoreCorrupt, "the file system found damaged data"),
    "EUCLEAN": (StoreCorrupt, "the file system is damaged"),
}
# "System Error Codes", learn.microsoft.com; Python turns most of them into EACCES or EINVAL.
_BY_WINERROR: dict[int, tuple[type[StoreError], str]] = {
    5: (StoreDenied, "access denied"),
    19: (StoreDenied, "the medium is write-protected"),
    32: (StoreBusy, "another program holds it open"),
    33: (StoreBusy, "another program holds it locked"),
    39: (StoreFull, "no space left"),
    53: (StoreUnreachable, "no way to the file server"),
    59: (StoreUnreachable, "a network error"),
    64: (StoreUnreachable, "the connection to the file server broke"),
    67: (StoreNotFound, "there is no such share"),
    86: (StoreBadCredentials, "the password is wrong"),
    112: (StoreFull, "no space left"),
    121: (StoreTimeout, "the file server did not answer in time"),
    123: (StoreInvalidName, "Windows does not accept this name"),
    1231: (StoreUnreachable, "no way to the file server's network"),
    1326: (StoreBadCredentials, "the account or its password is refused"),
    1907: (StoreBadCredentials, "the password must be changed first"),
    1909: (StoreBadCredentials, "the account is locked"),
}
_HINTS: dict[type[StoreError], str] = {
    StoreNotFound: "check the path, and that the share is mounted",
    StoreDenied: "check the owner and the rights of the folder with `ls -ld` or `icacls`",
    StoreBadCredentials: "renew the login of the mount",
    StoreUnreachable: "check the mount and the file server; what is served stays served",
    StoreTimeout: "check the mount and the file server; what is served stays served",
    StoreBusy: "look for a virus scanner or a backup that holds it, then try again",
    StoreFull: "free some space; the old file is whole",
    StoreInvalidName: "a shelf holds plain files only; move it away by hand",
    StoreCorrupt: "check the disk",
}
_CODES = {getattr(errno, name): kind for name, kind in _BY_ERRNO.items() if hasattr(errno, name)}


def store_error(error: OSError, what: str) -> StoreError:
    """The StoreError for what the operating system said.

    what: what was tried, on what: `cannot write www.example.com.pfx in /srv/shelf`.
    A code that is not in the table counts as unreachable: try again later, drop nothing.
    """
    windows = getattr(error, "winerror", None)
    code = error.errno or 0
    unknown = (StoreUnreachable, error.strerror or type(error).__name__)
    kind, words = _BY_WINERROR.get(windows or 0) or _CODES.get(code, unknown)
    name = f"WinError {windows}" if windows else errno.errorcode.get(code, str(code))
    return kind(f"{what}: {words}", hint=_HINTS[kind], code=name)
