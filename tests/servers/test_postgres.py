"""The records on a real PostgreSQL: the same schema, the same behaviour, several managers."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import closing
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from alembic.autogenerate import compare_metadata
from alembic.migration import MigrationContext
from sqlalchemy import create_engine, text

from certshelf.errors import RecordError, RecordStale
from certshelf.manage.db import migrate
from certshelf.manage.db.database import Database, open_database
from certshelf.manage.db.rotation import rotate_keys
from certshelf.manage.db.tables import metadata
from certshelf.manage.keyring import KeyRing
from certshelf.manage.model import CertificateStatus, Credential, CredentialKind, State, Step
from certshelf.secret import Secret
from tests.support.postgres import postgres
from tests.support.records import certificate

pytestmark = pytest.mark.slow
NOW = datetime(2030, 1, 1, 1, 2, 3, 456789, tzinfo=UTC)


@pytest.fixture(scope="module")
def server() -> Iterator[str]:
    with postgres() as url:
        yield url


@pytest.fixture
def url(server: str) -> str:
    engine = create_engine(server)
    with engine.begin() as connection:
        connection.execute(text("DROP SCHEMA public CASCADE"))
        connection.execute(text("CREATE SCHEMA public"))
    engine.dispose()
    return server


@pytest.fixture
def database(url: str, tmp_path: Path) -> Iterator[Database]:
    ring = KeyRing(tmp_path / "keys.json")
    ring.create()
    database = open_database(url, ring)
    yield database
    database.close()


def test_all_migrations_in_a_row_give_the_tables(url: str) -> None:
    engine = create_engine(url)
    with engine.begin() as connection:
        migrate.upgrade(connection)
        context = MigrationContext.configure(connection, opts={"compare_type": True})
        assert compare_metadata(context, metadata) == []
    engine.dispose()


def test_what_the_first_schema_held_is_there_after_an_upgrade(url: str, tmp_path: Path) -> None:
    engine = create_engine(url)
    with engine.begin() as connection:
        migrate.upgrade(connection, "0001")
        insert = "INSERT INTO credential (name, kind, username, comment, sealed) VALUES "
        connection.execute(text(insert + "('dns', 'token', 'u', '', 'x')"))
    engine.dispose()
    wanted = certificate("web", "a.test")
    with (
        closing(open_database(url, KeyRing(tmp_path / "keys.json"))) as database,
        database.write() as records,
    ):
        assert records.credentials.all() == [Credential("dns", CredentialKind.TOKEN, "u")]
        assert replace(records.certificates.add(wanted), id=0) == wanted


def test_records_come_back_as_they_were_stored(database: Database) -> None:
    wanted = certificate("web", "bücher.example.test", "*.a.test", tags=("x",), created_at=NOW)
    with database.write() as records:
        records.certificates.add(wanted)
        records.credentials.put(Credential("a"), Secret("x"))
    with database.read() as records:
        assert replace(records.certificates.get("web"), id=0) == wanted
        assert records.credentials.secret("a") == Secret("x")


def test_a_list_is_filtered_and_what_is_due_is_found(database: Database) -> None:
    with database.write() as records:
        for name, tags in (("a", ("x",)), ("b", ('say "x"',)), ("c", ())):
            added = records.certificates.add(certificate(name, f"{name}.test", tags=tags))
            until = NOW + timedelta(days=ord(name) - ord("b"))
            status = CertificateStatus(State.VALID, not_after=until, renew_at=until)
            records.certificates.set_status(added.id, status)
    with database.read() as records:
        rows = records.certificates.rows
        found = [
            rows(NOW),
            rows(NOW, tag="x"),
            rows(NOW, tag='say "x"'),
            rows(NOW, state="expired"),
            rows(NOW, state="valid"),
            rows(NOW, expires_before=NOW + timedelta(hours=1)),
        ]
        due = records.certificates.due(NOW)
    names = [[row["name"] for row in some] for some in found]
    assert names == [["a", "b", "c"], ["a"], ["b"], ["a", "b"], ["c"], ["a", "b"]]
    assert due == ["a", "b"]
    assert found[0][2]["not_after"] == "2030-01-02T01:02:03Z"


def test_a_new_schema_lets_finished_orders_be_many(database: Database) -> None:
    """The condition of uq_orders_open, which only this dialect is told, and late."""
    with database.write() as records:
        owner = records.certificates.add(certificate()).id
        for _ in range(2):
            order = records.orders.start(owner, "local", NOW)
            (claimed,) = records.orders.claim_due(NOW, "a", NOW + timedelta(minutes=1), 9)
            assert claimed.id == order.id
            records.orders.checkpoint(claimed, step=Step.DONE)


def test_there_is_one_open_order_and_a_late_write_is_refused(database: Database) -> None:
    minute = timedelta(minutes=1)
    with database.write() as records:
        owner = records.certificates.add(certificate()).id
        records.orders.start(owner, "local", NOW)
    with pytest.raises(RecordError), database.write() as records:
        records.orders.start(owner, "local", NOW)
    with database.write() as records:
        (late,) = records.orders.claim_due(NOW, "a", NOW + minute, 9)
    with database.write() as records:
        records.orders.claim_due(NOW + 2 * minute, "b", NOW + 3 * minute, 9)
    with pytest.raises(RecordStale), database.write() as records:
        records.orders.checkpoint(late, step=Step.DONE)


def test_two_managers_never_claim_the_same_order(database: Database) -> None:
    with database.write() as records:
        for i in range(40):
            added = records.certificates.add(certificate(f"c{i}"))
            records.orders.start(added.id, "local", NOW)
    claimed: list[int] = []

    def work(owner: str) -> None:
        while True:
            with database.write() as records:
                found = records.orders.claim_due(NOW, owner, NOW + timedelta(minutes=1), 3)
            if not found:
                return
            claimed.extend(order.id for order in found)

    threads = [threading.Thread(target=work, args=(name,)) for name in "abc"]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(claimed) == len(set(claimed)) == 40


def test_writers_at_the_same_time_extend_one_chain(database: Database) -> None:
    def work(name: str) -> None:
        for i in range(30):
            with database.write() as records:
                records.events.append(NOW, "test", f"{name}{i}")

    threads = [threading.Thread(target=work, args=(name,)) for name in "abc"]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    with database.read() as records:
        assert records.events.verify() == 90


def test_keys_are_rotated(database: Database) -> None:
    with database.write() as records:
        records.credentials.put(Credential("a"), Secret("x"))
    old = database.ring.current
    assert rotate_keys(database) == 1
    assert database.ring.ids == {database.ring.current} != {old}
    with database.read() as records:
        assert records.credentials.secret("a") == Secret("x")


def test_an_old_key_stays_while_somebody_may_be_sealing_with_it(database: Database) -> None:
    """The rotation waits for a transaction that has sealed and not yet committed."""
    rotated = threading.Event()

    def rotate() -> None:
        rotate_keys(database)
        rotated.set()

    with database.write() as records:
        records.credentials.put(Credential("slow"), Secret("x"))
        thread = threading.Thread(target=rotate)
        thread.start()
        assert not rotated.wait(0.5)
    thread.join()
    with database.read() as records:
        assert records.credentials.secret("slow") == Secret("x")
    rotate_keys(database)
    assert len(database.ring.ids) == 1


def test_a_server_that_is_not_there_is_a_record_error(tmp_path: Path) -> None:
    with pytest.raises(RecordError) as caught:
        open_database(f"postgresql+psycopg://me@/x?host={tmp_path}", KeyRing(tmp_path / "k"))
    assert "\n" not in str(caught.value)
