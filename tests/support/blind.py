"""A child process that does not look inside encrypted content before the library does.

The limits of the child must hold by themselves too: they are the second wall behind unseal.py, and
without this no file is known that takes longer than they allow.
"""

from __future__ import annotations

import os
from pathlib import Path

import pytest

_START = "from certshelf.bundle import pfx\npfx.guard_inside = lambda facts, contents: None\n"


def blind_children(patch: pytest.MonkeyPatch, folder: Path) -> None:
    """Every Python process that is started from now on is a blind one."""
    (folder / "sitecustomize.py").write_text(_START)
    before = os.environ.get("PYTHONPATH", "")
    patch.setenv("PYTHONPATH", os.pathsep.join(filter(None, (str(folder), before))))
