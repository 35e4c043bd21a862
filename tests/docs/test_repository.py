"""No file names a machine or a package index, and the lock holds versions only."""

from __future__ import annotations

import re
import tomllib
from pathlib import Path

from tests.support.repository import ROOT, texts

# Put together here, so that this file does not hold them either.
INDEX_HOSTS = [
    ".".join(parts)
    for parts in (
        ("pypi", "org"),
        ("pythonhosted", "org"),
        ("registry", "npmjs", "org"),
        ("deb", "debian", "org"),
        ("security", "debian", "org"),
        ("archive", "ubuntu", "com"),
        ("conda", "anaconda", "org"),
        ("index", "crates", "io"),
        ("proxy", "golang", "org"),
    )
]
MACHINE_PATH = re.compile(r"(?<![\w.$}/-])/(?:work|root)/[\w.]")
PIN = re.compile(r"[a-z0-9][a-z0-9._-]*==[^ @;]+( ; [\w .'<>=!\"()]+)?")


def text_of(path: Path) -> str:
    return path.read_text("utf-8", errors="replace")


def test_no_file_names_a_package_index() -> None:
    named = [(path, host) for path in texts() for host in INDEX_HOSTS if host in text_of(path)]
    assert named == []


def test_no_file_names_a_place_on_one_machine() -> None:
    named = [(path, MACHINE_PATH.findall(text_of(path))) for path in texts()]
    assert [found for found in named if found[1]] == []


def test_the_lock_holds_names_and_versions_only() -> None:
    lines = (ROOT / "constraints.txt").read_text("utf-8").splitlines()
    assert [line for line in lines if not line.startswith("#") and not PIN.fullmatch(line)] == []


def test_every_dependency_is_locked() -> None:
    locked = re.findall(r"^([a-z0-9._-]+)==", (ROOT / "constraints.txt").read_text("utf-8"), re.M)
    assert direct_dependencies() - set(locked) == set()


def test_every_dependency_has_its_reason_on_the_page_of_dependencies() -> None:
    page = (ROOT / "docs/dependencies.md").read_text("utf-8")
    assert {name for name in direct_dependencies() if f"`{name}`" not in page} == set()


def direct_dependencies() -> set[str]:
    """The distributions that pyproject.toml names, ours left out."""
    told = tomllib.loads((ROOT / "pyproject.toml").read_text("utf-8"))
    wanted = list(told["project"]["dependencies"]) + list(told["build-system"]["requires"])
    for extra in told["project"]["optional-dependencies"].values():
        wanted += extra
    for group in told["dependency-groups"].values():
        wanted += group
    names = {re.split(r"[\[<>=!~; ]", line)[0] for line in wanted}
    return names - {"certshelf"}
