"""Run a program for a task: an argument list, no shell, its whole process group ended in time."""

from __future__ import annotations

import contextlib
import os
import re
import signal
import subprocess
from collections.abc import Iterable, Mapping, Sequence
from threading import Thread
from typing import IO

from certshelf.deploy.base import Context
from certshelf.errors import DeployError
from certshelf.secret import Secret

MAX_OUTPUT_BYTES = 64 * 1024
_GRACE_SECONDS = 2.0
_NAMES = """
PATH HOME LANG LC_ALL LC_CTYPE TZ TMPDIR TEMP TMP USER LOGNAME SYSTEMROOT WINDIR PATHEXT COMSPEC
USERPROFILE APPDATA LOCALAPPDATA PROGRAMDATA PROGRAMFILES PSMODULEPATH XDG_RUNTIME_DIR
DBUS_SESSION_BUS_ADDRESS
"""
_ENVIRONMENT = frozenset(_NAMES.split())
"""What a child gets of our environment; where our keys and secrets lie is none of its business."""
_PRIVATE_KEY = re.compile(
    r"(?:\A|-----BEGIN [A-Z ]*PRIVATE KEY-----)(?:(?!-----BEGIN).)*?"
    r"-----END [A-Z ]*PRIVATE KEY-----"
    r"|-----BEGIN [A-Z ]*PRIVATE KEY-----.*\Z",
    re.DOTALL,
)
"""Whole, or cut off at either end of what was kept."""


def run_program(
    command: Sequence[str],
    context: Context,
    *,
    stdin: bytes = b"",
    secrets: Iterable[Secret] = (),
) -> str:
    """Run a program to its end and return what it said, the last 64 KB, without secrets.

    stdin: what it reads. secrets: taken out of what it says, as are private keys.
    Raises DeployError, with the output, when it cannot be started, ends with another status than 0
    or is not done in the task's time: then it and all that it started are ended.
    """
    seconds = context.left()
    name = command[0]
    try:
        child = subprocess.Popen(
            list(command),
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            env=_environment(os.environ),
            start_new_session=os.name != "nt",
            creationflags=getattr(subprocess, "CREATE_NEW_PROCESS_GROUP", 0),
        )
    except OSError as error:
        raise DeployError(
            f"cannot start {name}: {error.strerror or error}", hint="is it installed, executable?"
        ) from error
    talk = _Talk(child, stdin)
    try:
        status = child.wait(seconds)
    except subprocess.TimeoutExpired:
        end_group(child)
        said = _redacted(talk.end(), secrets)
        raise DeployError(
            f"{name} was not done after {seconds:.0f} s and was ended",
            hint="task add --timeout gives it more",
            output=said,
        ) from None
    said = _redacted(talk.end(), secrets)
    if status != 0:
        last = said.strip().splitlines()[-1:] or ["it said nothing"]
        how = f"signal {-status}" if status < 0 else f"status {status}"
        raise DeployError(f"{name} ended with {how}: {last[0][:200]}", output=said)
    return said


def end_group(child: subprocess.Popen[bytes]) -> None:
    """End a program started by run_program() and all that it started: asked first, then forced."""
    if os.name == "nt":
        subprocess.run(
            ["taskkill", "/PID", str(child.pid), "/T", "/F"], capture_output=True, check=False
        )
    else:
        with contextlib.suppress(ProcessLookupError):
            os.killpg(child.pid, signal.SIGTERM)
        with contextlib.suppress(subprocess.TimeoutExpired):
            child.wait(_GRACE_SECONDS)
        with contextlib.suppress(ProcessLookupError):  # what it started may have stayed
            os.killpg(child.pid, signal.SIGKILL)
    child.wait()


class _Talk:
    """Feeds a child and keeps the end of what it says, so that neither pipe can block it."""

    def __init__(self, child: subprocess.Popen[bytes], stdin: bytes) -> None:
        assert child.stdin is not None  # noqa: S101 - both are pipes
        assert child.stdout is not None  # noqa: S101
        self._said = bytearray()
        self._in, self._out = child.stdin, child.stdout
        self._reader = Thread(target=self._read, args=(self._out,), daemon=True)
        self._writer = Thread(target=_write, args=(self._in, stdin), daemon=True)
        self._reader.start()
        self._writer.start()

    def end(self) -> str:
        """What was said. A process that stayed behind may hold the pipe: it is not waited for."""
        self._reader.join(1.0)
        self._writer.join(1.0)
        return bytes(self._said).decode("utf-8", "replace")

    def _read(self, out: IO[bytes]) -> None:
        with contextlib.suppress(OSError, ValueError), out:
            while part := os.read(out.fileno(), 65536):
                self._said += part
                del self._said[:-MAX_OUTPUT_BYTES]


def _write(pipe: IO[bytes], data: bytes) -> None:
    with contextlib.suppress(OSError, ValueError):  # it ended, or does not want to hear
        pipe.write(data)
    with contextlib.suppress(OSError, ValueError):
        pipe.close()


def _environment(ours: Mapping[str, str]) -> dict[str, str]:
    return {name: value for name, value in ours.items() if name.upper() in _ENVIRONMENT}


def _redacted(text: str, secrets: Iterable[Secret]) -> str:
    text = _PRIVATE_KEY.sub("*** private key ***", text)
    for secret in secrets:
        if len(secret.reveal()) >= 4:  # a shorter one would blacken half the text
            text = text.replace(secret.reveal(), "***")
    return text
