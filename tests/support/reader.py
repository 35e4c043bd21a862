"""A shelf in a folder and the real reader process that serves it."""

from __future__ import annotations

import signal
import sys
from collections.abc import Sequence
from pathlib import Path

from certshelf.bundle import pfx
from certshelf.bundle.model import Bundle
from certshelf.names import HostName
from certshelf.opening import open_shelf
from certshelf.secret import Secret
from tests.support.server_process import Process
from tests.support.small_ca import SmallCa
from tests.support.tls_probe import wait_until

PASSWORD = "kT3vQ9xZ_w7Lr2Yb8NcD5fHj1MpS6uXa0GeKi4oVtRq"


class ShelfFolder:
    """A shelf that tests publish to; `current` is what each name should be served with."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        folder.mkdir(parents=True, exist_ok=True)
        self.ca = SmallCa()
        self.shelf = open_shelf(folder, password=PASSWORD, owner="tests")
        self.current: dict[str, Bundle] = {}

    def publish(self, name: str, *, rsa_key: bool = False) -> str:
        """Put a new certificate of one name on the shelf; its SHA-256."""
        bundle = self.ca.issue(name, rsa_key=rsa_key)
        self.shelf.publish(bundle)
        self.current[name] = bundle
        return bundle.sha256

    def publish_slow(self, name: str, *, rsa_key: bool = False) -> str:
        """As publish(), with the rounds of a password that people choose."""
        bundle = self.ca.issue(name, rsa_key=rsa_key)
        data = pfx.encode(bundle, Secret(PASSWORD), rounds=pfx.ROUNDS_HUMAN)
        self.spoil(name, data)
        self.current[name] = bundle
        return bundle.sha256

    def spoil(self, name: str, data: bytes = b"garbage") -> None:
        """Replace a PFX by something that is none."""
        for file in HostName.parse(name).file_names():
            temp = self.folder / f".{file}.spoil"
            temp.write_bytes(data)
            temp.replace(self.folder / file)

    def take_away(self) -> None:
        """The shelf is gone."""
        self.folder.rename(self.folder.with_name(self.folder.name + ".away"))

    def bring_back(self) -> None:
        self.folder.with_name(self.folder.name + ".away").rename(self.folder)


class ReaderProcess:
    """certshelf-reader as a user runs it."""

    def __init__(self, work: Path, shelf: ShelfFolder | str, flags: Sequence[str]) -> None:
        self._work = work
        work.mkdir(parents=True, exist_ok=True)
        password = work / "password"
        password.write_text(PASSWORD + "\n")
        where = shelf if isinstance(shelf, str) else str(shelf.folder)
        self._command = [sys.executable, "-m", "certshelf.serve.program", "--shelf", where]
        self._command += ["--password-file", str(password), "--poll", "1", *flags]
        self._runs = 0
        self.process: Process | None = None
        self.start()

    def start(self) -> None:
        """Start it and wait for its ready line."""
        self._runs += 1
        self.process = Process(self._command, self._work / f"reader-{self._runs}.log")
        ready = wait_until(lambda: bool(self.offers) or not self._running.is_running, 20)
        assert ready and self.offers, self._running.output()

    @property
    def _running(self) -> Process:
        assert self.process is not None
        return self.process

    @property
    def log(self) -> str:
        return self._running.log.read_text(errors="replace")

    @property
    def offers(self) -> dict[str, str]:
        """What the ready line says."""
        for line in self.log.splitlines(keepends=True):
            if line.startswith("ready") and line.endswith("\n"):
                return dict(word.split("=", 1) for word in line.split()[1:])
        return {}

    def kill(self) -> None:
        self._running.stop(signal.SIGKILL)

    def stop(self) -> int:
        """SIGTERM; the exit status."""
        self._running.send(signal.SIGTERM)
        return self._running.wait()

    def hang_up(self) -> None:
        self._running.send(signal.SIGHUP)

    def close(self) -> None:
        self._running.stop()
