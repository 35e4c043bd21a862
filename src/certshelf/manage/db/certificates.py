"""Managed certificates in the database: the wish is the user's, the status the pipeline's."""

from __future__ import annotations

import json
from collections import defaultdict
from collections.abc import Iterable
from dataclasses import asdict
from datetime import datetime
from typing import Any

from sqlalchemy import (
    ColumnElement,
    Connection,
    Row,
    Text,
    bindparam,
    cast,
    func,
    literal,
    select,
    true,
)

from certshelf.errors import RecordError
from certshelf.manage.db import rows
from certshelf.manage.db.listing import certificate_rows
from certshelf.manage.db.tables import UtcDateTime, orders
from certshelf.manage.db.tables import certificate as table
from certshelf.manage.db.tables import certificate_host as hosts
from certshelf.manage.model import (
    CertificateStatus,
    ChallengeChoice,
    ManagedCertificate,
    Mode,
    State,
    Step,
    check_name,
)
from certshelf.names import HostName

_BY_NAME = select(table).where(table.c.name == bindparam("of"))
_BY_ID = select(table).where(table.c.id == bindparam("of"))
_HOSTS_OF = (
    select(hosts.c.host).where(hosts.c.certificate_id == bindparam("of")).order_by(hosts.c.position)
)
_CHANGE = table.update().where(table.c.id == bindparam("of"))


class Certificates:
    """The managed certificates, by name. Names are unique; a host may be in several."""

    def __init__(self, connection: Connection) -> None:
        self._connection = connection

    def add(self, certificate: ManagedCertificate) -> ManagedCertificate:
        """Store a new one; the same with its id. RecordError when the name is taken."""
        check_name(certificate.name, "certificate")
        if self.find(certificate.name) is not None:
            raise RecordError(
                f"there is a certificate {certificate.name!r} already",
                hint="choose another --name, or change it: certshelf cert edit",
            )
        values = _wish(certificate) | rows.columns(certificate.status)
        key = rows.insert(self._connection, table, values, _what(certificate.name))
        self._put_names(key, certificate.names)
        return self.get(certificate.name)

    def get(self, name: str) -> ManagedCertificate:
        """The one of that name; RecordError when there is none."""
        found = self.find(name)
        if found is None:
            raise rows.missing(_what(name))
        return found

    def find(self, name: str) -> ManagedCertificate | None:
        """The one of that name, or None."""
        row = self._connection.execute(_BY_NAME, {"of": name}).first()
        return None if row is None else self._with_hosts(row)

    def by_id(self, certificate_id: int) -> ManagedCertificate:
        """The one that an order, a task or a bundle belongs to."""
        row = self._connection.execute(_BY_ID, {"of": certificate_id}).first()
        if row is None:
            raise rows.missing(f"certificate number {certificate_id}")
        return self._with_hosts(row)

    def all(self) -> list[ManagedCertificate]:
        """All of them, by name."""
        return self._select(true())

    def rows(
        self,
        now: datetime,
        *,
        state: str = "",
        expires_before: datetime | None = None,
        tag: str = "",
    ) -> list[dict[str, Any]]:
        """All that fit as plain rows, for lists of thousands: see certificate_rows()."""
        return certificate_rows(
            self._connection, now, state=state, expires_before=expires_before, tag=tag
        )

    def holding(self, host: HostName) -> list[ManagedCertificate]:
        """Those that name this very host (a wildcard only when it is asked for itself)."""
        named = select(hosts.c.certificate_id).where(hosts.c.host == host.ascii)
        return self._select(table.c.id.in_(named))

    def issuers_of(self, host: str) -> list[str]:
        """Who signs for a host or an address, as it is stored."""
        named = select(hosts.c.certificate_id).where(hosts.c.host == host)
        found = (
            select(table.c.issuer).where(table.c.id.in_(named)).distinct().order_by(table.c.issuer)
        )
        return list(self._connection.execute(found).scalars())

    def challenges_in_use(self) -> list[tuple[str, tuple[ChallengeChoice, ...]]]:
        """Each issuer with each choice of challenges of those that are renewed by themselves."""
        where = table.c.auto_renew & table.c.state.not_in([State.PAUSED.value, State.REVOKED.value])
        text = cast(table.c.challenges, Text)  # PostgreSQL compares no JSON
        found = self._connection.execute(select(table.c.issuer, text).where(where).distinct())
        return [
            (issuer, tuple(ChallengeChoice(**choice) for choice in json.loads(choices)))
            for issuer, choices in found
        ]

    def due(self, now: datetime) -> list[str]:
        """The names of those to renew by themselves at or before now, the most urgent first.

        New ones count, and those whose tasks are not all done; paused ones do not, nor those whose
        back-off has not ended.
        """
        tasks_left = select(orders.c.certificate_id).where(orders.c.step == Step.PUBLISHED.value)
        is_due = table.c.renew_at.is_(None) | (table.c.renew_at <= now)
        where = (
            table.c.auto_renew
            & table.c.state.not_in([State.PAUSED.value, State.REVOKED.value])
            & (is_due | table.c.id.in_(tasks_left))
            & (table.c.retry_at.is_(None) | (table.c.retry_at <= now))
        )
        urgent = func.coalesce(table.c.not_after, literal(now, UtcDateTime))
        found = select(table.c.name).where(where).order_by(urgent, table.c.name)
        return list(self._connection.execute(found).scalars())

    def to_ask(self, now: datetime, limit: int) -> list[ManagedCertificate]:
        """Those whose renewal window is to be asked for at or before now; expired ones are not."""
        where = (
            table.c.auto_renew
            & (table.c.ari_next_at <= now)
            & (table.c.not_after > now)
            & table.c.state.not_in([State.PAUSED.value, State.REVOKED.value])
        )
        return self._select(where)[:limit]

    def issuers(self, names: Iterable[str]) -> dict[str, str]:
        """The issuer of each name that there is."""
        wanted = set(names)
        found = self._connection.execute(select(table.c.name, table.c.issuer))
        return {row.name: row.issuer for row in found if row.name in wanted}

    def edit(self, certificate: ManagedCertificate) -> None:
        """Store a changed wish (a new name too), by id; the status stays as it is."""
        check_name(certificate.name, "certificate")
        what = _what(certificate.name)
        where = table.c.id == certificate.id
        rows.update(self._connection, table, where, _wish(certificate), what)
        self._connection.execute(hosts.delete().where(hosts.c.certificate_id == certificate.id))
        self._put_names(certificate.id, certificate.names)

    def set_status(self, certificate_id: int, status: CertificateStatus) -> None:
        """Store how it stands; the wish stays as it is."""
        values = rows.columns(status) | {"of": certificate_id}
        if self._connection.execute(_CHANGE, values).rowcount == 0:
            raise rows.missing(f"certificate number {certificate_id}")

    def remove(self, name: str) -> None:
        """Forget it, its orders, its tasks and its issued bundles; the shelf is not touched."""
        rows.delete(self._connection, table, table.c.name == name, _what(name))

    def password_credentials(self) -> list[str]:
        """The credentials of those that have a PFX password of their own."""
        column = table.c.password_credential
        found = select(column).where(column != "").distinct().order_by(column)
        return list(self._connection.execute(found).scalars())

    def count(self) -> int:
        """How many there are."""
        return self._connection.execute(select(func.count()).select_from(table)).scalar_one()

    def failing(self, failures: int) -> list[ManagedCertificate]:
        """Those whose last runs failed, at least so many in a row; paused ones do not count."""
        paused = table.c.state.in_([State.PAUSED.value, State.REVOKED.value])
        return self._select((table.c.failures >= failures) & ~paused)

    def by_state(self) -> dict[str, int]:
        """How many there are in each state."""
        found = select(table.c.state, func.count()).group_by(table.c.state)
        return {row[0]: row[1] for row in self._connection.execute(found)}

    def next_expiry(self, now: datetime) -> datetime | None:
        """The earliest end of one that is still valid."""
        found = select(func.min(table.c.not_after)).where(table.c.not_after > now)
        return self._connection.execute(found).scalar()

    def _put_names(self, key: int, names: Iterable[str]) -> None:
        values = [
            {"certificate_id": key, "position": i, "host": name}
            for i, name in enumerate(dict.fromkeys(names))
        ]
        if values:
            self._connection.execute(hosts.insert(), values)

    def _with_hosts(self, row: Row[Any]) -> ManagedCertificate:
        names = self._connection.execute(_HOSTS_OF, {"of": row.id}).scalars()
        return _from_row(row, list(names))

    def _select(self, where: ColumnElement[bool]) -> list[ManagedCertificate]:
        """Certificates by name, their hosts fetched in one more query."""
        found = self._connection.execute(select(table).where(where).order_by(table.c.name)).all()
        if not found:
            return []
        names = select(hosts.c.certificate_id, hosts.c.host)
        if len(found) == 1:
            names = names.where(hosts.c.certificate_id == found[0].id)
        else:
            names = names.join(table, table.c.id == hosts.c.certificate_id).where(where)
        grouped: defaultdict[int, list[str]] = defaultdict(list)
        ordered = names.order_by(hosts.c.certificate_id, hosts.c.position)
        for key, host in self._connection.execute(ordered):
            grouped[key].append(host)
        return [_from_row(row, grouped[row.id]) for row in found]


def _what(name: str) -> str:
    return f"certificate {name!r}"


def _wish(certificate: ManagedCertificate) -> dict[str, Any]:
    values = rows.columns(certificate, without=("id", "hosts", "addresses", "status", "challenges"))
    values["challenges"] = [asdict(choice) for choice in certificate.challenges]
    return values


def _from_row(row: Row[Any], names: list[str]) -> ManagedCertificate:
    addresses = tuple(name for name in names if _is_address(name))
    return ManagedCertificate(
        id=row.id,
        name=row.name,
        hosts=tuple(HostName.parse(name) for name in names if name not in addresses),
        addresses=addresses,
        issuer=row.issuer,
        fallbacks=tuple(row.fallbacks),
        profile=row.profile,
        challenges=tuple(ChallengeChoice(**choice) for choice in row.challenges),
        key_type=row.key_type,
        reuse_key=row.reuse_key,
        mode=Mode(row.mode),
        tags=tuple(row.tags),
        groups=tuple(row.groups),
        auto_renew=row.auto_renew,
        password_credential=row.password_credential,
        preferred_chain=row.preferred_chain,
        comment=row.comment,
        csr=row.csr,
        created_at=row.created_at,
        status=_status(row),
    )


def _status(row: Row[Any]) -> CertificateStatus:
    return CertificateStatus(
        state=State(row.state),
        generation=row.generation,
        thumbprint=row.thumbprint,
        serial=row.serial,
        not_before=row.not_before,
        not_after=row.not_after,
        renew_at=row.renew_at,
        retry_at=row.retry_at,
        failures=row.failures,
        last_error=row.last_error,
        last_run_at=row.last_run_at,
        ari_id=row.ari_id,
        ari_next_at=row.ari_next_at,
    )


def _is_address(name: str) -> bool:
    """Whether a stored name is an IP address: no host name has a last label of digits."""
    return ":" in name or name.rpartition(".")[2].isdigit()
