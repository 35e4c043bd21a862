"""The service's check-up: what it does besides looking."""

from __future__ import annotations

import os
from pathlib import Path

from certshelf.cli.main import run
from certshelf.manage.manager import open_manager
from certshelf.manage.service.checkup import sweep
from certshelf.store.temps import temp_name


def test_what_killed_writers_left_is_swept_from_every_shelf(tmp_path: Path) -> None:
    home, shelf, group = tmp_path / "home", tmp_path / "shelf", tmp_path / "mail"
    assert run(["--home", str(home), "init", "--store", str(shelf)]) == 0
    assert run(["--home", str(home), "group", "add", "mail", "--store", str(group)]) == 0
    group.mkdir(exist_ok=True)
    left = [folder / temp_name("a.test.pfx") for folder in (shelf, group)]
    for path in left:
        path.write_bytes(b"half")
        os.utime(path, (1, 1))
    under_way = shelf / temp_name("b.test.pfx")
    under_way.write_bytes(b"half")
    with open_manager(home) as manager:
        assert sweep(manager) == 2
    assert not any(path.exists() for path in left)
    assert under_way.exists()
