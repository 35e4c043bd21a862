"""Credentials: set, read, list and remove named secrets; rotate the keys that seal them."""

from __future__ import annotations

from typing import TYPE_CHECKING

from certshelf.manage.db.peek import peek_sealed
from certshelf.manage.home import Home
from certshelf.manage.keyring import KeyRing, place
from certshelf.manage.model import Credential
from certshelf.manage.opening import open_home
from certshelf.manage.settings import Settings
from certshelf.secret import Secret

if TYPE_CHECKING:
    from certshelf.clock import Clock
    from certshelf.manage.db.database import Database


def set_credential(
    database: Database, credential: Credential, secret: Secret, clock: Clock, *, actor: str = ""
) -> bool:
    """Store a secret under a name, new or changed, and log it (never the secret); whether new."""
    from dataclasses import replace

    now = clock.now()
    dated = replace(credential, created_at=now, changed_at=now)
    with database.write() as records:
        is_new = records.credentials.put(dated, secret)
        kind = "credential.added" if is_new else "credential.changed"
        data = {"kind": credential.kind.value, "username": credential.username}
        records.events.append(now, kind, credential.name, data, actor=actor)
    return is_new


def remove_credential(database: Database, name: str, clock: Clock, *, actor: str = "") -> None:
    """Forget a secret and log it. CredentialError when there is none of that name."""
    with database.write() as records:
        records.credentials.remove(name)
        records.events.append(clock.now(), "credential.removed", name, actor=actor)


def read_secret(home: Home, settings: Settings, name: str) -> Secret:
    """One secret, fast: without SQLAlchemy when the database is the embedded one.

    CredentialError when it is not there or cannot be opened.
    """
    if not settings.database.url:
        sealed = peek_sealed(home.database, name)
        if sealed is not None:
            ring = KeyRing(home.keys, given=home.keys_given)
            return ring.open(sealed, place("credential", name, "sealed"))
    with open_home(home, settings) as database, database.read() as records:
        return records.credentials.secret(name)
