from __future__ import annotations

from contextlib import closing
from pathlib import Path

from alembic.autogenerate import compare_metadata
from alembic.migration import MigrationContext
from alembic.script import ScriptDirectory
from sqlalchemy import Engine, create_engine, select, text

from certshelf.manage.db import migrate, peek
from certshelf.manage.db.database import open_database
from certshelf.manage.db.tables import FIRST_META, VERSIONS, meta, metadata
from certshelf.manage.keyring import KeyRing
from certshelf.manage.model import Credential, CredentialKind


def _migrated(path: Path) -> Engine:
    engine = create_engine(f"sqlite:///{path}")
    with engine.begin() as connection:
        migrate.upgrade(connection)
    return engine


def _schema(engine: Engine) -> dict[str, list[str]]:
    """Every table and index with the parts of its SQL, whose order does not matter."""
    with engine.connect() as connection:
        rows = connection.execute(text("SELECT name, sql FROM sqlite_master")).all()
    return {
        name: sorted(part.strip(" )") for part in " ".join((sql or "").split()).split(","))
        for name, sql in rows
        if "alembic_version" not in name
    }


def test_all_migrations_in_a_row_give_the_tables(tmp_path: Path) -> None:
    with _migrated(tmp_path / "a.db").connect() as connection:
        context = MigrationContext.configure(connection, opts={"compare_type": True})
        assert compare_metadata(context, metadata) == []
        assert dict(connection.execute(select(meta)).one()._mapping) == FIRST_META


def test_a_database_made_at_once_equals_one_that_was_migrated(tmp_path: Path) -> None:
    open_database(f"sqlite:///{tmp_path / 'b.db'}", KeyRing(tmp_path / "keys.json")).close()
    made = create_engine(f"sqlite:///{tmp_path / 'b.db'}")
    assert _schema(made) == _schema(_migrated(tmp_path / "a.db"))


def test_the_known_versions_are_the_migrations_that_exist() -> None:
    scripts = ScriptDirectory.from_config(migrate.config())
    assert tuple(s.revision for s in scripts.walk_revisions())[::-1] == VERSIONS


def test_the_fast_path_knows_the_newest_schema() -> None:
    newest = VERSIONS[-1]
    assert newest == peek.SCHEMA


def test_what_the_first_schema_held_is_there_after_an_upgrade(tmp_path: Path) -> None:
    path = tmp_path / "a.db"
    engine = create_engine(f"sqlite:///{path}")
    with engine.begin() as connection:
        migrate.upgrade(connection, "0001")
        insert = "INSERT INTO credential (name, kind, username, comment, sealed) VALUES "
        connection.execute(text(insert + "('dns', 'token', 'u', '', 'x')"))
    engine.dispose()
    with (
        closing(open_database(f"sqlite:///{path}", KeyRing(tmp_path / "keys.json"))) as database,
        database.read() as records,
    ):
        assert records.credentials.all() == [Credential("dns", CredentialKind.TOKEN, "u")]
