"""Credentials: set, read and remove named secrets, with an event for each change."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from certshelf.clock import iso
from certshelf.errors import CredentialError
from certshelf.manage.db.peek import CannotPeek, peek_credential
from certshelf.manage.home import Home
from certshelf.manage.keyring import place
from certshelf.manage.model import Credential
from certshelf.manage.opening import key_ring, open_home
from certshelf.manage.providers import resolve
from certshelf.manage.settings import Settings
from certshelf.secret import Secret

if TYPE_CHECKING:
    from datetime import datetime

    from certshelf.clock import Clock
    from certshelf.manage.db.database import Database
    from certshelf.manage.db.records import Records
    from certshelf.store.base import StoreCredentials


def set_credential(
    database: Database, credential: Credential, secret: Secret, clock: Clock, *, actor: str = ""
) -> bool:
    """Store a secret under a name, new or changed, and log it (never the secret); whether new."""
    now = clock.now()
    dated = replace(credential, created_at=now, changed_at=now)
    with database.write() as records:
        is_new = records.credentials.put(dated, secret)
        kind = "credential.added" if is_new else "credential.changed"
        data = {"kind": credential.kind.value, "username": credential.username}
        if credential.expires_at is not None:
            data["expires_at"] = iso(credential.expires_at)
        records.events.append(now, kind, credential.name, data, actor=actor)
    return is_new


def set_expiry(
    database: Database, name: str, expires_at: datetime | None, clock: Clock, *, actor: str = ""
) -> None:
    """Say when a secret ends (None: it does not) and log it. CredentialError when there is none."""
    with database.write() as records:
        records.credentials.set_expiry(name, expires_at)
        data = {"expires_at": iso(expires_at) if expires_at else "never"}
        records.events.append(clock.now(), "credential.changed", name, data, actor=actor)


def remove_credential(database: Database, name: str, clock: Clock, *, actor: str = "") -> None:
    """Forget a secret and log it. CredentialError when there is none of that name."""
    with database.write() as records:
        records.credentials.remove(name)
        records.events.append(clock.now(), "credential.removed", name, actor=actor)


def rotate_master_key(
    database: Database,
    clock: Clock,
    *,
    progress: Callable[[str], None] = lambda place: None,
    actor: str = "",
) -> int:
    """Seal every secret anew under a new key and drop the old one; how many were sealed.

    Safe to kill and run again: see db.rotation. progress: called with each place.
    """
    from certshelf.manage.db.rotation import rotate_keys

    count = rotate_keys(database, progress=progress)
    with database.write() as records:
        data = {"secrets": count, "key": database.ring.current}
        records.events.append(clock.now(), "keys.rotated", database.ring.current, data, actor=actor)
    return count


def note_use(records: Records, name: str, what_for: str, now: datetime) -> None:
    """Log that work opened a secret: its name and what for, never the secret."""
    records.events.append(now, "credential.used", name, {"for": what_for})


@dataclass(frozen=True, slots=True)
class OpenCredential:
    """A credential with its secret, opened."""

    username: str
    secret: Secret


def find_credential(home: Home, settings: Settings, name: str) -> OpenCredential | None:
    """One credential and its secret, or None: without SQLAlchemy on the embedded database.

    ConfigError when there is no home; CredentialError when the secret cannot be opened.
    """
    if settings.database.url:
        return _find_fully(home, settings, name)
    try:
        found = peek_credential(home.database, name)
    except CannotPeek:
        return _find_fully(home, settings, name)
    if found is None:
        return None
    secret = key_ring(home).open(found.sealed, place("credential", name, "sealed"))
    return OpenCredential(found.username, resolve(secret))


def read_credential(home: Home, settings: Settings, name: str) -> OpenCredential:
    """The same, but CredentialError when it is not there."""
    found = find_credential(home, settings, name)
    if found is None:
        raise CredentialError(
            f"there is no credential {name[:64]!r}", hint=f"certshelf credential set {name[:64]}"
        )
    return found


def read_secret(home: Home, settings: Settings, name: str) -> Secret:
    """Only the secret of read_credential()."""
    return read_credential(home, settings, name).secret


def read_login(home: Home, settings: Settings, name: str, endpoint: str = "") -> StoreCredentials:
    """Who a store on the network is asked as: a credential with its user name."""
    from certshelf.store.base import StoreCredentials

    found = read_credential(home, settings, name)
    return StoreCredentials(found.username, found.secret, endpoint)


def _find_fully(home: Home, settings: Settings, name: str) -> OpenCredential | None:
    with open_home(home, settings) as database, database.read() as records:
        found = records.credentials.find(name)
        if found is None:
            return None
        secret = records.credentials.secret(name)
    return OpenCredential(found.username, resolve(secret))
