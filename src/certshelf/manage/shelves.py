"""The manager's own shelf, opened as its settings and credentials describe it."""

from __future__ import annotations

import base64
import binascii
import os
from pathlib import Path

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from certshelf.bundle.model import PfxProfile
from certshelf.clock import SYSTEM
from certshelf.errors import ConfigError, CredentialError
from certshelf.manage.credentials import find_credential, read_login, read_secret
from certshelf.manage.home import Home, find_home, make_folder
from certshelf.manage.settings import Settings, load_settings
from certshelf.secret import Secret
from certshelf.shelf.history import History
from certshelf.shelf.shelf import Shelf
from certshelf.store.base import Store
from certshelf.store.folder import FolderStore
from certshelf.store.url import file_path, open_store

MANIFEST_KEY = "manifest-key"
"""The credential with the Ed25519 key that signs records; readers get its public half."""


def open_configured_shelf(home_path: Path | None = None) -> Shelf:
    """The shelf of a home, for reading and writing, without loading the database library.

    Raises ConfigError when there is no home or no shelf in it, CredentialError, StoreError.
    """
    return open_shelf_of(*open_settings(home_path))


def open_settings(home_path: Path | None = None) -> tuple[Home, Settings]:
    """A home that has a shelf, and its settings; ConfigError when there is none."""
    home = find_home(home_path, os.environ)
    return home, _settings(home)


def open_configured_store(home_path: Path | None = None, *, login: str = "") -> Store:
    """Where the shelf of a home lies, opened with its own login or with another credential."""
    home = find_home(home_path, os.environ)
    return open_store_of(home, _settings(home), login)


def open_shelf_of(home: Home, settings: Settings, group: str = "") -> Shelf:
    """The shelf that these settings describe, its history in the home; group: whose shelf it is."""
    past = home.path / "history" / group if group else home.path / "history"
    make_folder(home.path / "history")
    make_folder(past)
    return Shelf(
        open_store_of(home, settings),
        read_secret(home, settings, settings.shelf.password_credential),
        profile=PfxProfile(settings.shelf.profile),
        owner=settings.shelf.owner,
        signing_key=signing_key(home, settings),
        history=History(
            FolderStore(past),
            SYSTEM,
            keep=settings.shelf.history,
            keep_days=settings.shelf.history_days or None,
        ),
    )


def open_store_of(home: Home, settings: Settings, login: str = "") -> Store:
    """Where the shelf of these settings lies, opened with its own login or another credential."""
    login = login or settings.shelf.store_credential
    credentials = (
        read_login(home, settings, login, settings.shelf.store_endpoint) if login else None
    )
    return open_store(settings.shelf.store, credentials=credentials)


def local_folder(store: str) -> Path | None:
    """The folder of a shelf that lies on this machine's file system, None for share and bucket."""
    if store.startswith("file:"):
        return Path(file_path(store))
    return None if "://" in store else Path(store)


def _settings(home: Home) -> Settings:
    if not home.exists:
        raise ConfigError(
            f"there is no certshelf home in {home.path}", hint="certshelf init --store FOLDER"
        )
    settings = load_settings(home.settings)
    if not settings.shelf.store:
        raise ConfigError(
            f"{home.settings}: shelf.store is not set", hint="certshelf init --store FOLDER"
        )
    return settings


def signing_key(home: Home, settings: Settings) -> Ed25519PrivateKey | None:
    """The key that signs this manager's records, None when it has none."""
    found = find_credential(home, settings, MANIFEST_KEY)
    return parse_signing_key(found.secret) if found else None


def parse_signing_key(secret: Secret) -> Ed25519PrivateKey:
    """The key in a credential; CredentialError when it is none."""
    try:
        raw = base64.b64decode(secret.reveal(), validate=True)
        return Ed25519PrivateKey.from_private_bytes(raw)
    except (ValueError, binascii.Error) as error:
        raise CredentialError(
            f"the credential {MANIFEST_KEY} is no Ed25519 key",
            hint=f"certshelf credential rm {MANIFEST_KEY}, then certshelf init makes a new one",
        ) from error
