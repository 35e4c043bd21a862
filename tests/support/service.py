"""`certshelf run` as a process under test, and homes for it."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from tests.support.processes import wait_until


class Running:
    """A service under test; `text` is all that it said."""

    def __init__(self, home: Path, log: Path, *arguments: str, **environ: str) -> None:
        self.log = log
        with self.log.open("ab") as out:
            self.process = subprocess.Popen(
                [sys.executable, "-m", "certshelf", "--home", str(home), "run", *arguments],
                stdin=subprocess.PIPE,
                stdout=out,
                stderr=out,
                env={**os.environ, **environ},
                start_new_session=True,
            )

    @property
    def text(self) -> str:
        return self.log.read_text(errors="replace")

    def says(self, what: str) -> None:
        wait_until(lambda: what in self.text or self.process.poll() is not None, what, 40)
        assert what in self.text, self.text

    @property
    def address(self) -> str:
        self.says("/healthz")
        line = next(line for line in self.text.splitlines() if "/healthz" in line)
        return line.rpartition(" ")[2].removesuffix("/healthz")

    def get(self, path: str) -> str:
        with urllib.request.urlopen(self.address + path, timeout=10) as answer:
            body: bytes = answer.read()
        return body.decode()

    def metric(self, name: str) -> int:
        """One sample, `certshelf_` left out; 0 when there is none yet."""
        rest = self.get("/metrics").partition(f"\ncertshelf_{name} ")[2]
        return int(rest.split()[0]) if rest else 0

    def send(self, number: int) -> None:
        os.killpg(self.process.pid, number)

    def stop(self, number: int = signal.SIGTERM) -> int:
        self.send(number)
        return self.process.wait(60)


@contextmanager
def running(home: Path, *arguments: str, log: str = "service", **environ: str) -> Iterator[Running]:
    """One service; killed at the end if it still runs."""
    service = Running(home, home.parent / f"{log}.log", *arguments, **environ)
    try:
        yield service
    finally:
        if service.process.poll() is None:
            service.stop(signal.SIGKILL)
        assert service.process.stdin
        service.process.stdin.close()
