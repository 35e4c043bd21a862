"""A server that scripts are run on: where it is, as whom, what a script is given and says."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from contextlib import AbstractContextManager
from dataclasses import dataclass
from typing import Any, Protocol

from certshelf.secret import Secret

Transcript = Callable[[str, str], None]
"""Called with a stream's name (output, warning, verbose, error) and one line of it."""


@dataclass(frozen=True, slots=True)
class Credential:
    """A user name and its password: becomes a PSCredential on the other side."""

    user: str
    password: Secret


Argument = str | int | bool | Secret | Credential


@dataclass(frozen=True, slots=True)
class Remote:
    """Where to and as whom. user "" means the account that runs this (Kerberos).

    ca_file: of the CA that signed the server's WinRM certificate; "" for those that are trusted
    anyway. answer_seconds: how long one answer may take; script_seconds: how long the script may
    run (installing a Windows feature takes minutes).
    """

    host: str
    user: str = ""
    password: Secret | None = None
    port: int = 5986
    ssl: bool = True
    ca_file: str = ""
    answer_seconds: int = 20
    script_seconds: float = 1800.0


@dataclass(frozen=True, slots=True)
class Said:
    """What a script said: its output lines, and whether it ended without an error."""

    output: tuple[str, ...]
    failed: bool


class Session(Protocol):
    """One connection that can run a script: the seam that tests replace."""

    def run(self, script: str, arguments: Mapping[str, Argument], note: Transcript) -> Said:
        """Run it; each line of each stream goes to note as it is known."""
        ...


Connect = Callable[[Remote], AbstractContextManager[Session]]


def plain(value: Any) -> str:
    """One object of a stream as a line of text without control characters."""
    text = value if isinstance(value, str) else str(value)
    return "".join(c if c.isprintable() or c == "\t" else " " for c in text).rstrip()
