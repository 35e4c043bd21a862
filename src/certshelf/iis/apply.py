"""Running a script on a server through PowerShell Remoting, with a transcript.

pypsrp (extra `windows`) is imported when it is needed. Kerberos or NTLM over HTTPS by default;
secrets travel as SecureString, which PSRP encrypts with the session key on top. Never met a
Windows machine: the supported way is `certshelf iis plan`.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from contextlib import AbstractContextManager
from dataclasses import dataclass
from importlib.util import find_spec
from typing import Any, Protocol

from certshelf.errors import ConfigError, DeployError
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


def apply(
    remote: Remote,
    script: str,
    arguments: Mapping[str, Argument],
    transcript: Transcript,
    connect: Connect | None = None,
) -> tuple[str, ...]:
    """Run a script on a server and return what it wrote; raise DeployError when it failed.

    transcript hears every line, errors too, and never a secret: those are arguments, not text.
    """
    said_last: list[str] = []

    def note(stream: str, line: str) -> None:
        if stream == "error":
            said_last.append(line)
        transcript(stream, line)

    with (connect or connect_psrp)(remote) as session:
        said = session.run(script, arguments, note)
    if said.failed:
        raise DeployError(
            f"the script failed on {remote.host}: {said_last[-1] if said_last else 'no message'}",
            hint="it is safe to run again; with -WhatIf it shows its steps",
            output="\n".join(said_last)[-4000:],
        )
    return said.output


def connect_psrp(remote: Remote) -> AbstractContextManager[Session]:
    """A session through pypsrp. Raises ConfigError without the extra, DeployError without luck."""
    from certshelf.iis import psrp

    if find_spec("pypsrp") is None:
        raise ConfigError(
            "PowerShell Remoting needs the extra `windows`",
            hint="pip install 'certshelf[windows]', or start the script of `iis plan` there",
        )
    return psrp.connect(remote)


def plain(value: Any) -> str:
    """One object of a stream as a line of text without control characters."""
    text = value if isinstance(value, str) else str(value)
    return "".join(c if c.isprintable() or c == "\t" else " " for c in text).rstrip()
