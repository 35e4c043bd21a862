"""What every reader of a configuration gives back, and how it follows includes."""

from __future__ import annotations

import glob
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path, PurePath

from certshelf.errors import ConfigError
from certshelf.farm import Binding

MAX_BYTES = 8 * 2**20
MAX_INCLUDED = 5000
MAX_DEPTH = 16


@dataclass(frozen=True, slots=True)
class Reading:
    """The TLS bindings of one server, and in words what the reader did not follow.

    folders: what it publishes by HTTP, where its reader looks for that (IIS, nginx, Apache).
    """

    bindings: tuple[Binding, ...]
    notes: tuple[str, ...] = ()
    folders: tuple[str, ...] = ()


Follow = Callable[[str], Iterator[tuple[str, str]]]
"""The files behind an include's pattern as (path, text); nothing for those that are not there."""


def follow_nothing(pattern: str) -> Iterator[tuple[str, str]]:
    """For a text that stands alone: every include becomes a note."""
    return iter(())


def follow_from(folder: Path) -> Follow:
    """Includes relative to a folder, or absolute; in order of their names."""

    def follow(pattern: str) -> Iterator[tuple[str, str]]:
        found = sorted(glob.glob(str(folder / pattern)))  # noqa: PTH207  # may be absolute
        for name in found[:MAX_INCLUDED]:
            if Path(name).is_file():
                yield name, read_text(Path(name))

    return follow


def read_text(path: Path) -> str:
    """A configuration as text; ConfigError when it is not there, too large or no UTF-8."""
    try:
        with path.open("rb") as file:
            data = file.read(MAX_BYTES + 1)
        if len(data) > MAX_BYTES:
            raise ConfigError(f"{path} is larger than {MAX_BYTES} bytes")
        return data.decode("utf-8-sig")
    except OSError as error:
        raise ConfigError(f"cannot read {path}: {error.strerror}") from error
    except UnicodeDecodeError as error:
        raise ConfigError(f"cannot read {path}: it is not UTF-8") from error


def is_ours(certificate: str) -> bool:
    """Whether a file lies in a reader's folder, and so comes from the shelf."""
    return "certshelf" in PurePath(certificate).parts


def split_address(text: str, default_port: int = 0) -> tuple[str, int] | None:
    """Address and port of `443`, `:443`, `*:443`, `192.0.2.1`, `[::1]:443`; None when it is none.

    Addresses for all, of either family, become `*`.
    """
    address, port = text, ""
    if text.isdigit():
        address, port = "", text
    elif text.startswith("["):
        inside, bracket, rest = text.partition("]")
        address, port = inside + bracket, rest.removeprefix(":")
    elif text.count(":") == 1:
        address, _, port = text.partition(":")
    number = int(port) if port.isascii() and port.isdigit() else (0 if port else default_port)
    if not 0 < number < 65_536:
        return None
    return ("*" if address in ("", "*", "0.0.0.0", "[::]") else address), number  # noqa: S104
