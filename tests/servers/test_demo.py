"""`certshelf demo`, as a user runs it."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

pytestmark = pytest.mark.slow
DEMO = [sys.executable, "-m", "certshelf", "demo"]


def test_the_demo_holds_and_leaves_nothing(tmp_path: Path) -> None:
    done = subprocess.run(
        DEMO,
        env={"PATH": "/usr/bin:/bin", "TMPDIR": str(tmp_path), "HOME": str(tmp_path)},
        capture_output=True,
        text=True,
        timeout=100,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    assert "every step held" in done.stdout
    assert "\x1b" not in done.stdout + done.stderr
    assert list(tmp_path.iterdir()) == []


def test_hold_says_what_to_try_and_what_it_says_works(tmp_path: Path) -> None:
    with subprocess.Popen(
        [*DEMO, "--hold", "--folder", str(tmp_path)], stdout=subprocess.PIPE, text=True
    ) as process:
        assert process.stdout
        lines = []
        for line in process.stdout:
            lines.append(line)
            if "shelf ls" in line:
                break
        try:
            (curl,) = (line.strip() for line in lines if line.strip().startswith("curl"))
            answer = subprocess.run(
                ["bash", "-c", f"{curl} --silent --show-error"],
                capture_output=True,
                text=True,
                timeout=30,
                check=False,
            )
            if answer.returncode != 127:  # no curl here
                assert '"host": "www.example.test' in answer.stdout, answer.stderr
        finally:
            process.terminate()
        assert process.wait(30) in (0, 130)
