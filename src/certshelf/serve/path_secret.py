"""The secret path of the loopback endpoint: made once, kept in a file that only we can read."""

from __future__ import annotations

import os
import secrets
import stat
from pathlib import Path

from certshelf.errors import ConfigError
from certshelf.secret import Secret

_LENGTH = 32


def read_or_make(path: Path) -> Secret:
    """The secret in that file; a new one is made when there is no file.

    Raises ConfigError when the file can be read by others or does not hold a secret of ours.
    """
    made = _make(path)
    return read(path) if made is None else made


def read(path: Path) -> Secret:
    """The secret in that file: 32 letters, digits, `-` and `_`."""
    try:
        flags = os.O_RDONLY | getattr(os, "O_NOFOLLOW", 0) | getattr(os, "O_NONBLOCK", 0)
        descriptor = os.open(path, flags)
        with os.fdopen(descriptor, "rb") as file:
            found = os.fstat(file.fileno())
            text = file.read(4 * _LENGTH).decode("ascii", "replace").strip()
    except OSError as error:
        raise ConfigError(f"cannot read the secret path from {path}: {error.strerror}") from error
    if not stat.S_ISREG(found.st_mode):
        raise ConfigError(f"{path} is no file", hint=f"remove it: rm {path}")
    if os.name == "posix" and found.st_uid not in (0, os.geteuid()):
        raise ConfigError(  # he knows the secret, then
            f"the secret path in {path} belongs to another user", hint=f"remove it: rm {path}"
        )
    if os.name == "posix" and stat.S_IMODE(found.st_mode) & 0o077:
        raise ConfigError(
            f"others can read the secret path in {path}", hint=f"remove it: rm {path}"
        )
    if len(text) < _LENGTH or not all(c.isascii() and (c.isalnum() or c in "-_") for c in text):
        raise ConfigError(f"{path} holds no secret path", hint=f"remove it: rm {path}")
    return Secret(text)


def _make(path: Path) -> Secret | None:
    """Write a new secret, whole at once; None when the file is there already."""
    text = secrets.token_urlsafe(_LENGTH)[:_LENGTH]
    flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL | getattr(os, "O_NOFOLLOW", 0)
    try:
        descriptor = os.open(path, flags, 0o600)
    except FileExistsError:
        return None
    except OSError as error:
        raise ConfigError(f"cannot make {path}: {error.strerror}") from error
    with os.fdopen(descriptor, "w", encoding="ascii") as file:
        file.write(text + "\n")
    return Secret(text)
