"""The tables, as SQLAlchemy Core describes them; migrations/ brings old databases here."""

from __future__ import annotations

from datetime import UTC, datetime

from sqlalchemy import (
    JSON,
    BigInteger,
    Boolean,
    Column,
    Connection,
    DateTime,
    Dialect,
    Float,
    ForeignKey,
    Index,
    Integer,
    MetaData,
    String,
    Table,
    Text,
    TypeDecorator,
    UniqueConstraint,
    text,
)
from sqlalchemy.event import listens_for

VERSIONS = ("0001", "0002", "0003")
"""Every schema version that this program knows, oldest first; the last is the one it writes."""

metadata = MetaData(
    naming_convention={
        "ix": "ix_%(table_name)s_%(column_0_N_name)s",
        "uq": "uq_%(table_name)s_%(column_0_N_name)s",
        "fk": "fk_%(table_name)s_%(column_0_N_name)s",
        "pk": "pk_%(table_name)s",
    }
)


class UtcDateTime(TypeDecorator[datetime]):
    """Aware UTC in and out, on SQLite too, which itself keeps no time zone."""

    impl = DateTime(timezone=True)
    cache_ok = True

    def process_bind_param(self, value: datetime | None, dialect: Dialect) -> datetime | None:
        """Refuse what has no zone: guessing one loses hours."""
        if value is None:
            return None
        if value.tzinfo is None:
            raise TypeError("a time without a zone is not stored")
        return value.astimezone(UTC)

    def process_result_value(self, value: datetime | None, dialect: Dialect) -> datetime | None:
        """What was stored, aware."""
        if value is None:
            return None
        return value.replace(tzinfo=UTC) if value.tzinfo is None else value.astimezone(UTC)


def _key() -> Column[str]:
    return Column("name", String(64), primary_key=True)


def _text(name: str) -> Column[str]:
    return Column(name, Text, nullable=False, default="", server_default="")


def _time(name: str, *, nullable: bool = True) -> Column[datetime]:
    return Column(name, UtcDateTime, nullable=nullable)


def _count(name: str) -> Column[int]:
    return Column(name, Integer, nullable=False, default=0, server_default="0")


def _flag(name: str, default: bool) -> Column[bool]:
    server = text("true") if default else text("false")
    return Column(name, Boolean, nullable=False, default=default, server_default=server)


def _certificate_id(*, in_key: bool = False) -> Column[int]:
    return Column(
        "certificate_id",
        Integer,
        ForeignKey("certificate.id", ondelete="CASCADE"),
        nullable=False,
        primary_key=in_key,
    )


certificate = Table(
    "certificate",
    metadata,
    Column("id", Integer, primary_key=True),
    Column("name", String(64), nullable=False, unique=True),
    _text("issuer"),
    Column("fallbacks", JSON, nullable=False),
    _text("profile"),
    Column("challenges", JSON, nullable=False),
    _text("key_type"),
    _flag("reuse_key", False),
    _text("mode"),
    Column("tags", JSON, nullable=False),
    Column("groups", JSON, nullable=False),
    _flag("auto_renew", True),
    _text("password_credential"),
    _text("preferred_chain"),
    _text("comment"),
    _text("csr"),
    _time("created_at"),
    # how it stands: written by the pipeline only
    _text("state"),
    _count("generation"),
    _text("thumbprint"),
    _text("serial"),
    _time("not_before"),
    _time("not_after"),
    _time("renew_at"),
    _time("retry_at"),
    _count("failures"),
    _text("last_error"),
    _time("last_run_at"),
    _text("ari_id"),
    _time("ari_next_at"),
    Index(None, "not_after"),
    Index(None, "renew_at"),
)

certificate_host = Table(
    "certificate_host",
    metadata,
    _certificate_id(in_key=True),
    Column("position", Integer, primary_key=True),
    Column("host", String(255), nullable=False, index=True),
)

credential = Table(
    "credential",
    metadata,
    _key(),
    _text("kind"),
    _text("username"),
    _text("comment"),
    _text("sealed"),
    _time("created_at"),
    _time("changed_at"),
    _time("expires_at"),
)

issuer = Table(
    "issuer",
    metadata,
    _key(),
    _text("kind"),
    Column("settings", JSON, nullable=False),
    Column("fallbacks", JSON, nullable=False),
    _text("certificate"),
    _text("key_sealed"),
    _time("created_at"),
)

account = Table(
    "account",
    metadata,
    Column("issuer", String(64), ForeignKey("issuer.name", ondelete="CASCADE"), primary_key=True),
    _text("directory"),
    _text("kid"),
    _text("thumbprint"),
    _text("status"),
    _text("key_sealed"),
    _time("created_at"),
)

orders = Table(
    "orders",
    metadata,
    Column("id", Integer, primary_key=True),
    _certificate_id(),
    _text("issuer"),
    _text("step"),
    _flag("is_open", True),
    _text("order_url"),
    _time("expires"),
    _text("replaces"),
    _text("key_sealed"),
    _text("csr"),
    _text("chain"),
    _count("attempt"),
    _time("retry_at"),
    _count("generation"),
    _text("lease_owner"),
    _time("lease_until"),
    _text("error"),
    _time("created_at"),
    _time("finished_at"),
    Index("ix_orders_certificate_id", "certificate_id"),
    # one order at a time for a certificate, whoever asks
    Index(
        "uq_orders_open",
        "certificate_id",
        unique=True,
        sqlite_where=text("is_open"),
    ),
    Index("ix_orders_is_open_retry_at", "is_open", "retry_at"),
)


@listens_for(orders, "before_create")
def _open_orders_on_postgresql(table: Table, connection: Connection, **_: object) -> None:
    """The condition of uq_orders_open, told late: `postgresql` up there imports it all."""
    if connection.dialect.name == "postgresql":
        (index,) = (one for one in table.indexes if one.name == "uq_orders_open")
        index.dialect_options["postgresql"]["where"] = text("is_open")


challenge = Table(
    "challenge",
    metadata,
    Column("order_id", Integer, ForeignKey("orders.id", ondelete="CASCADE"), primary_key=True),
    Column("host", String(255), primary_key=True),
    Column("type", String(32), primary_key=True),
    _text("token"),
    _text("url"),
    _text("record_ref"),
    _flag("cleaned", False),
)

bucket = Table(
    "bucket",
    metadata,
    Column("scope", String(255), primary_key=True),
    Column("kind", String(255), primary_key=True),
    Column("tokens", Float, nullable=False),
    _time("refilled_at", nullable=False),
)

issued = Table(
    "issued",
    metadata,
    _certificate_id(in_key=True),
    Column("generation", Integer, primary_key=True),
    _text("issuer"),
    Column("thumbprint", String(40), nullable=False, index=True),
    _text("thumbprint_sha256"),
    _text("serial"),
    _text("key_type"),
    _time("not_before", nullable=False),
    _time("not_after", nullable=False),
    _time("issued_at", nullable=False),
    _text("chain"),
    _text("key_sealed"),
    _time("revoked_at"),
)

task = Table(
    "task",
    metadata,
    Column("id", Integer, primary_key=True),
    _certificate_id(),
    Column("name", String(64), nullable=False),
    _text("kind"),
    _text("phase"),
    _text("trigger"),
    _count("position"),
    Column("timeout_s", Float, nullable=False),
    Column("settings", JSON, nullable=False),
    _text("credential"),
    _text("skip_reason"),
    UniqueConstraint("certificate_id", "name"),
)

task_run = Table(
    "task_run",
    metadata,
    Column("id", Integer, primary_key=True),
    Column("task_id", Integer, ForeignKey("task.id", ondelete="CASCADE"), nullable=False),
    Column("order_id", Integer, ForeignKey("orders.id", ondelete="SET NULL")),
    _text("outcome"),
    _time("started_at", nullable=False),
    _time("finished_at", nullable=False),
    _text("log"),
    Column("stale", JSON, nullable=False),
    Index(None, "task_id", "id"),
)

member = Table(
    "member",
    metadata,
    _key(),
    _text("kind"),
    _text("host"),
    _count("port"),
    _text("windows"),
    Column("group", Text, nullable=False, default="", server_default=""),
    _text("bindings"),
)

event = Table(
    "event",
    metadata,
    Column("seq", BigInteger, primary_key=True, autoincrement=False),
    _time("at", nullable=False),
    Column("kind", String(64), nullable=False, index=True),
    Column("subject", String(255), nullable=False, index=True),
    _text("actor"),
    _text("data"),  # canonical JSON, exactly as it was hashed
    Column("prev_hash", String(64), nullable=False),
    Column("hash", String(64), nullable=False),
)

meta = Table(
    "meta",
    metadata,
    Column("key", String(64), primary_key=True),
    _text("value"),
)

FIRST_META = {"key": "event-head", "value": "0 " + "0" * 64}
"""The row that a new schema starts with: number and hash of the newest event."""

schema_version = Table(
    "alembic_version",
    MetaData(),  # alembic's own table: not part of our metadata
    Column("version_num", String(32), primary_key=True),
)

SEALED = (
    (credential, "sealed"),
    (issuer, "key_sealed"),
    (account, "key_sealed"),
    (orders, "key_sealed"),
    (issued, "key_sealed"),
)
"""Every column that holds an envelope: rotation and the search for lost secrets go through it."""
