"""open_shelf(): the front door for Python programs."""

from __future__ import annotations

from pathlib import Path

from certshelf.bundle.model import PfxProfile
from certshelf.errors import ConfigError
from certshelf.secret import Secret
from certshelf.shelf.shelf import Shelf
from certshelf.store.url import open_store


def open_shelf(
    url: str | Path | None = None,
    *,
    password: Secret | str | None = None,
    home: str | Path | None = None,
    owner: str = "",
    profile: PfxProfile = PfxProfile.MODERN,
) -> Shelf:
    """Open a shelf: by where it lies and its password, or as the manager's home describes it.

    url: `file:///srv/shelf`, a path, `smb://...` or `s3://...`; needs the base install only.
    password: of the PFX files, None when they have none. owner: needed to publish; any stable id.
    Without a url: the shelf of `home` (default: CERTSHELF_HOME), which needs certshelf[manager].
    Raises ConfigError, StoreError or CredentialError.
    """
    if url is None:
        return _open_home(Path(home) if home is not None else None)
    if home is not None:
        raise ConfigError("cannot open a shelf by url and by home at once", hint="give one of them")
    secret = Secret(password) if isinstance(password, str) else password
    return Shelf(open_store(str(url)), secret, owner=owner, profile=profile)


def _open_home(home: Path | None) -> Shelf:
    try:
        from certshelf.manage.shelves import open_configured_shelf
    except ModuleNotFoundError as error:
        raise ConfigError(
            "cannot open the shelf of a home: the manager is not installed",
            hint="pip install 'certshelf[manager]', or give a url and a password",
        ) from error
    shelf: Shelf = open_configured_shelf(home)
    return shelf
