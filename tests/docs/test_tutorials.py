"""Every command of the tutorials is run, in order, and says what the page says."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from tests.support.bundles import make_bundle

from certshelf.secret import Secret, generate_password

DOCS = Path(__file__).parent.parent.parent / "docs"
BLOCK = re.compile(r"^```console\n(.*?)^```", re.DOTALL | re.MULTILINE)

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(sys.platform == "win32", reason="the pages are written for a POSIX shell"),
]


def steps(page: Path) -> list[tuple[str, list[str]]]:
    """Each command of a page with the lines that it must print."""
    found: list[tuple[str, list[str]]] = []
    for block in BLOCK.findall(page.read_text(encoding="utf-8")):
        for line in block.splitlines():
            if line.startswith("$ "):
                found.append((line[2:], []))
            elif line.strip():
                found[-1][1].append(line.strip())
    return found


def run_page(page: str, folder: Path) -> None:
    """Run all commands in one shell; each must succeed and print what the page shows of it."""
    commands = steps(DOCS / "tutorial" / page)
    marker = "=====next====="
    script = "set -e\n" + "".join(f"{command}\necho {marker}\n" for command, _ in commands)
    environment = {
        "PATH": f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}",
        "HOME": str(folder),
        "LANG": "C.UTF-8",
        "NO_COLOR": "1",
    }
    done = subprocess.run(
        ["bash", "-c", script],
        cwd=folder,
        env=environment,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        stdin=subprocess.DEVNULL,
        text=True,
        timeout=110,
        check=False,
    )
    outputs = done.stdout.split(marker)
    assert done.returncode == 0, f"{commands[len(outputs) - 1][0]!r} failed:\n{outputs[-1]}"
    for (command, expected), shown in zip(commands, outputs, strict=False):
        flat = " ".join(shown.split())
        for line in expected:
            assert " ".join(line.split()) in flat, f"{command!r} printed:\n{shown}"


def test_your_first_shelf(tmp_path: Path) -> None:
    run_page("first-shelf.md", tmp_path)


def test_take_over_a_folder(tmp_path: Path) -> None:
    password = generate_password()
    (tmp_path / "pfx-password").write_text(password.reveal())
    folder = tmp_path / "ccs"
    folder.mkdir()
    old = datetime.now(UTC) - timedelta(days=99)
    files = {
        "www.example.test.pfx": make_bundle("www.example.test").to_pfx(password),
        "other.example.test.pfx": make_bundle("other.example.test").to_pfx(password),
        "expired.example.test.pfx": make_bundle("expired.example.test", start=old).to_pfx(password),
        "locked.example.test.pfx": make_bundle("locked.example.test").to_pfx(Secret("another")),
    }
    for name, data in files.items():
        (folder / name).write_bytes(data)
    run_page("adopt.md", tmp_path)
    assert {path.name: path.read_bytes() for path in folder.glob("*.pfx")} == files
