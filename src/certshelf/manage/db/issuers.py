"""Issuers and our accounts at them, in the database; their keys lie sealed in their rows."""

from __future__ import annotations

from typing import Any

from sqlalchemy import Connection, Row, select

from certshelf.manage.db import rows
from certshelf.manage.db.sealing import Sealer
from certshelf.manage.db.tables import account, issuer
from certshelf.manage.model import AccountRecord, IssuerKind, IssuerRecord, check_name
from certshelf.secret import Secret

_KEY = "key_sealed"


class Issuers:
    """Who signs, by name. A local CA's key is PEM in a Secret."""

    def __init__(self, connection: Connection, sealer: Sealer) -> None:
        self._connection = connection
        self._sealer = sealer

    def add(self, record: IssuerRecord, key: Secret | None = None) -> None:
        """Store a new one; RecordError when the name is taken."""
        check_name(record.name, "issuer")
        values = rows.columns(record)
        if key is not None:
            values[_KEY] = self._sealer.seal(key, issuer.name, record.name, _KEY)
        rows.insert(self._connection, issuer, values, _what(record.name))

    def edit(self, record: IssuerRecord, key: Secret | None = None) -> None:
        """Store a changed one; its key stays unless a new one is given."""
        values = rows.columns(record)
        if key is not None:
            values[_KEY] = self._sealer.seal(key, issuer.name, record.name, _KEY)
        where = issuer.c.name == record.name
        rows.update(self._connection, issuer, where, values, _what(record.name))

    def get(self, name: str) -> IssuerRecord:
        """The one of that name; RecordError when there is none."""
        found = self.find(name)
        if found is None:
            raise rows.missing(_what(name))
        return found

    def find(self, name: str) -> IssuerRecord | None:
        """The one of that name, or None."""
        row = self._connection.execute(select(issuer).where(issuer.c.name == name)).first()
        return None if row is None else _issuer(row)

    def key(self, name: str) -> Secret | None:
        """The local CA's private key; None when it has none. CredentialError when it is lost."""
        found = select(issuer.c[_KEY]).where(issuer.c.name == name)
        sealed = self._connection.execute(found).scalar()
        return self._sealer.open(sealed, issuer.name, name, _KEY) if sealed else None

    def all(self) -> list[IssuerRecord]:
        """All, by name."""
        return [
            _issuer(row) for row in self._connection.execute(select(issuer).order_by(issuer.c.name))
        ]

    def remove(self, name: str) -> None:
        """Forget one and our account at it. The caller has seen that no certificate uses it."""
        rows.delete(self._connection, issuer, issuer.c.name == name, _what(name))


class Accounts:
    """Our account at each ACME issuer, by the issuer's name."""

    def __init__(self, connection: Connection, sealer: Sealer) -> None:
        self._connection = connection
        self._sealer = sealer

    def put(self, record: AccountRecord, key: Secret | None = None) -> None:
        """Store the account, or change it; its key stays unless a new one is given (rollover)."""
        values = rows.columns(record)
        if key is not None:
            values[_KEY] = self._sealer.seal(key, account.name, record.issuer, _KEY)
        what = f"account at {record.issuer!r}"
        if self.find(record.issuer) is None:
            rows.insert(self._connection, account, values, what)
        else:
            where = account.c.issuer == record.issuer
            rows.update(self._connection, account, where, values, what)

    def find(self, issuer_name: str) -> AccountRecord | None:
        """The account at an issuer, or None."""
        found = select(account).where(account.c.issuer == issuer_name)
        row = self._connection.execute(found).first()
        if row is None:
            return None
        values = rows.mapping(row)
        del values[_KEY]
        return AccountRecord(**values)

    def key(self, issuer_name: str) -> Secret | None:
        """The account's private key; None when there is none."""
        found = select(account.c[_KEY]).where(account.c.issuer == issuer_name)
        sealed = self._connection.execute(found).scalar()
        return self._sealer.open(sealed, account.name, issuer_name, _KEY) if sealed else None

    def remove(self, issuer_name: str) -> None:
        """Forget the account at an issuer; RecordError when there is none."""
        where = account.c.issuer == issuer_name
        rows.delete(self._connection, account, where, f"account at {issuer_name!r}")


def _what(name: str) -> str:
    return f"issuer {name!r}"


def _issuer(row: Row[Any]) -> IssuerRecord:
    return IssuerRecord(
        name=row.name,
        kind=IssuerKind(row.kind),
        settings=row.settings,
        fallbacks=tuple(row.fallbacks),
        certificate=row.certificate,
        created_at=row.created_at,
    )
