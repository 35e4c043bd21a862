"""Who may read a file that a put has just written: as before, else as the folder says.

Replacing keeps the old file's permission bits, without write access for everybody, and, when this
process is root, its owner and group. A new file is for its owner alone (0600), except where the
folder says that a group reads it: with the set-group-id bit or a default ACL it is 0640.
On Windows a file inherits the rights of its folder when it is made there; nothing is left to do.
"""

from __future__ import annotations

import os
import stat
import sys
from contextlib import suppress

from certshelf.store.directory import Directory

_KEPT = 0o775
_DEFAULT_ACL = "system.posix_acl_default"


def inherit_rights(fd: int, folder: Directory, previous: os.stat_result | None) -> None:
    """Give an open new file the rights of the one that it will replace, or the folder's."""
    if sys.platform == "win32":
        return
    if previous is None:
        if folder.mode() & stat.S_ISGID or _has_default_acl(folder):
            _change_mode(fd, 0o640)
        return
    if os.geteuid() == 0:
        with suppress(PermissionError):  # a root that the file server does not believe
            os.fchown(fd, previous.st_uid, previous.st_gid)
    _change_mode(fd, stat.S_IMODE(previous.st_mode) & _KEPT)


def _change_mode(fd: int, mode: int) -> None:
    with suppress(PermissionError):  # shares that fix the mode by mount option
        os.fchmod(fd, mode)


def _has_default_acl(folder: Directory) -> bool:
    """Whether names get an ACL from the folder: its mask is made from the mode's group bits."""
    if sys.platform != "linux" or folder.fd is None:
        return False
    try:
        os.getxattr(folder.fd, _DEFAULT_ACL)
    except OSError:
        return False
    return True
