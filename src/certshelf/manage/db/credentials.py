"""Named secrets in the database: sealed for their row, and never in a list."""

from __future__ import annotations

from datetime import datetime
from typing import Any

from sqlalchemy import Connection, Row, select

from certshelf.errors import CredentialError
from certshelf.manage.db import rows
from certshelf.manage.db.sealing import Sealer
from certshelf.manage.db.tables import credential as table
from certshelf.manage.model import Credential, CredentialKind, check_name
from certshelf.secret import Secret

_PUBLIC = [column for column in table.c if column.name != "sealed"]


class Credentials:
    """The credentials, by name."""

    def __init__(self, connection: Connection, sealer: Sealer) -> None:
        self._connection = connection
        self._sealer = sealer

    def put(self, credential: Credential, secret: Secret) -> bool:
        """Store a new secret, or a new value under a name that is there; whether it was new.

        `created_at` of one that is there stays.
        """
        check_name(credential.name, "credential")
        sealed = self._sealer.seal(secret, table.name, credential.name, "sealed")
        values = rows.columns(credential) | {"sealed": sealed}
        what = f"credential {credential.name!r}"
        if self.find(credential.name) is None:
            rows.insert(self._connection, table, values, what)
            return True
        values.pop("created_at")
        rows.update(self._connection, table, table.c.name == credential.name, values, what)
        return False

    def find(self, name: str) -> Credential | None:
        """What is known about one, without the secret; None when there is none."""
        row = self._connection.execute(select(*_PUBLIC).where(table.c.name == name)).first()
        return None if row is None else _from_row(row)

    def secret(self, name: str) -> Secret:
        """The secret itself. CredentialError when it is not there or cannot be opened."""
        found = select(table.c.sealed).where(table.c.name == name)
        sealed = self._connection.execute(found).scalar()
        if sealed is None:
            raise no_credential(name)
        return self._sealer.open(sealed, table.name, name, "sealed")

    def all(self) -> list[Credential]:
        """All, by name, without secrets."""
        found = self._connection.execute(select(*_PUBLIC).order_by(table.c.name))
        return [_from_row(row) for row in found]

    def set_expiry(self, name: str, expires_at: datetime | None) -> None:
        """Say when one ends. CredentialError when it is not there."""
        changed = table.update().where(table.c.name == name).values(expires_at=expires_at)
        if self._connection.execute(changed).rowcount == 0:
            raise no_credential(name)

    def remove(self, name: str) -> None:
        """Forget one. CredentialError when it is not there."""
        if self._connection.execute(table.delete().where(table.c.name == name)).rowcount == 0:
            raise no_credential(name)


def no_credential(name: str) -> CredentialError:
    """The error for a credential that is not there."""
    return CredentialError(
        f"there is no credential {name[:64]!r}", hint=f"certshelf credential set {name[:64]}"
    )


def _from_row(row: Row[Any]) -> Credential:
    return Credential(**rows.mapping(row) | {"kind": CredentialKind(row.kind)})
