"""Who may ask for keys on a Unix socket: users by the kernel's word, everyone else is refused."""

from __future__ import annotations

import os
import socket
import stat
import struct
import sys
from collections.abc import Iterable
from pathlib import Path

from certshelf.errors import ConfigError

_MACOS_SOL_LOCAL = 0
_MACOS_LOCAL_PEERCRED = 1


def allowed_uids(users: Iterable[str]) -> frozenset[int]:
    """The user ids of these users (names or numbers), with this process's own and root's.

    Root can read this process's memory anyway. Raises ConfigError for a user that is not there.
    """
    uids = {0}
    if hasattr(os, "geteuid"):
        uids.add(os.geteuid())
    return frozenset(uids | {user_ids(user)[0] for user in users})


def user_ids(user: str) -> tuple[int, int]:
    """User id and primary group id of a user, by name or number."""
    try:
        import pwd
    except ImportError as error:
        raise ConfigError(
            f"users cannot be looked up on {sys.platform}", hint="leave the user out"
        ) from error
    try:
        entry = pwd.getpwuid(int(user)) if user.isdecimal() else pwd.getpwnam(user)
    except (KeyError, OverflowError) as error:
        raise ConfigError(f"there is no user {user!r} on this machine") from error
    return entry.pw_uid, entry.pw_gid


def group_id(group: str) -> int:
    """The id of a group, by name or number."""
    if group.isdecimal():
        return int(group)
    try:
        import grp
    except ImportError as error:
        raise ConfigError(f"groups cannot be looked up on {sys.platform}") from error
    try:
        return grp.getgrnam(group).gr_gid
    except KeyError as error:
        raise ConfigError(f"there is no group {group!r} on this machine") from error


def peer_uid(connection: socket.socket) -> int | None:
    """The user id of the process at the other end of a Unix socket; None when nobody says.

    Sources: unix(7) SO_PEERCRED on Linux; unix(4) LOCAL_PEERCRED (struct xucred) on macOS.
    """
    platform: str = sys.platform  # a plain text, so that every branch is type-checked everywhere
    try:
        if platform == "linux":
            raw = connection.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, 12)
            return int(struct.unpack("iII", raw)[1])
        if platform == "darwin":
            raw = connection.getsockopt(_MACOS_SOL_LOCAL, _MACOS_LOCAL_PEERCRED, 76)
            return int(struct.unpack_from("II", raw)[1])
    except (OSError, struct.error):
        return None
    return None


def listen_unix(path: Path, mode: int) -> socket.socket:
    """A listening Unix socket at path with this mode, in place of one that nobody answers on.

    A folder that is not there is made, for every user to enter.
    Raises ConfigError when somebody answers there, or when something else lies there.
    """
    _make_folder(path.parent)
    clear_socket(path)
    listener = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    try:
        previous = os.umask(0o177)  # closed until the mode below is set
        try:
            listener.bind(str(path))
        finally:
            os.umask(previous)
        path.chmod(mode)
        listener.listen(1024)
        listener.setblocking(False)
    except OSError as error:
        listener.close()
        raise ConfigError(
            f"cannot listen on {path}: {error.strerror}",
            hint="its folder must be writable for this user",
        ) from error
    return listener


def _make_folder(path: Path) -> None:
    if path.exists():
        return
    try:
        path.mkdir(parents=True)
        path.chmod(0o755)  # the umask of a service may be narrow
    except OSError as error:
        raise ConfigError(f"cannot make {path}: {error.strerror}") from error


def clear_socket(path: Path) -> None:
    """Remove the socket that a killed reader left; refuse everything else."""
    try:
        found = path.lstat()
    except FileNotFoundError:
        return
    except OSError as error:
        raise ConfigError(f"cannot look at {path}: {error.strerror}") from error
    if not stat.S_ISSOCK(found.st_mode):
        raise ConfigError(f"{path} is no socket", hint="give the socket another path")
    probe = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    probe.settimeout(1.0)
    try:
        probe.connect(str(path))
    except (ConnectionRefusedError, FileNotFoundError):
        path.unlink(missing_ok=True)
    except OSError as error:
        raise ConfigError(f"cannot use {path}: {error}") from error
    else:
        raise ConfigError(f"somebody already listens on {path}", hint="is a reader running?")
    finally:
        probe.close()
