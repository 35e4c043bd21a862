from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime, timedelta

import pytest
from tests.support.clock import FakeClock
from tests.support.records import certificate

from certshelf.deploy.triggers import Outcome, Phase, Trigger
from certshelf.errors import CredentialError, RecordError
from certshelf.farm import Kind, Member
from certshelf.manage.credentials import remove_credential, set_credential
from certshelf.manage.db.database import Database
from certshelf.manage.model import (
    AccountRecord,
    Credential,
    CredentialKind,
    IssuedRecord,
    IssuerKind,
    IssuerRecord,
    Task,
    TaskRun,
)
from certshelf.secret import Secret

NOW = datetime(2030, 1, 1, tzinfo=UTC)


def test_a_credential_is_kept_changed_listed_and_forgotten(database: Database) -> None:
    clock = FakeClock(NOW)
    login = Credential("share", CredentialKind.LOGIN, "DOMAIN\\web", "the share")
    assert set_credential(database, login, Secret("one"), clock)
    clock.advance(60)
    assert not set_credential(database, login, Secret("two"), clock)
    with database.read() as records:
        assert records.credentials.secret("share") == Secret("two")
        assert records.credentials.all() == [
            replace(login, created_at=NOW, changed_at=NOW + timedelta(seconds=60))
        ]
    remove_credential(database, "share", clock)
    with database.read() as records:
        kinds = [event.kind for event in records.events.all()]
        assert kinds == ["credential.added", "credential.changed", "credential.removed"]
        with pytest.raises(CredentialError, match="there is no credential 'share'"):
            records.credentials.secret("share")
    with pytest.raises(CredentialError):
        remove_credential(database, "share", clock)


def test_an_issuer_keeps_its_key_when_it_is_edited(database: Database) -> None:
    record = IssuerRecord("local", IssuerKind.LOCAL, {"days": 7}, certificate="PEM")
    with database.write() as records:
        records.issuers.add(record, Secret("ca key"))
        records.issuers.edit(replace(record, settings={"days": 8}))
        assert records.issuers.key("local") == Secret("ca key")
        assert records.issuers.all() == [replace(record, settings={"days": 8})]
        with pytest.raises(RecordError, match="issuer 'local': there is one already"):
            records.issuers.add(record)


def test_an_account_belongs_to_its_issuer_and_goes_with_it(database: Database) -> None:
    record = AccountRecord("le", "https://ca/dir", "https://ca/acct/1", "thumb", created_at=NOW)
    with database.write() as records:
        records.issuers.add(IssuerRecord("le", IssuerKind.ACME))
        records.accounts.put(record, Secret("account key"))
        records.accounts.put(replace(record, status="deactivated"))
        assert records.accounts.find("le") == replace(record, status="deactivated")
        assert records.accounts.key("le") == Secret("account key")
        records.issuers.remove("le")
        assert records.accounts.find("le") is None


def test_issued_bundles_are_kept_by_generation_with_their_keys(database: Database) -> None:
    with database.write() as records:
        owner = records.certificates.add(certificate()).id
        first = IssuedRecord(
            owner, 1, "local", "AB", "ab", "01", "ecdsa-p256", NOW, NOW, NOW, "PEM"
        )
        records.issued.put(first, Secret("key 1"))
        records.issued.put(first, Secret("key 1"))
        second = replace(first, generation=2, thumbprint="CD", has_key=False)
        records.issued.put(second, None)
        assert records.issued.of(owner) == [second, first]
        assert records.issued.newest(owner) == second
        assert records.issued.by_thumbprint("AB") == first
        assert [records.issued.key(one) for one in (first, second)] == [Secret("key 1"), None]
        records.issued.set_revoked(second, NOW)
        assert records.issued.newest(owner) == replace(second, revoked_at=NOW)
        assert records.issued.prune(owner, 1) == 1
        assert records.issued.by_thumbprint("AB") is None


def test_tasks_come_in_the_order_in_which_they_run(database: Database) -> None:
    with database.write() as records:
        owner = records.certificates.add(certificate()).id
        add = records.tasks.add
        last = add(Task(owner, "last", "webhook", position=2, settings={"url": "https://x"}))
        first = add(Task(owner, "first", "script", phase=Phase.BEFORE, position=9))
        middle = add(Task(owner, "middle", "export", trigger=Trigger.ANY, position=1))
        assert records.tasks.of(owner) == [first, middle, last]
        records.tasks.edit(replace(last, timeout_s=5.0))
        assert records.tasks.find(owner, "last") == replace(last, timeout_s=5.0)
        with pytest.raises(RecordError, match="task 'last'"):
            add(Task(owner, "last", "webhook"))


def test_the_runs_of_a_task_keep_what_is_still_old(database: Database) -> None:
    with database.write() as records:
        owner = records.certificates.add(certificate()).id
        task = records.tasks.add(Task(owner, "share", "deploy-to-shelf"))
        run = TaskRun(task.id, Outcome.FAILED, NOW, NOW, "x" * 100_000, ("a.pfx on smb",))
        stored = records.tasks.add_run(run)
        assert stored.stale == run.stale
        assert len(stored.log) == 64 * 1024
        assert records.tasks.runs_of(task.id) == [stored]
        records.tasks.remove(task.id)
        assert records.tasks.runs_of(task.id) == []


def test_members_are_kept_by_name(database: Database) -> None:
    member = Member("web1", Kind.IIS, "web1.test", 443, "2019", "dmz", "c:/applicationHost.config")
    with database.write() as records:
        records.members.add(member)
        assert records.members.all() == [member]
        records.members.edit(replace(member, port=8443))
        assert records.members.find("web1") == replace(member, port=8443)
        records.members.remove("web1")
        with pytest.raises(RecordError, match="there is no member 'web1'"):
            records.members.remove("web1")


def test_a_meta_value_is_put_again(database: Database) -> None:
    with database.write() as records:
        assert records.meta.get("x") is None
        records.meta.put("x", "1")
        records.meta.put("x", "2")
        assert records.meta.get("x") == "2"
