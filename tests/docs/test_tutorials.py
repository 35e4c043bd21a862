"""Every command of the tutorials is run, in order, and says what the page says."""

from __future__ import annotations

import contextlib
import os
import re
import shutil
import signal
import site
import subprocess
import sys
from collections.abc import Mapping
from datetime import UTC, datetime, timedelta
from pathlib import Path
from types import MappingProxyType

import pytest
from tests.support.bundles import make_bundle
from tests.support.pebble import pebble
from tests.support.ports import free_port
from tests.support.repository import ROOT

from certshelf.secret import Secret, generate_password

DOCS = Path(__file__).parent.parent.parent / "docs"
BLOCK = re.compile(r"^```console\n(.*?)^```", re.DOTALL | re.MULTILINE)

pytestmark = [
    pytest.mark.slow,
    pytest.mark.timeout(180),
    pytest.mark.skipif(sys.platform == "win32", reason="the pages are written for a POSIX shell"),
]


def steps(page: Path) -> list[tuple[str, list[str]]]:
    """Each command of a page with the lines that it must print."""
    found: list[tuple[str, list[str]]] = []
    end = ""
    for block in BLOCK.findall(page.read_text(encoding="utf-8")):
        for line in block.splitlines():
            if end:
                found[-1] = (f"{found[-1][0]}\n{line}", [])
                end = "" if line == end else end
            elif line.startswith("$ "):
                found.append((line[2:], []))
                end = "END" if "<<'END'" in line else ""
            elif line.strip():
                found[-1][1].append(line.strip())
    return found


def run_page(
    page: str, folder: Path, replace: Mapping[str, str] = MappingProxyType({}), **environ: str
) -> None:
    """Run all commands in one shell; each must succeed and print what the page shows of it.

    replace: texts of the commands that mean another thing in a test, each of which must occur.
    """
    commands = [(replaced(command, replace), shown) for command, shown in steps(tutorial(page))]
    marker = "=====next====="
    script = "set -e\n" + "".join(f"{command}\necho {marker}\n" for command, _ in commands)
    assert all(new in script for new in replace.values())
    environment = {
        "PATH": f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}",
        "HOME": str(folder),
        "LANG": "C.UTF-8",
        "NO_COLOR": "1",
        **environ,
    }
    status, text = run_script(script, folder, environment)
    outputs = text.split(marker)
    assert status == 0, f"{commands[len(outputs) - 1][0]!r} failed:\n{outputs[-1]}"
    for (command, expected), shown in zip(commands, outputs, strict=False):
        flat = " ".join(shown.split())
        for line in expected:
            assert " ".join(line.split()) in flat, f"{command!r} printed:\n{shown}"


def tutorial(page: str) -> Path:
    return DOCS / "tutorial" / page


def replaced(command: str, replace: Mapping[str, str]) -> str:
    for old, new in replace.items():
        command = command.replace(old, new)
    return command


def run_script(script: str, folder: Path, environment: Mapping[str, str]) -> tuple[int, str]:
    """Its exit status and all that it printed; what it left running is ended."""
    log = folder / "page.log"
    with log.open("wb") as out:
        shell = subprocess.Popen(
            ["bash", "-c", script],
            cwd=folder,
            env=environment,
            stdout=out,
            stderr=out,
            stdin=subprocess.DEVNULL,
            start_new_session=True,
        )
        try:
            status = shell.wait(170)
        except subprocess.TimeoutExpired:
            status = -1
        with contextlib.suppress(ProcessLookupError):
            os.killpg(shell.pid, signal.SIGKILL)
        shell.wait()
    return status, log.read_text(errors="replace")


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


def sources(folder: Path) -> Path:
    """A copy of what the wheel is made from: a build may leave nothing in the tree."""
    folder.mkdir()
    for name in ("pyproject.toml", "README.md", "LICENSE"):
        shutil.copy(ROOT / name, folder)
    shutil.copytree(ROOT / "src", folder / "src", ignore=shutil.ignore_patterns("__pycache__"))
    return folder


def dependencies(folder: Path) -> Path:
    """All that is installed here but certshelf itself, as a folder for PYTHONPATH: no network."""
    folder.mkdir()
    for installed in filter(Path.is_dir, map(Path, site.getsitepackages())):
        for path in installed.iterdir():
            if "certshelf" not in path.name and path.suffix != ".pth":
                (folder / path.name).symlink_to(path)
    return folder


@pytest.mark.skipif(not shutil.which("curl"), reason="curl is not installed")
def test_the_first_hour_from_the_wheel_to_a_green_doctor(tmp_path: Path) -> None:
    """Names of the page are names in Pebble's DNS; its ports are free ones here."""
    status, server = free_port(), free_port()
    with pebble(tmp_path / "pebble") as ca:
        ca.dns_set("set-default-ipv4", ip="127.0.0.1")
        listen = f"sed -i '/^# listen = /clisten = \"127.0.0.1:{status}\"' home/certshelf.toml"
        run_page(
            "first-hour.md",
            tmp_path,
            {
                "--acme letsencrypt-staging": f"--acme {ca.directory_url} --ca-file {ca.ca_file}",
                "--http-port 80": f"--http-port {ca.http_port}",
                "certshelf run >": f"{listen}; certshelf run >",
                "127.0.0.1:9411": f"127.0.0.1:{status}",
                "8443": str(server),
            },
            SOURCE=str(sources(tmp_path / "sources")),
            PYTHONPATH=str(dependencies(tmp_path / "installed")),
            PIP_NO_INDEX="1",
            PIP_NO_BUILD_ISOLATION="0",
            PIP_DISABLE_PIP_VERSION_CHECK="1",
        )
        assert ca.orders_made == 1
    assert list(tmp_path.glob("env/lib/*/site-packages/certshelf/__init__.py"))
