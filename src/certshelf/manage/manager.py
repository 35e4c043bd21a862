"""Manager: settings, database and shelf of one home, opened together for a piece of work."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING

from certshelf.clock import SYSTEM, Clock
from certshelf.errors import CredentialError
from certshelf.manage.home import Home, find_home
from certshelf.manage.opening import create_home, open_home
from certshelf.manage.settings import Settings, load_settings

if TYPE_CHECKING:
    from certshelf.manage.db.database import Database
    from certshelf.secret import Secret
    from certshelf.shelf.shelf import Shelf


@dataclass
class Manager:
    """What a command or the service works with; build it with open_manager()."""

    home: Home
    settings: Settings
    database: Database
    clock: Clock = SYSTEM

    @cached_property
    def shelf(self) -> Shelf:
        """The shelf that the settings describe, opened when it is first needed.

        Passwords of certificates that have their own are known to it, so that it can tell a file
        under one of those from a damaged one.
        """
        from certshelf.manage.shelves import open_shelf_of  # a list of records needs no shelf

        shelf = open_shelf_of(self.home, self.settings)
        shelf.passwords += tuple(self._own_passwords())
        return shelf

    def _own_passwords(self) -> Iterator[Secret]:
        from certshelf.manage.providers import resolve

        with self.database.read() as records:
            for name in records.certificates.password_credentials():
                with suppress(CredentialError):
                    yield resolve(records.credentials.secret(name))

    def reveal(self, name: str) -> Secret:
        """A secret that somebody asked to see; the event log says so."""
        from certshelf.manage.providers import resolve

        with self.database.write() as records:
            secret = records.credentials.secret(name)
            records.events.append(self.clock.now(), "credential.revealed", name)
        return resolve(secret)


@contextmanager
def open_manager(home_path: Path | None, *, create: bool = False) -> Iterator[Manager]:
    """Open a home for one `with` block; create: make home, key file and database when absent.

    Raises ConfigError when there is none, RecordError, CredentialError.
    """
    home = find_home(home_path, os.environ)
    if create:
        create_home(home)
    settings = load_settings(home.settings)
    with open_home(home, settings) as database:
        yield Manager(home, settings, database)
