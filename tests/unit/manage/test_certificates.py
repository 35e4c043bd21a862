from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime, timedelta

import pytest
from tests.support.records import certificate

from certshelf.errors import RecordError
from certshelf.manage.db.database import Database
from certshelf.manage.model import (
    CertificateStatus,
    ChallengeChoice,
    ManagedCertificate,
    Mode,
    State,
)
from certshelf.names import HostName

NOW = datetime(2030, 1, 1, 12, 30, 15, 123456, tzinfo=UTC)


def _add(database: Database, *wanted: ManagedCertificate) -> None:
    with database.write() as records:
        for one in wanted:
            records.certificates.add(one)


def _status(database: Database, name: str, **fields: object) -> None:
    with database.write() as records:
        found = records.certificates.get(name)
        status = replace(found.status, **fields)  # type: ignore[arg-type]
        records.certificates.set_status(found.id, status)


def test_a_certificate_comes_back_as_it_was_stored(database: Database) -> None:
    wanted = certificate(
        "shop",
        "*.shop.example.test",
        "bücher.example.test",
        issuer="le",
        fallbacks=("zero", "local"),
        challenges=(ChallengeChoice("dns-01", "*.example.test", {"server": "::1"}, "tsig"),),
        key_type="rsa-2048",
        reuse_key=True,
        mode=Mode.SHELF_ONLY,
        tags=("prod", "shop"),
        auto_renew=False,
        comment="it's; DROP TABLE certificate --",
        created_at=NOW,
    )
    _add(database, wanted)
    with database.read() as records:
        found = records.certificates.get("shop")
    assert replace(found, id=0) == wanted


def test_a_name_is_taken_once(database: Database) -> None:
    _add(database, certificate())
    with pytest.raises(RecordError, match="there is a certificate 'web' already"):
        _add(database, certificate())


@pytest.mark.parametrize(
    "name", ["", "Web", "-a", "a/b", "a:b", "a b", "ä", "a" * 65, "a\n", "../x"]
)
def test_a_name_that_is_none_is_refused(database: Database, name: str) -> None:
    with pytest.raises(RecordError, match="no name for a certificate"):
        _add(database, certificate(name, "a.example.test"))


def test_a_missing_certificate_is_said(database: Database) -> None:
    with database.read() as records:
        assert records.certificates.find("web") is None
        with pytest.raises(RecordError, match="there is no certificate 'web'"):
            records.certificates.get("web")


def test_an_edit_keeps_the_status_and_a_status_keeps_the_wish(database: Database) -> None:
    _add(database, certificate())
    _status(database, "web", state=State.VALID, not_after=NOW)
    with database.write() as records:
        found = records.certificates.get("web")
        records.certificates.edit(
            replace(found, hosts=(HostName.parse("b.test"),), status=CertificateStatus())
        )
        found = records.certificates.get("web")
    assert found.status == CertificateStatus(State.VALID, not_after=NOW)
    assert found.hosts == (HostName.parse("b.test"),)


def test_a_list_is_filtered_by_tag_state_and_expiry(database: Database) -> None:
    _add(database, certificate("a", tags=("x",)), certificate("b"), certificate("c", tags=("x",)))
    _status(database, "c", state=State.VALID, not_after=NOW)
    soon = NOW + timedelta(seconds=1)
    with database.read() as records:
        rows = records.certificates.rows
        found = [
            rows(NOW),
            rows(NOW, tag="x"),
            rows(NOW, state="new"),
            rows(NOW, state="expired"),
            rows(NOW, expires_before=NOW),
            rows(NOW, expires_before=soon, tag="x"),
        ]
    names = [[row["name"] for row in some] for some in found]
    assert names == [["a", "b", "c"], ["a", "c"], ["a", "b"], ["c"], [], ["c"]]


def test_certificates_are_found_by_host(database: Database) -> None:
    _add(database, certificate("a", "x.test", "*.x.test"), certificate("b", "y.test"))
    with database.read() as records:
        assert [c.name for c in records.certificates.holding(HostName.parse("*.x.test"))] == ["a"]
        assert records.certificates.holding(HostName.parse("a.x.test")) == []


def test_due_are_the_new_and_those_whose_time_has_come_but_not_the_backed_off(
    database: Database,
) -> None:
    names = ("new", "due", "later", "waiting", "paused", "manual")
    _add(database, *(certificate(name, auto_renew=name != "manual") for name in names))
    past, future = NOW - timedelta(hours=1), NOW + timedelta(hours=1)
    _status(database, "due", renew_at=past, not_after=past)
    _status(database, "later", renew_at=future)
    _status(database, "waiting", retry_at=future)
    _status(database, "paused", state=State.PAUSED)
    with database.read() as records:
        assert records.certificates.due(NOW) == ["due", "new"]


def test_removing_takes_hosts_orders_tasks_and_bundles_with_it(database: Database) -> None:
    _add(database, certificate())
    with database.write() as records:
        records.orders.start(records.certificates.get("web").id, "local", NOW)
        records.certificates.remove("web")
        assert records.certificates.holding(HostName.parse("web.example.test")) == []
        assert records.orders.count_open() == 0
        with pytest.raises(RecordError):
            records.certificates.remove("web")


def test_a_time_without_a_zone_is_never_stored(database: Database) -> None:
    with pytest.raises(RecordError, match="StatementError"):
        _add(database, certificate(created_at=datetime(2030, 1, 1)))  # noqa: DTZ001


def test_all_or_nothing_is_written(database: Database) -> None:
    with pytest.raises(ZeroDivisionError), database.write() as records:
        records.certificates.add(certificate())
        _ = 1 / 0
    with database.read() as records:
        assert records.certificates.count() == 0


def test_a_write_in_a_reading_block_is_an_error_not_a_silent_nothing(database: Database) -> None:
    with pytest.raises(RecordError, match="readonly"), database.read() as records:
        records.certificates.add(certificate())


def test_a_long_list_has_all_hosts_of_each(database: Database) -> None:
    _add(database, *(certificate(f"c{i:05}", f"a{i}.test", f"b{i}.test") for i in range(300)))
    with database.read() as records:
        found = records.certificates.all()
    assert [one.hosts for one in found] == [
        (HostName.parse(f"a{i}.test"), HostName.parse(f"b{i}.test")) for i in range(300)
    ]
