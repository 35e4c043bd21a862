"""First set-up: home, shelf, PFX password and manifest key; what is there already is kept."""

from __future__ import annotations

import base64
import os
from dataclasses import dataclass
from pathlib import Path

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat

from certshelf.clock import SYSTEM, Clock
from certshelf.errors import ConfigError, StoreDenied
from certshelf.manage.credentials import set_credential
from certshelf.manage.home import Creation, Home, find_home
from certshelf.manage.model import Credential, CredentialKind
from certshelf.manage.opening import create_home, open_home
from certshelf.manage.settings import Settings, Value, load_settings
from certshelf.manage.shelves import MANIFEST_KEY, local_folder, open_store_of
from certshelf.secret import Secret, generate_password
from certshelf.store.smb import SmbStore


@dataclass(frozen=True, slots=True)
class StoreLogin:
    """How to log in to the store: a named credential, made now when a secret is given."""

    credential: str = ""
    username: str = ""
    secret: Secret | None = None
    endpoint: str = ""

    @property
    def name(self) -> str:
        """The credential's name; `share-login` when only a secret was given."""
        return self.credential or ("share-login" if self.secret or self.username else "")


def set_up(
    home_path: Path | None,
    *,
    store: str,
    login: StoreLogin = StoreLogin(),
    profile: str = "modern",
    password: Secret | None = None,
    new_keys: bool = False,
    clock: Clock = SYSTEM,
) -> Creation:
    """Make what is missing, keep what is there, and say which was which. Safe to repeat.

    password: of PFX files that exist; a random one of 256 bits is made otherwise.
    Raises ConfigError, CredentialError, RecordError or StoreError.
    """
    home = find_home(home_path, os.environ)
    chosen: dict[str, Value] = {"shelf.store": absolute_store(store), "shelf.profile": profile}
    if login.name:
        chosen["shelf.store_credential"] = login.name
    if login.endpoint:
        chosen["shelf.store_endpoint"] = login.endpoint
    report = create_home(home, chosen, new_keys=new_keys)
    settings = load_settings(home.settings)
    report = _make_credentials(home, settings, login, password, report, clock)
    if settings.shelf.store != chosen["shelf.store"]:
        stays = f"shelf.store = {settings.shelf.store} of the settings, not {store}"
        report = report.with_step(stays, made=False)
    folder = local_folder(settings.shelf.store)
    if folder is None:
        return report
    return report.with_step(f"shelf {folder}", make_shelf_folder(settings.shelf.store))


def prepare_store(home: Home, settings: Settings) -> str:
    """Try the login of a shelf on a share or in a bucket, and make its folder on the share.

    What was made, "" when nothing was. Raises StoreError with what to do; safe to repeat.
    """
    if local_folder(settings.shelf.store) is not None:
        return ""
    store = open_store_of(home, settings)
    try:
        if isinstance(store, SmbStore) and _make_root(store):
            return f"shelf {store.url}"
        next(iter(store.list()), None)
        return ""
    finally:
        store.close()


def _make_root(store: SmbStore) -> bool:
    try:
        return store.make_root()
    except StoreDenied as error:
        raise StoreDenied(
            f"{store.url} is not there, and {store.calls.login.username} may not make it",
            hint="make the folder on the file server, then run the same command again:"
            " certshelf share plan prints how",
            code=error.code,
        ) from error


def absolute_store(store: str) -> str:
    """A relative path made absolute: it would mean another folder from another place."""
    if not store.strip():
        raise ConfigError("cannot make a shelf: --store is empty", hint="--store /srv/shelf")
    return store if "://" in store or store.startswith("file:") else str(Path(store).absolute())


def _make_credentials(
    home: Home,
    settings: Settings,
    login: StoreLogin,
    password: Secret | None,
    report: Creation,
    clock: Clock,
) -> Creation:
    wanted = {
        settings.shelf.password_credential: (CredentialKind.PASSWORD, "", password or None),
        MANIFEST_KEY: (CredentialKind.KEY, "", None),
    }
    if login.secret is not None:
        wanted[login.name] = (CredentialKind.LOGIN, login.username, login.secret)
    with open_home(home, settings) as database:
        for name, (kind, username, secret) in wanted.items():
            with database.read() as records:
                there = records.credentials.find(name) is not None
            if not there:
                made = secret or (
                    new_manifest_key() if name == MANIFEST_KEY else generate_password()
                )
                set_credential(database, Credential(name, kind, username), made, clock)
            report = report.with_step(f"credential {name}", not there)
    return report


def new_manifest_key() -> Secret:
    """A new Ed25519 private key as text: base64 of its 32 raw bytes."""
    raw = Ed25519PrivateKey.generate().private_bytes(
        Encoding.Raw, PrivateFormat.Raw, NoEncryption()
    )
    return Secret(base64.b64encode(raw).decode())


def make_shelf_folder(store: str) -> bool:
    """Make the folder of a shelf on this machine's file system; whether it was made.

    A share or a bucket: prepare_store(). ConfigError when it cannot be made.
    """
    folder = local_folder(store)
    if folder is None or folder.is_dir():
        return False
    try:
        folder.mkdir(parents=True, exist_ok=True, mode=0o750)
    except OSError as error:
        raise ConfigError(
            f"cannot make the shelf {folder}: {error.strerror}", hint="name another with --store"
        ) from error
    return True
