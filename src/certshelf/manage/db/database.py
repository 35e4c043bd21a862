"""Open the manager's database, bring its schema up to date, and hand out transactions."""

from __future__ import annotations

import json
import os
import sqlite3
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from sqlalchemy import Connection, Engine, create_engine, event, inspect, select, text
from sqlalchemy.engine import URL, make_url
from sqlalchemy.exc import DBAPIError, SQLAlchemyError
from sqlalchemy.pool import ConnectionPoolEntry

from certshelf.errors import RecordBusy, RecordError
from certshelf.manage.db.records import Records
from certshelf.manage.db.tables import FIRST_META, VERSIONS, meta, metadata, schema_version
from certshelf.manage.keyring import KeyRing

BUSY_SECONDS = 30.0
_SCHEMA_LOCK = 0x63657274  # any number, the same in every manager
_SMALL_FILE_BYTES = 32 * 1024 * 1024


class Database:
    """The records, in transactions. Safe to use from several threads and processes.

    with database.write() as records: everything in it happens or nothing does.
    """

    def __init__(self, engine: Engine, ring: KeyRing) -> None:
        """Use open_database()."""
        self._engine = engine
        self._ring = ring
        self.is_new = False
        """Whether its schema was made by this very opening."""

    @contextmanager
    def read(self) -> Iterator[Records]:
        """One consistent view of the records; nothing is written."""
        with _translated(self._engine.url), self._engine.connect() as connection:
            yield Records(connection, self._ring)

    @contextmanager
    def write(self) -> Iterator[Records]:
        """One transaction: committed (and on the disk) at the end, undone by any exception.

        On SQLite it takes the write lock at once, so what it reads stays true until it commits.
        Raises RecordBusy when another process holds the lock for longer than we wait.
        """
        with _translated(self._engine.url), self._engine.connect() as connection:
            connection = connection.execution_options(certshelf_write=True)
            with connection.begin():
                records = Records(connection, self._ring)
                yield records
                records.finish()

    @property
    def ring(self) -> KeyRing:
        """The keys that seal secrets."""
        return self._ring

    @property
    def where(self) -> str:
        """The file or address, without any password."""
        return _where(self._engine.url)

    @property
    def is_sqlite(self) -> bool:
        """Whether it is the embedded database."""
        return self._engine.dialect.name == "sqlite"

    def check(self) -> None:
        """Read the whole SQLite file and raise RecordError if it is damaged."""
        if not self.is_sqlite:
            return
        with _translated(self._engine.url), self._engine.connect() as connection:
            answer = connection.exec_driver_sql("PRAGMA quick_check(1)").scalar_one()
        if answer != "ok":
            raise _damaged(self._engine.url)

    def close(self) -> None:
        """Give back all connections; safe to repeat."""
        self._engine.dispose()


def open_database(url: str, ring: KeyRing, *, busy_seconds: float = BUSY_SECONDS) -> Database:
    """Open the database, making or upgrading its schema first.

    url: for SQLAlchemy, see settings.database_url(). A SQLite file is made 0600.
    Raises RecordError when it is damaged, or newer than this program: nothing is changed then.
    """
    engine = _engine(make_url(url), busy_seconds)
    database = Database(engine, ring)
    try:
        with _translated(engine.url):
            database.is_new = _bring_up_to_date(engine)
        if database.is_sqlite and _size(engine.url) <= _SMALL_FILE_BYTES:
            database.check()
    except RecordError:
        database.close()
        raise
    return database


def _size(url: URL) -> int:
    return Path(url.database or "").stat().st_size


# --- the schema


def _bring_up_to_date(engine: Engine) -> bool:
    """Make or upgrade the schema; whether it was made. Nothing is written to a newer database."""
    with engine.connect() as connection:
        version = _version(connection)
    _refuse_newer(version, engine.url)
    if engine.dialect.name == "sqlite":
        _use_wal(engine)
    if version == "":
        return _create(engine)
    if version != VERSIONS[-1]:
        _upgrade(engine)
    return False


def _use_wal(engine: Engine) -> None:
    """Readers and the writer do not wait for each other; the mode stays in the file.

    Source: sqlite.org/wal.html. A restored copy may have lost it, so it is looked at each time.
    """
    connection = engine.raw_connection()
    try:
        cursor = connection.cursor()
        if cursor.execute("PRAGMA journal_mode").fetchone() != ("wal",):
            cursor.execute("PRAGMA journal_mode=WAL")
    except sqlite3.Error as error:
        raise DBAPIError.instance("PRAGMA journal_mode", None, error, sqlite3.Error) from error
    finally:
        connection.close()


def _version(connection: Connection) -> str | None:
    """The schema's version; "" for an empty database; None when it is somebody else's."""
    names = set(inspect(connection).get_table_names())
    if schema_version.name in names:
        return connection.execute(select(schema_version.c.version_num)).scalar() or ""
    return None if names else ""


def _refuse_newer(version: str | None, url: URL) -> None:
    if version is None:
        raise RecordError(f"{_where(url)} is a database, but not certshelf's")
    if version and version not in VERSIONS:
        raise RecordError(
            f"{_where(url)}: the database is newer than this certshelf (schema {version})",
            hint="use the certshelf that wrote it, or a newer one",
        )


@contextmanager
def _schema_transaction(engine: Engine) -> Iterator[Connection]:
    """A transaction that only one manager at a time gets; SQLite without foreign keys in it."""
    with engine.connect() as connection:
        if engine.dialect.name == "sqlite":
            connection.exec_driver_sql("PRAGMA foreign_keys=OFF")
            connection.rollback()
        connection = connection.execution_options(certshelf_write=True)
        try:
            with connection.begin():
                if engine.dialect.name != "sqlite":
                    connection.execute(
                        text("SELECT pg_advisory_xact_lock(:key)"), {"key": _SCHEMA_LOCK}
                    )
                yield connection
        finally:
            connection.invalidate()  # the next one starts with its pragmas as they should be


def _create(engine: Engine) -> bool:
    """All tables at once: the same schema as all migrations in a row, ten times as fast."""
    with _schema_transaction(engine) as connection:
        if _version(connection) != "":
            return False  # another process was faster
        metadata.create_all(connection)
        schema_version.create(connection)
        connection.execute(schema_version.insert().values(version_num=VERSIONS[-1]))
        connection.execute(meta.insert().values(FIRST_META))
    return True


def _upgrade(engine: Engine) -> None:
    with _schema_transaction(engine) as connection:
        version = _version(connection)
        _refuse_newer(version, engine.url)
        if version == VERSIONS[-1]:
            return
        from certshelf.manage.db.migrate import upgrade

        upgrade(connection)


# --- the engine


def _engine(url: URL, busy_seconds: float) -> Engine:
    if url.get_backend_name() != "sqlite":
        return create_engine(
            url, pool_pre_ping=True, hide_parameters=True, connect_args={"connect_timeout": 10}
        )
    _make_file(Path(url.database or ""))
    engine = create_engine(
        url,
        hide_parameters=True,
        json_deserializer=_read_json,
        connect_args={"timeout": busy_seconds},
    )
    event.listen(engine, "connect", _set_up_sqlite)
    event.listen(engine, "begin", _begin_sqlite)
    return engine


def _read_json(text: str) -> Any:
    """What a JSON column holds: in a list of certificates, most of them hold an empty list."""
    return [] if text == "[]" else json.loads(text)


def _make_file(path: Path) -> None:
    """An empty 0600 file unless it is there: SQLite gives -wal and -shm the same rights."""
    try:
        os.close(os.open(path, os.O_CREAT | os.O_RDWR, 0o600))
    except OSError as error:
        raise RecordError(
            f"cannot open the database {path}: {error.strerror}", hint="certshelf init"
        ) from error


def _set_up_sqlite(connection: sqlite3.Connection, record: ConnectionPoolEntry) -> None:
    """Durable and strict. Source: sqlite.org/pragma.html."""
    connection.isolation_level = None  # we say BEGIN ourselves: see _begin_sqlite
    connection.execute("PRAGMA synchronous=FULL")
    connection.execute("PRAGMA foreign_keys=ON")


def _begin_sqlite(connection: Connection) -> None:
    write = connection.get_execution_options().get("certshelf_write", False)
    # a write in a reading block would be undone in silence: query_only makes it an error
    connection.exec_driver_sql(f"PRAGMA query_only={'OFF' if write else 'ON'}")
    connection.exec_driver_sql("BEGIN IMMEDIATE" if write else "BEGIN")


# --- errors


@contextmanager
def _translated(url: URL) -> Iterator[None]:
    """Turn the database's own errors into ours; their text may hold parameters, so it stays out."""
    try:
        yield
    except DBAPIError as error:
        raise _translate(error, url) from error.orig
    except SQLAlchemyError as error:
        raise RecordError(f"{_where(url)}: {type(error).__name__}") from error


def _translate(error: DBAPIError, url: URL) -> RecordError:
    message = str(error.orig).splitlines()[0] if str(error.orig) else "no answer"
    code: Any = getattr(error.orig, "sqlite_errorcode", 0) or 0
    match code & 0xFF:
        case sqlite3.SQLITE_BUSY | sqlite3.SQLITE_LOCKED:
            return RecordBusy(
                f"{_where(url)} is held by another process", hint="try again when it is done"
            )
        case sqlite3.SQLITE_CORRUPT | sqlite3.SQLITE_NOTADB:
            return _damaged(url)
        case sqlite3.SQLITE_FULL:
            return RecordError(
                f"{_where(url)}: no space left", hint="free some; what was committed is whole"
            )
        case sqlite3.SQLITE_READONLY | sqlite3.SQLITE_CANTOPEN | sqlite3.SQLITE_PERM:
            return RecordError(
                f"{_where(url)}: {message}", hint="look at the rights of the file and its folder"
            )
    return RecordError(f"{_where(url)}: {message}")


def _damaged(url: URL) -> RecordError:
    return RecordError(
        f"{_where(url)}: the database is damaged",
        hint="keep the file, and restore the last backup in its place; servers go on serving",
    )


def _where(url: URL) -> str:
    if url.get_backend_name() == "sqlite":
        return url.database or ""
    return url.render_as_string(hide_password=True)
