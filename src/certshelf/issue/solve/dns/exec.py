"""TXT records by a program of the user's own, called in the style of acme.sh's and lego's hooks.

It is called as `PROGRAM [ARGS...] present|cleanup FQDN. VALUE`, finds the same in its environment
(CERTSHELF_ACTION, CERTSHELF_NAME, CERTSHELF_VALUE) and, with its credential, as one JSON object
on its standard input. No shell is involved, and no secret is ever an argument.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
from collections.abc import Sequence

from certshelf.errors import ChallengeFailed, ConfigError
from certshelf.secret import Secret

_TIMEOUT_S = 300.0
_TAIL = 500
# What a program needs to run at all; the manager's own variables may hold secrets.
_INHERITED = (
    *("PATH", "HOME", "LANG", "LC_ALL", "TZ", "TMPDIR", "TEMP", "TMP", "PATHEXT", "COMSPEC"),
    *("SYSTEMROOT", "SYSTEMDRIVE", "WINDIR", "USERPROFILE", "APPDATA", "LOCALAPPDATA"),
    *("PROGRAMDATA", "HTTP_PROXY", "HTTPS_PROXY", "NO_PROXY"),
)


class ExecHook:
    """Writes TXT records by calling a program; see the module and TxtWriter.

    argv: the program and its first arguments. The program must be safe to repeat.
    """

    def __init__(
        self,
        argv: Sequence[str],
        *,
        credential: Secret | None = None,
        timeout_s: float = _TIMEOUT_S,
    ) -> None:
        if not argv:
            raise ConfigError("an exec hook without a program", hint="give the program's path")
        self._argv = tuple(argv)
        self._credential = credential
        self._timeout_s = timeout_s

    async def add(self, name: str, value: str) -> None:
        """See TxtWriter."""
        await self._call("present", name, value)

    async def remove(self, name: str, value: str) -> None:
        """See TxtWriter."""
        await self._call("cleanup", name, value)

    async def _call(self, action: str, name: str, value: str) -> None:
        secret = self._credential.reveal() if self._credential else ""
        said = {"action": action, "name": name, "value": value, "credential": secret}
        try:
            process = await asyncio.create_subprocess_exec(
                *self._argv,
                action,
                name + ".",
                value,
                stdin=asyncio.subprocess.PIPE,
                stdout=asyncio.subprocess.PIPE,
                stderr=asyncio.subprocess.STDOUT,
                env=_environment(action, name, value),
            )
        except OSError as error:
            raise ConfigError(
                f"the DNS hook {self._argv[0]} cannot be started: {error.strerror}",
                hint="check the path and that it may be executed",
            ) from error
        output = await self._finish(process, json.dumps(said).encode() + b"\n", action, name)
        if process.returncode != 0:
            tail = output.decode(errors="replace")
            tail = tail.replace(secret, "***") if secret else tail
            shown = " ".join(tail.split())[-_TAIL:]
            raise ChallengeFailed(
                f"the DNS hook {self._argv[0]} {action} {name} ended with "
                f"{process.returncode}: {shown or 'it said nothing'}",
                hint="run it by hand with the same arguments",
            )

    async def _finish(
        self, process: asyncio.subprocess.Process, text: bytes, action: str, name: str
    ) -> bytes:
        try:
            output, _ = await asyncio.wait_for(process.communicate(text), self._timeout_s)
        except TimeoutError:
            raise ChallengeFailed(
                f"the DNS hook {self._argv[0]} {action} {name} did not end "
                f"in {self._timeout_s:g} s",
                hint="it was killed; run it by hand with the same arguments",
            ) from None
        finally:
            if process.returncode is None:
                with contextlib.suppress(ProcessLookupError):
                    process.kill()
                await process.wait()
        return output


def _environment(action: str, name: str, value: str) -> dict[str, str]:
    inherited = {key: os.environ[key] for key in _INHERITED if key in os.environ}
    return {
        **inherited,
        "CERTSHELF_ACTION": action,
        "CERTSHELF_NAME": name,
        "CERTSHELF_VALUE": value,
    }
