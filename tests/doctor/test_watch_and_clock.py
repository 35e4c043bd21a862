"""`doctor --watch` as a process, and the clock as a CA's Date header tells it."""

from __future__ import annotations

import re
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from datetime import timedelta
from pathlib import Path

import pytest

from tests.doctor.real_farm import Cli
from tests.support.scripted_ca import scripted_ca

pytestmark = pytest.mark.slow
BROKEN = "broken.example.com.pfx"


@pytest.fixture
def cli(tmp_path: Path) -> Cli:
    made = Cli(tmp_path / "home")
    made("init", "--store", tmp_path / "shelf")
    return made


class Watch:
    """`certshelf doctor --watch` and what it has printed."""

    def __init__(self, cli: Cli, folder: Path) -> None:
        self._log = folder / "watch.log"
        words = ["--home", str(cli.home), "doctor", "--watch", "--every", "0.2"]
        with self._log.open("wb") as log:
            self.process = subprocess.Popen(
                [sys.executable, "-m", "certshelf", *words], stdout=log, stderr=log
            )

    @property
    def lines(self) -> list[str]:
        return self._log.read_text("utf-8").splitlines()

    def wait_for(self, fact: Callable[[str], bool]) -> str:
        deadline = time.monotonic() + 60
        while not (found := [line for line in self.lines if fact(line)]):
            assert self.process.poll() is None, self.lines
            assert time.monotonic() < deadline, self.lines
            time.sleep(0.05)
        return found[0]


@pytest.mark.skipif(sys.platform == "win32", reason="SIGINT of a process")
def test_watch_tells_what_came_and_what_went_and_ends_at_an_interrupt(
    cli: Cli, tmp_path: Path
) -> None:
    watch = Watch(cli, tmp_path)
    try:
        watch.wait_for(lambda line: "shelf-files" in line)
        (tmp_path / "shelf" / BROKEN).write_bytes(b"nothing")
        watch.wait_for(lambda line: " error pfx-unreadable" in line)
        (tmp_path / "shelf" / BROKEN).unlink()
        watch.wait_for(lambda line: "gone: pfx-unreadable" in line and BROKEN in line)
        told = [line for line in watch.lines if "key-file-mode" in line]
        assert len(told) == 1  # what stays is told once
        watch.process.send_signal(signal.SIGINT)
        assert watch.process.wait(90) == 130
    finally:
        watch.process.kill()
        watch.process.wait()
    assert "Traceback" not in "\n".join(watch.lines)


@pytest.mark.parametrize(
    ("ahead", "expected"),
    [(timedelta(0), "ok"), (timedelta(hours=2), "behind"), (timedelta(hours=-2), "ahead")],
)
def test_the_clock_is_compared_with_the_date_that_a_ca_sends(
    cli: Cli, tmp_path: Path, ahead: timedelta, expected: str
) -> None:
    (tmp_path / "webroot").mkdir()
    with scripted_ca(ahead=ahead) as ca:
        cli("issuer", "add", "ca", "--acme", ca.directory_url, "--poll-interval", "0.1")
        cli("issuer", "test", "ca")
        words = ("--issuer", "ca", "--challenge", "http-01", "--http-webroot", tmp_path / "webroot")
        cli("cert", "add", "a.example.test", *words)
        text = cli("doctor", "--deep", "--only", "clock", status=int(expected != "ok"))
    (line,) = [line for line in text.splitlines() if "clock" in line]
    if expected == "ok":
        assert "right" in line
        return
    seconds = re.search(rf"(\d+) s {expected}", line)
    assert seconds and abs(int(seconds[1]) - 7200) < 60, line  # a header tells whole seconds
