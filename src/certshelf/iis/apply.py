"""Running a script on a server through PowerShell Remoting, with a transcript.

pypsrp (extra `windows`) is imported when it is needed. Kerberos or NTLM over HTTPS by default;
secrets travel as SecureString, which PSRP encrypts with the session key on top. Never met a
Windows machine: the supported way is `certshelf iis plan`.
"""

from __future__ import annotations

from collections.abc import Mapping
from contextlib import AbstractContextManager
from importlib.util import find_spec

from certshelf.errors import ConfigError, DeployError
from certshelf.iis import psrp
from certshelf.iis.remote import Argument, Connect, Remote, Session, Transcript


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
    if find_spec("pypsrp") is None:
        raise ConfigError(
            "PowerShell Remoting needs the extra `windows`",
            hint="pip install 'certshelf[windows]', or start the script of `iis plan` there",
        )
    return psrp.connect(remote)
