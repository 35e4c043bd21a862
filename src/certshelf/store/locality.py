"""Whether a folder lies on this machine: then a call on it costs microseconds and cannot hang.

When in doubt a folder is remote: that costs a thread switch a call, the other error a hung server.
"""

# Pathlib cannot make a path absolute without reading links.
# ruff: noqa: PTH100

from __future__ import annotations

import os
import re
import sys
from pathlib import Path
from typing import Any

_LOCAL_TYPES = frozenset({
    "ext2", "ext3", "ext4", "xfs", "btrfs", "zfs", "bcachefs", "f2fs", "jfs", "reiserfs",
    "tmpfs", "ramfs", "rootfs", "overlay", "aufs", "squashfs", "erofs", "iso9660",
    "vfat", "exfat", "ntfs", "ntfs3", "fuseblk",
})  # fmt: skip
_MAC_REMOTE = ("/Volumes/", "/Network/", "/net/", "/home/")
_DRIVE_REMOTE = 4  # DRIVE_REMOTE, GetDriveTypeW, learn.microsoft.com


def is_local(path: str) -> bool:
    """Whether path is on a local file system, links in it resolved.

    Linux: by the file system's type in /proc/self/mountinfo. macOS: not below /Volumes and the
    like. Windows: no UNC path and no mapped drive. Anywhere else: no.
    The path as written is judged first, so that a known remote one is not touched.
    """
    return _is_local(os.path.abspath(path)) and _is_local(os.path.realpath(path))


def _is_local(path: str) -> bool:
    if sys.platform == "win32":
        return _is_local_on_windows(path)
    if sys.platform == "darwin":
        return not f"{path}/".startswith(_MAC_REMOTE)
    try:
        table = Path("/proc/self/mountinfo").read_text(encoding="utf-8", errors="surrogateescape")
    except OSError:
        return False
    kind = file_system_type(path, table)
    # In a chroot the root may be no mount of the table; only a disk's device has a major number.
    return kind in _LOCAL_TYPES if kind else os.major(Path("/").stat().st_dev) != 0


def file_system_type(path: str, mountinfo: str) -> str:
    """The type of the file system that holds an absolute path: the longest mount point, latest.

    Source: proc_pid_mountinfo(5).
    """
    best, kind = "", ""
    for line in mountinfo.splitlines():
        left, _, right = line.partition(" - ")
        fields = left.split(" ")
        if len(fields) < 5 or not right:
            continue
        point = re.sub(r"\\([0-7]{3})", lambda octal: chr(int(octal[1], 8)), fields[4])
        inside = f"{path}/".startswith(point.rstrip("/") + "/")
        if inside and len(point) >= len(best):
            best, kind = point, right.split(" ")[0]
    return kind


def _is_local_on_windows(path: str) -> bool:
    if path.startswith("\\\\"):
        return False
    import ctypes

    windows: Any = ctypes
    return bool(
        windows.windll.kernel32.GetDriveTypeW(os.path.splitdrive(path)[0] + "\\") != _DRIVE_REMOTE
    )
