"""The shelf that a home describes: its store, its password and the key that signs its records."""

from __future__ import annotations

import os
from pathlib import Path
from typing import TYPE_CHECKING

from certshelf.bundle.model import PfxProfile
from certshelf.errors import ConfigError, CredentialError
from certshelf.manage.credentials import find_credential, read_credential, set_credential
from certshelf.manage.home import Home, find_home
from certshelf.manage.model import Credential, CredentialKind
from certshelf.manage.settings import Settings, load_settings
from certshelf.secret import Secret, generate_password
from certshelf.shelf.shelf import Shelf

if TYPE_CHECKING:
    from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

    from certshelf.clock import Clock
    from certshelf.manage.db.database import Database
    from certshelf.store.base import Store


def open_configured_shelf(home: Path | None = None) -> Shelf:
    """The shelf of a home; None: the home of CERTSHELF_HOME or of this user.

    Fast: no SQLAlchemy on the embedded database. Raises ConfigError without a home or a store,
    CredentialError without a password, or when a secret cannot be opened.
    """
    found = find_home(home, os.environ)
    return open_shelf_of(found, load_settings(found.settings))


def open_shelf_of(home: Home, settings: Settings) -> Shelf:
    """The same for a home and settings that were read already."""
    if not settings.shelf.store:
        raise ConfigError(f"no shelf is set in {home.settings}", hint="certshelf init --store ...")
    password = read_credential(home, settings, settings.shelf.password_credential).secret
    return Shelf(
        _store(home, settings),
        password,
        profile=PfxProfile(settings.shelf.profile),
        owner=settings.shelf.owner,
        signing_key=_signing_key(home, settings),
    )


def prepare_shelf_secrets(database: Database, settings: Settings, clock: Clock) -> tuple[str, ...]:
    """Make the shelf's random password and signing key where missing; the names of those made."""
    wanted = (
        (settings.shelf.password_credential, CredentialKind.PASSWORD, generate_password),
        (settings.shelf.signing_credential, CredentialKind.SIGNING, _new_signing_key),
    )
    made = []
    for name, kind, make in wanted:
        with database.read() as records:
            found = records.credentials.find(name)
        if found is None and name:
            set_credential(database, Credential(name, kind), make(), clock)
            made.append(name)
    return tuple(made)


def _store(home: Home, settings: Settings) -> Store:
    from certshelf.store.base import StoreCredentials
    from certshelf.store.url import open_store

    if not settings.shelf.store_credential:
        return open_store(settings.shelf.store)
    login = read_credential(home, settings, settings.shelf.store_credential)
    credentials = StoreCredentials(login.username, login.secret, settings.shelf.store_endpoint)
    return open_store(settings.shelf.store, credentials=credentials)


def _signing_key(home: Home, settings: Settings) -> Ed25519PrivateKey | None:
    """The key that signs records; None when there is no such credential."""
    from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
    from cryptography.hazmat.primitives.serialization import load_pem_private_key

    name = settings.shelf.signing_credential
    found = find_credential(home, settings, name) if name else None
    if found is None:
        return None
    try:
        key = load_pem_private_key(found.secret.reveal_bytes(), None)
    except (ValueError, TypeError):
        key = None  # its text might quote the key
    if not isinstance(key, Ed25519PrivateKey):
        raise CredentialError(f"the credential {name!r} is no Ed25519 key in PEM")
    return key


def _new_signing_key() -> Secret:
    from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
    from cryptography.hazmat.primitives.serialization import (
        Encoding,
        NoEncryption,
        PrivateFormat,
    )

    key = Ed25519PrivateKey.generate()
    return Secret(
        key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()).decode("ascii")
    )
