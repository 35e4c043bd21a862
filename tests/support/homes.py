"""A manager's home for a test: a folder shelf, a password and a database of its own."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from certshelf.clock import SYSTEM, Clock
from certshelf.manage.credentials import set_credential
from certshelf.manage.home import Home, find_home
from certshelf.manage.manager import Manager, open_manager
from certshelf.manage.model import Credential
from certshelf.manage.opening import create_home
from certshelf.manage.settings import load_settings
from certshelf.secret import generate_password


def make_home(folder: Path) -> Home:
    """A new home in a folder, ready to publish to FOLDER/shelf."""
    home = find_home(folder / "home", {})
    (folder / "shelf").mkdir(parents=True)
    settings = {"shelf.store": str(folder / "shelf"), "shelf.owner": "test"}
    create_home(home, settings)
    name = load_settings(home.settings).shelf.password_credential
    with open_manager(home.path) as manager:
        set_credential(manager.database, Credential(name), generate_password(), SYSTEM)
    return home


@contextmanager
def manager_in(folder: Path, clock: Clock = SYSTEM) -> Iterator[Manager]:
    """A manager on a new home, or on the one that is there."""
    if not (folder / "home").exists():
        make_home(folder)
    with open_manager(folder / "home") as manager:
        manager.clock = clock
        manager.shelf.clock = clock
        yield manager
