"""Server processes of tests: started on free ports of loopback, stopped by their own group."""

from __future__ import annotations

import contextlib
import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Sequence
from pathlib import Path


def tool(name: str) -> str:
    """A program next to this Python (from a wheel) or on the PATH of daemons; "" when missing."""
    folders = [str(Path(sys.executable).parent), *os.environ.get("PATH", "").split(os.pathsep)]
    for folder in [*folders, "/usr/sbin", "/sbin"]:
        path = Path(folder) / name
        if path.is_file() and os.access(path, os.X_OK):
            return str(path)
    return ""


class Process:
    """A process in its own group, with its output in a file."""

    def __init__(self, command: Sequence[str], log: Path, cwd: Path | None = None) -> None:
        self.log = log
        with log.open("ab") as out:
            self._process = subprocess.Popen(
                command, stdout=out, stderr=out, cwd=cwd, start_new_session=True
            )

    @property
    def pid(self) -> int:
        return self._process.pid

    @property
    def is_running(self) -> bool:
        return self._process.poll() is None

    def wait_port(self, port: int, seconds: float = 30.0) -> None:
        """Wait until somebody listens; fails with the log when the process ends before."""
        deadline = time.monotonic() + seconds
        while True:
            try:
                socket.create_connection(("127.0.0.1", port), 1).close()
                return
            except OSError:
                if not self.is_running or time.monotonic() > deadline:
                    raise AssertionError(f"no server on {port}: {self.output()}") from None
                time.sleep(0.02)

    def output(self) -> str:
        return self.log.read_text(errors="replace")[-1500:]

    def send(self, number: int) -> None:
        self._process.send_signal(number)

    def wait(self, seconds: float = 10.0) -> int:
        return self._process.wait(seconds)

    def stop(self, number: int = signal.SIGTERM) -> None:
        """End the whole group: first this word, then SIGKILL for whoever stayed."""
        for word, seconds in ((number, 5.0), (signal.SIGKILL, 5.0)):
            with contextlib.suppress(ProcessLookupError, subprocess.TimeoutExpired):
                os.killpg(self._process.pid, word)
                self._process.wait(seconds)
