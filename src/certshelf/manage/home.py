"""Where the manager's things lie: one folder with settings, database and key file."""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

from certshelf.errors import ConfigError

SETTINGS_FILE = "certshelf.toml"
DATABASE_FILE = "certshelf.db"
KEYS_FILE = "keys.json"
SYSTEMD_CREDENTIAL = "certshelf-keys"


@dataclass(frozen=True, slots=True)
class Home:
    """The manager's folder. Build one with at(); nothing is read or made by that.

    keys: the key file, which may lie elsewhere. keys_given: it is handed in read-only by the
    service manager, so it can be neither made nor rotated here.
    """

    path: Path
    keys: Path
    keys_given: bool = False

    @staticmethod
    def at(path: Path, environ: Mapping[str, str]) -> Home:
        """The home in a folder, and its key file.

        The key file is CERTSHELF_KEY_FILE (a path, never the key itself: an environment is
        inherited and readable), else the systemd credential `certshelf-keys` when there is one,
        else `keys.json` in the folder.
        """
        if text := environ.get("CERTSHELF_KEY_FILE", ""):
            return Home(path, Path(text))
        if text := environ.get("CREDENTIALS_DIRECTORY", ""):
            given = Path(text) / SYSTEMD_CREDENTIAL
            if given.is_file():
                return Home(path, given, keys_given=True)
        return Home(path, path / KEYS_FILE)

    @property
    def settings(self) -> Path:
        """The settings, TOML, written by hand and by us."""
        return self.path / SETTINGS_FILE

    @property
    def database(self) -> Path:
        """The SQLite file, when the settings name no other database."""
        return self.path / DATABASE_FILE

    @property
    def exists(self) -> bool:
        """Whether anything of ours lies there."""
        return self.settings.is_file() or self.database.is_file()


@dataclass(frozen=True, slots=True)
class Creation:
    """What create_home() made and what it found and kept, as words for people."""

    made: tuple[str, ...] = field(default=())
    found: tuple[str, ...] = field(default=())

    def with_step(self, what: str, made: bool) -> Creation:
        """The same with one more line."""
        if made:
            return Creation((*self.made, what), self.found)
        return Creation(self.made, (*self.found, what))


def find_home(explicit: Path | None, environ: Mapping[str, str]) -> Home:
    """The home to use: `--home`, else CERTSHELF_HOME, else the user's (root: the site's) data.

    Nothing is made. Safe to call often; platformdirs is imported only when it must decide.
    """
    if explicit is not None:
        return Home.at(explicit, environ)
    if text := environ.get("CERTSHELF_HOME", ""):
        return Home.at(Path(text), environ)
    import platformdirs

    is_root = getattr(os, "geteuid", lambda: 1)() == 0
    if is_root and os.name == "posix" and Path("/var/lib").is_dir():
        return Home.at(Path("/var/lib/certshelf"), environ)
    return Home.at(Path(platformdirs.user_data_dir("certshelf", appauthor=False)), environ)


def make_folder(path: Path) -> bool:
    """Make a folder that only we may enter (0700); whether it was made.

    An existing folder is kept as it is. Raises ConfigError when it cannot be made.
    """
    try:
        if path.is_dir():
            return False
        path.parent.mkdir(parents=True, exist_ok=True)
        path.mkdir(mode=0o700)
    except FileExistsError:
        if path.is_dir():  # another process was faster
            return False
        raise ConfigError(f"no folder: {path}", hint="name another folder with --home") from None
    except OSError as error:
        raise ConfigError(
            f"cannot make the folder {path}: {error.strerror}", hint="name another with --home"
        ) from error
    return True
