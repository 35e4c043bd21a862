"""The wheel without any extra, in a fresh environment, is a reader and says what it lacks."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import venv
import zipfile
from pathlib import Path

import pytest

from tests.support.repository import ROOT

pytestmark = [pytest.mark.slow, pytest.mark.timeout(300), pytest.mark.xdist_group("base-install")]


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The wheel, built from a copy of the sources: a build may leave nothing in the tree."""
    folder = tmp_path_factory.mktemp("build")
    for name in ("pyproject.toml", "README.md", "LICENSE"):
        shutil.copy(ROOT / name, folder)
    shutil.copytree(ROOT / "src", folder / "src", ignore=shutil.ignore_patterns("__pycache__"))
    run([sys.executable, "-m", "hatchling", "build", "-t", "wheel"], cwd=folder)
    (built,) = (folder / "dist").glob("certshelf-*.whl")
    return built


@pytest.fixture(scope="module")
def bin_folder(wheel: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The programs of an environment that holds the base install and nothing else."""
    folder = tmp_path_factory.mktemp("base install") / "env"
    venv.create(folder, symlinks=os.name == "posix")
    python = next(folder.glob("[bS]*/python*"))
    options = ["--quiet", "-c", str(ROOT / "constraints.txt"), str(wheel)]
    outputs = []
    for installer in installers(str(python)):
        done = ended(installer + options)
        if done.returncode == 0:
            return python.parent
        outputs.append(done.stderr)
    if not outputs:
        pytest.skip("there is neither uv nor pip to install with: run `make setup`")
    pytest.fail("\n".join(outputs))


def installers(python: str) -> list[list[str]]:
    """The commands that install into the environment of `python`, as tools/setup.sh tries them."""
    uv, pip = ROOT / ".tools/bin/uv", ROOT / ".tools/bin/python"
    found = []
    if uv.exists():
        found.append([str(uv), "pip", "install", "--system-certs", "--python", python])
    if pip.exists():
        found.append([str(pip), "-m", "pip", "--python", python, "install"])
    return found


def ended(command: list[str], cwd: Path | None = None) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        command,
        cwd=cwd,
        capture_output=True,
        text=True,
        check=False,
        timeout=240,
        stdin=subprocess.DEVNULL,
    )


def run(
    command: list[str], cwd: Path | None = None, status: int = 0
) -> subprocess.CompletedProcess[str]:
    done = ended(command, cwd)
    assert done.returncode == status, done.stdout + done.stderr
    return done


def test_the_base_install_is_the_reader_and_its_two_dependencies(bin_folder: Path) -> None:
    code = (
        "from importlib.metadata import distributions; "
        "print(*sorted(d.metadata['Name'].lower() for d in distributions()))"
    )
    found = run([str(bin_folder / "python"), "-c", code], cwd=bin_folder).stdout.split()
    assert found == ["certshelf", "cffi", "cryptography", "idna", "pycparser"]


def test_a_python_server_needs_the_base_install_only(bin_folder: Path) -> None:
    code = "import certshelf.serve.python as reader; print(reader.server_context.__name__)"
    done = run([str(bin_folder / "python"), "-W", "error", "-c", code], cwd=bin_folder)
    assert done.stdout.strip() == "server_context"


def test_the_reader_starts_without_the_manager(bin_folder: Path) -> None:
    if not (ROOT / "src/certshelf/serve/program.py").exists():
        pytest.skip("the reader's process does not exist yet")
    done = run([str(bin_folder / "certshelf-reader"), "--help"], cwd=bin_folder)
    assert "usage: certshelf-reader" in done.stdout
    assert run([str(bin_folder / "certshelf"), "reader", "--help"], cwd=bin_folder).stdout


def test_the_command_line_says_how_to_get_the_manager(bin_folder: Path) -> None:
    done = run([str(bin_folder / "certshelf"), "shelf", "ls"], cwd=bin_folder, status=1)
    assert done.stderr.splitlines() == [
        "error: the manager is not installed, only the reader is",
        "hint: pip install 'certshelf[manager]'",
    ]


def test_the_wheel_holds_every_file_of_the_package(wheel: Path) -> None:
    held = set(zipfile.ZipFile(wheel).namelist())
    ours = {
        str(path.relative_to(ROOT / "src"))
        for path in (ROOT / "src/certshelf").rglob("*")
        if path.is_file() and "__pycache__" not in path.parts
    }
    assert "certshelf/py.typed" in ours
    assert ours - held == set()


def test_the_wheel_holds_the_licence(wheel: Path) -> None:
    held = zipfile.ZipFile(wheel).namelist()
    assert [name for name in held if name.endswith("licenses/LICENSE")]
