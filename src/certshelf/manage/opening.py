"""Make a home and open its database: where home, settings, keys and records come together."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import TYPE_CHECKING

from certshelf.errors import ConfigError, CredentialError, RecordError
from certshelf.manage.home import Creation, Home, make_folder
from certshelf.manage.keyring import KeyRing
from certshelf.manage.settings import (
    Settings,
    Value,
    database_url,
    load_settings,
    update_settings,
    write_initial,
)

if TYPE_CHECKING:
    from certshelf.manage.db.database import Database


@contextmanager
def open_home(home: Home, settings: Settings) -> Iterator[Database]:
    """The home's database for one `with` block.

    ConfigError when there is no home yet, RecordError when its database is gone: nothing is made
    by looking.
    """
    if not home.exists:
        raise ConfigError(
            f"there is no certshelf home in {home.path}", hint="certshelf init --store FOLDER"
        )
    if not settings.database.url and not home.database.exists():
        raise RecordError(
            f"{home.database}: the database is not there",
            hint="restore the last backup; `certshelf init` starts an empty one",
        )
    from certshelf.manage.db.database import open_database

    database = open_database(database_url(settings, home.database), key_ring(home))
    try:
        yield database
    finally:
        database.close()


def key_ring(home: Home) -> KeyRing:
    """The keys of a home; its file is read at first use."""
    return KeyRing(home.keys, given=home.keys_given)


def create_home(
    home: Home, chosen: Mapping[str, Value] | None = None, *, new_keys: bool = False
) -> Creation:
    """Make what is missing of a home, keep what is there, and say which was which.

    chosen: first settings by key (`shelf.store`); None leaves the settings file for later. A
    setting that the file already has is kept as it is, an empty one is filled in. Safe to repeat.
    A key file that is missing although secrets were sealed with it is a CredentialError, unless
    new_keys says that it is lost for good.
    """
    report = Creation().with_step(f"home {home.path}", make_folder(home.path))
    if chosen is not None:
        made = write_initial(home.settings, chosen)
        report = report.with_step(f"settings {home.settings}", made)
        if not made:
            _fill_in(home, chosen)
    settings = load_settings(home.settings)
    return _create_memory(home, settings, report, new_keys)


def _fill_in(home: Home, chosen: Mapping[str, Value]) -> None:
    settings = load_settings(home.settings)
    for key, value in chosen.items():
        section, _, name = key.partition(".")
        if getattr(getattr(settings, section), name) == "":
            update_settings(home.settings, {key: value})


def _create_memory(home: Home, settings: Settings, report: Creation, new_keys: bool) -> Creation:
    """The database, then the key file: only a look into the database tells whether it is lost."""
    from certshelf.manage.db.database import open_database
    from certshelf.manage.db.rotation import lost_secrets

    ring = key_ring(home)
    database = open_database(database_url(settings, home.database), ring)
    try:
        if not home.keys.exists() and not new_keys and lost_secrets(database):
            raise CredentialError(
                f"the key file {home.keys} is not there, and secrets were sealed with it",
                hint="put it back, or start over: certshelf init --new-keys",
            )
        report = report.with_step(f"key file {home.keys}", ring.create())
        return report.with_step(f"database {database.where}", database.is_new)
    finally:
        database.close()
