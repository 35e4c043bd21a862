"""The house holds: rooms import only what lies below, the reader only what a web server has."""

from __future__ import annotations

import ast
import subprocess
import sys
from pathlib import Path

import pytest
from importlinter.cli import EXIT_STATUS_SUCCESS, lint_imports

ROOT = Path(__file__).parents[2]
SOURCES = sorted((ROOT / "src/certshelf").rglob("*.py"))
POSIX_ONLY = {"fcntl", "grp", "posix", "pty", "pwd", "readline", "resource", "syslog", "termios"}
READER_ROOMS = (
    "names",
    "errors",
    "clock",
    "secret",
    "bundle",
    "store",
    "shelf",
    "resolve",
    "serve",
)

# Runs in a process of its own: refuses every import that is neither the standard library's nor the
# two dependencies' of the base install, and then imports the reader, module by module.
IMPORT_THE_READER = """
import importlib, pkgutil, sys
allowed = {"certshelf", "cryptography", "idna", "cffi", "_cffi_backend"} | sys.stdlib_module_names
class Refuse:
    def find_spec(self, name, path=None, target=None):
        if name.partition(".")[0] not in allowed:
            raise ModuleNotFoundError(f"the reader may not need {name}", name=name)
sys.meta_path.insert(0, Refuse())
for room in sys.argv[1:]:
    module = importlib.import_module(f"certshelf.{room}")
    for found in pkgutil.walk_packages(getattr(module, "__path__", []), f"certshelf.{room}."):
        importlib.import_module(found.name)
"""


def imported_at_once(tree: ast.Module) -> set[str]:
    """The top-level packages that importing the module imports unconditionally."""
    names: set[str] = set()
    for node in tree.body:
        if isinstance(node, ast.Import):
            names |= {alias.name.partition(".")[0] for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.module:
            names.add(node.module.partition(".")[0])
    return names


def test_every_room_imports_only_rooms_below_it(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(ROOT)
    status = lint_imports(config_filename=".importlinter", no_cache=True)
    assert status == EXIT_STATUS_SUCCESS, capsys.readouterr().out


def test_the_reader_imports_with_the_base_install_alone() -> None:
    done = subprocess.run(
        [sys.executable, "-c", IMPORT_THE_READER, *READER_ROOMS],
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert done.returncode == 0, done.stderr


@pytest.mark.parametrize("path", SOURCES, ids=lambda path: str(path.relative_to(ROOT)))
def test_no_module_needs_posix_to_be_imported(path: Path) -> None:
    assert not imported_at_once(ast.parse(path.read_text("utf-8"))) & POSIX_ONLY


@pytest.mark.parametrize("path", SOURCES, ids=lambda path: str(path.relative_to(ROOT)))
def test_every_module_says_in_its_first_line_what_it_is_for(path: Path) -> None:
    said = ast.get_docstring(ast.parse(path.read_text("utf-8"))) or ""
    assert said.split("\n")[0].strip(), path


def test_importing_the_package_loads_nothing_else() -> None:
    code = "import sys, certshelf; print([m for m in sys.modules if m.startswith('certshelf.')])"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"
