"""The files of the repository, as git tracks them or, in an unpacked archive, as they lie there."""

from __future__ import annotations

import subprocess
from functools import cache
from pathlib import Path

ROOT = Path(__file__).parents[2]
NOT_OURS = {".git", ".venv", ".tools", ".cache", "dist", "build", "site", "__pycache__"}
BINARY = {".pfx", ".p12", ".jks", ".png", ".ico", ".woff2", ".der", ".gz", ".zip"}


@cache
def tracked() -> tuple[Path, ...]:
    """Every file that is the project's own, absolute and sorted."""
    done = (
        subprocess.run(
            [
                "git",
                "-C",
                str(ROOT),
                "ls-files",
                "-z",
                "--cached",
                "--others",
                "--exclude-standard",
            ],
            capture_output=True,
            text=True,
            check=False,
        )
        if _has_git()
        else None
    )
    if done is not None and done.returncode == 0 and done.stdout:
        found = [ROOT / name for name in done.stdout.split("\0") if name]
        return tuple(sorted(path for path in found if path.is_file()))
    everything = (path for path in ROOT.rglob("*") if path.is_file())
    return tuple(sorted(p for p in everything if not NOT_OURS & set(p.relative_to(ROOT).parts)))


def texts() -> tuple[Path, ...]:
    """The tracked files that hold text."""
    return tuple(path for path in tracked() if path.suffix not in BINARY)


def _has_git() -> bool:
    import shutil

    return shutil.which("git") is not None
