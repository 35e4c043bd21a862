"""Linux tells which files of a folder change: inotify(7), by way of the C library.

A blocked thread costs nothing until something happens; a watcher that looks 200 times a second
costs more than all the handshakes of a quiet server.
"""

from __future__ import annotations

import ctypes
import os
import select
import struct
import sys
from collections.abc import Iterator
from threading import Event

_CLOSE_WRITE, _MOVED_FROM, _MOVED_TO = 0x8, 0x40, 0x80
_CREATE, _DELETE, _DELETE_SELF, _MOVE_SELF = 0x100, 0x200, 0x400, 0x800
_UNMOUNT, _OVERFLOW, _IGNORED, _ONLY_FOLDER = 0x2000, 0x4000, 0x8000, 0x1000000
_FILES = _CLOSE_WRITE | _MOVED_FROM | _MOVED_TO | _CREATE | _DELETE
_GONE = _DELETE_SELF | _MOVE_SELF | _UNMOUNT | _IGNORED
_HEAD = struct.Struct("iIII")
_LOOK_UP_MS = 1000  # how soon a stop is noticed


def open_inotify(path: str) -> int | None:
    """A descriptor that tells of changes in a folder; None where the system has no such thing.

    Raises OSError: the folder is not there, or the user's limit of watches is reached.
    """
    if sys.platform != "linux":
        return None
    libc = ctypes.CDLL(None, use_errno=True)
    descriptor = int(libc.inotify_init1(os.O_CLOEXEC | os.O_NONBLOCK))
    if descriptor < 0:
        raise OSError(ctypes.get_errno(), "no inotify")
    mask = _FILES | _DELETE_SELF | _MOVE_SELF | _ONLY_FOLDER
    if libc.inotify_add_watch(descriptor, os.fsencode(path), ctypes.c_uint32(mask)) < 0:
        number = ctypes.get_errno()
        os.close(descriptor)
        raise OSError(number, os.strerror(number), path)
    return descriptor


def changed_files(descriptor: int, stop: Event) -> Iterator[frozenset[str]]:
    """Names of files that changed, until stop is set or the folder is gone; closes the descriptor.

    An empty set: more changed than the system kept, look at all.
    """
    try:
        poll = select.poll()
        poll.register(descriptor, select.POLLIN)
        while not stop.is_set():
            if not poll.poll(_LOOK_UP_MS):
                continue
            names, seen = parse_events(os.read(descriptor, 65536))
            if seen & _OVERFLOW:
                yield frozenset()
            elif names:
                yield names
            if seen & _GONE:
                return
    finally:
        os.close(descriptor)


def parse_events(data: bytes) -> tuple[frozenset[str], int]:
    """The names in a buffer of `struct inotify_event`, and all their masks together."""
    names, seen, at = set(), 0, 0
    while at < len(data):
        _, mask, _, length = _HEAD.unpack_from(data, at)
        at += _HEAD.size
        name = data[at : at + length].rstrip(b"\0")
        at += length
        seen |= mask
        if name and mask & _FILES:
            names.add(os.fsdecode(name))
    return frozenset(names), seen
