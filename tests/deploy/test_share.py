"""Tasks on a real share: names as IIS wants them, files read back, a preview that asks first."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from typing import Any

import pytest

from certshelf.bundle.model import Bundle
from certshelf.deploy.base import Context
from certshelf.deploy.deploy_to_shelf import DeployToShelf
from certshelf.deploy.export import Export
from certshelf.errors import StoreBadCredentials, StoreDenied, StoreUnreachable
from certshelf.secret import Secret
from certshelf.shelf.access import grant
from tests.support.bundles import make_bundle
from tests.support.samba import Account, Samba, running_samba
from tests.support.tasks import PFX_PASSWORD, context

pytestmark = pytest.mark.slow
LEAF = make_bundle("www.example.test", "*.example.test", "bücher.example.test")
FILES = {
    "www.example.test.pfx",
    "_.example.test.pfx",
    "bücher.example.test.pfx",
    "xn--bcher-kva.example.test.pfx",
}


@pytest.fixture(scope="module")
def samba() -> Iterator[Samba]:
    with running_samba() as server:
        yield server


def as_account(samba: Samba, account: Account | None = None, **options: Any) -> Context:
    account = account or samba.writer
    now = context(LEAF, login=(account.name, account.password), **options)
    return replace(now, hosts=LEAF.names)


def test_wildcards_and_unicode_names_are_named_by_the_task_and_read_back(samba: Samba) -> None:
    folder = samba.new_folder()
    task = DeployToShelf.parse({"store": samba.url(folder)})
    preview = task.preview(as_account(samba))
    assert {p.file for p in preview.files if p.outcome == "new"} == FILES
    assert {path.name for path in (samba.share / folder).glob("*")} == set(), "nothing is left"
    outcome = task.run(as_account(samba))
    assert outcome.ok, outcome
    found = {path.name: path.read_bytes() for path in (samba.share / folder).glob("*.pfx")}
    assert set(found) == FILES
    assert {Bundle.from_pfx(data, PFX_PASSWORD).sha256 for data in found.values()} == {LEAF.sha256}
    assert {p.outcome for p in task.preview(as_account(samba)).files} == {"unchanged"}


def test_a_second_run_writes_nothing(samba: Samba) -> None:
    task = DeployToShelf.parse({"store": samba.url(samba.new_folder())})
    assert task.run(as_account(samba)).ok
    again = task.run(as_account(samba))
    assert set(again.log.splitlines()) == {f"{file}: unchanged" for file in FILES}


def test_a_pem_file_is_exported_to_the_share(samba: Samba) -> None:
    folder = samba.new_folder()
    task = Export.parse({"to": samba.url(folder), "format": "fullchain", "name": "site"})
    assert task.run(as_account(samba)).ok
    parts = (samba.share / folder).glob("site.*.pem")
    assert Bundle.from_pem(b"".join(path.read_bytes() for path in sorted(parts))) == LEAF
    assert {p.outcome for p in task.preview(as_account(samba)).files} == {"unchanged"}


def test_preview_knows_by_maximal_access_who_may_not_write(samba: Samba) -> None:
    folder = samba.new_folder()
    grant(samba.store(folder, samba.admin), readers=[samba.reader.name], writer=samba.writer.name)
    for task in (
        DeployToShelf.parse({"store": samba.url(folder, samba.reader)}),
        Export.parse({"to": samba.url(folder, samba.reader)}),
    ):
        with pytest.raises(StoreDenied, match="may not write"):
            task.preview(as_account(samba, samba.reader))
        assert task.preview(as_account(samba)).files
    assert not list((samba.share / folder).glob("*.p*"))


def test_preview_says_when_login_or_share_is_wrong(samba: Samba) -> None:
    task = DeployToShelf.parse({"store": samba.url(samba.new_folder())})
    with pytest.raises(StoreBadCredentials):
        task.preview(as_account(samba, Account(samba.writer.name, "certainly wrong")))
    away = DeployToShelf.parse({"store": "smb://u@127.0.0.1:1/certs"})
    with pytest.raises(StoreUnreachable):
        away.preview(as_account(samba))


def test_preview_sees_that_the_password_is_not_that_of_what_lies_there(samba: Samba) -> None:
    task = DeployToShelf.parse({"store": samba.url(samba.new_folder())})
    assert task.run(as_account(samba)).ok
    other = replace(as_account(samba), password=lambda: Secret("a new password"))
    assert {f.id for f in task.preview(other).findings} == {"pfx-password"}
