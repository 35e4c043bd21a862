"""Task export on a folder, a real share and a real SFTP server: whole files, read back, in sets."""

from __future__ import annotations

import os
import stat
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import asyncssh
import pytest
from cryptography.x509 import load_pem_x509_certificates

from certshelf.bundle.model import Bundle
from certshelf.deploy.base import TaskOutcome
from certshelf.deploy.export import Export
from certshelf.errors import ConfigError, StoreBadCredentials, StoreDenied
from certshelf.secret import Secret
from tests.support.sftp import PASSWORD, USER, SftpServer, running_sftp
from tests.support.tasks import LEAF, NEWER, PFX_PASSWORD, context

LOGIN = (USER, PASSWORD)


@pytest.fixture
def sftp(tmp_path: Path) -> Iterator[SftpServer]:
    folder = tmp_path / "served" / "certs"
    folder.mkdir(parents=True)
    with running_sftp(folder) as server:
        yield server


def export(to: object, **settings: Any) -> Export:
    return Export.parse({"to": str(to), **settings})


def to_sftp(server: SftpServer, **settings: Any) -> Export:
    return export(server.url, host_key=server.public_key, **settings)


def lines(outcome: TaskOutcome) -> list[str]:
    return outcome.log.splitlines()


def test_pem_is_key_leaf_and_chain_in_one_private_file(tmp_path: Path) -> None:
    assert lines(export(tmp_path).run(context())) == ["www.example.test.pem: new"]
    file = tmp_path / "www.example.test.pem"
    assert file.read_bytes() == LEAF.to_pem()
    if os.name == "posix":
        assert stat.S_IMODE(file.stat().st_mode) == 0o600


def test_pfx_opens_with_the_password_and_a_second_run_leaves_it(tmp_path: Path) -> None:
    task = export(tmp_path, format="pfx", name="site")
    assert lines(task.run(context())) == ["site.pfx: new"]
    assert Bundle.from_pfx((tmp_path / "site.pfx").read_bytes(), PFX_PASSWORD) == LEAF
    assert lines(task.run(context())) == ["site.pfx: unchanged"]
    assert lines(task.run(context(NEWER))) == ["site.pfx: replaced"]


def test_a_pfx_may_have_a_password_of_its_own(tmp_path: Path) -> None:
    task = export(tmp_path, format="pfx", password="other")
    assert task.run(context(credentials={"other": "another one"})).ok
    data = (tmp_path / "www.example.test.pfx").read_bytes()
    assert Bundle.from_pfx(data, Secret("another one")) == LEAF
    refused = task.run(context())
    assert "no credential" in str(refused.error)


def test_separate_files_are_leaf_chain_and_key(tmp_path: Path) -> None:
    assert export(tmp_path, format="separate", name="x").run(context()).ok
    parts = {path.name: path.read_bytes() for path in tmp_path.glob("x.*")}
    assert set(parts) == {"x.cert.pem", "x.chain.pem", "x.key.pem"}
    assert load_pem_x509_certificates(parts["x.cert.pem"]) == [LEAF.leaf]
    assert b"CERTIFICATE" not in parts["x.key.pem"]
    assert Bundle.from_pem(parts["x.key.pem"] + parts["x.cert.pem"]) == LEAF


def test_files_that_belong_together_are_put_back_when_one_fails(tmp_path: Path) -> None:
    task = export(tmp_path, format="fullchain", name="x")
    assert task.run(context(LEAF)).ok
    before = {path.name: path.read_bytes() for path in tmp_path.glob("x.*")}
    (tmp_path / "x.key.pem").unlink()
    (tmp_path / "x.key.pem").mkdir()  # nothing can be renamed over a folder
    outcome = task.run(context(NEWER))
    assert not outcome.ok
    (tmp_path / "x.key.pem").rmdir()
    outcome = export(tmp_path / "missing", name="x").run(context(NEWER))
    assert [str(one) for one in outcome.stale] == [f"x.pem on {tmp_path / 'missing'}"]
    assert (tmp_path / "x.fullchain.pem").read_bytes() == before["x.fullchain.pem"]


def test_sftp_by_password_replaces_by_one_rename(sftp: SftpServer) -> None:
    task = to_sftp(sftp)
    assert lines(task.run(context(LEAF, login=LOGIN))) == ["www.example.test.pem: new"]
    assert lines(task.run(context(NEWER, login=LOGIN))) == ["www.example.test.pem: replaced"]
    assert lines(task.run(context(NEWER, login=LOGIN))) == ["www.example.test.pem: unchanged"]
    (file,) = sftp.folder.iterdir()
    assert file.read_bytes() == NEWER.to_pem()
    assert stat.S_IMODE(file.stat().st_mode) == 0o600


def test_sftp_by_private_key(sftp: SftpServer) -> None:
    key = sftp.client_key.export_private_key().decode()
    assert to_sftp(sftp).run(context(login=(USER, key))).ok


def test_sftp_refuses_a_server_with_another_key(sftp: SftpServer) -> None:
    other = asyncssh.generate_private_key("ssh-ed25519").export_public_key().decode()
    outcome = export(sftp.url, host_key=other).run(context(login=LOGIN))
    assert isinstance(outcome.error, StoreDenied)
    assert "another key" in str(outcome.error)


def test_sftp_says_when_the_login_is_refused(sftp: SftpServer) -> None:
    outcome = to_sftp(sftp).run(context(login=(USER, "wrong")))
    assert isinstance(outcome.error, StoreBadCredentials)
    assert not list(sftp.folder.iterdir())


def test_sftp_that_fails_half_way_leaves_the_old_file_and_no_temp(sftp: SftpServer) -> None:
    task = to_sftp(sftp)
    assert task.run(context(LEAF, login=LOGIN)).ok

    def full(path: str, flags: int) -> None:
        if flags & asyncssh.FXF_WRITE:
            raise asyncssh.SFTPNoSpaceOnFilesystem("no space left")

    sftp.fail = full
    outcome = task.run(context(NEWER, login=LOGIN))
    assert [one.file for one in outcome.stale] == ["www.example.test.pem"]
    (file,) = sftp.folder.iterdir()
    assert file.read_bytes() == LEAF.to_pem()


def test_sftp_preview_asks_and_leaves_nothing(sftp: SftpServer) -> None:
    task = to_sftp(sftp)
    assert [p.outcome for p in task.preview(context(login=LOGIN)).files] == ["new"]
    assert not list(sftp.folder.iterdir())
    task.run(context(login=LOGIN))
    assert [p.outcome for p in task.preview(context(login=LOGIN)).files] == ["unchanged"]
    assert [p.outcome for p in task.preview(context(NEWER, login=LOGIN)).files] == ["replaced"]
    assert [p.outcome for p in task.preview(context(None, login=LOGIN)).files] == ["replaced"]


@pytest.mark.parametrize(
    ("settings", "said"),
    [
        ({"to": "sftp://u:secret@host/x"}, "password"),
        ({"to": "sftp://u@host/x"}, "key is not given"),
        ({"to": "sftp://u@host/"}, "no address"),
        ({"to": "ftp://host/x"}, "no store"),
        ({"to": "/x", "name": "../up"}, "name cannot be"),
        ({"to": "/x", "format": "jks"}, "format cannot be"),
        ({}, "needs to"),
    ],
)
def test_a_wrong_setting_is_refused_without_its_secret(settings: dict[str, str], said: str) -> None:
    with pytest.raises(ConfigError, match=said) as caught:
        Export.parse(settings)
    assert "secret" not in str(caught.value)
