from __future__ import annotations

import os
from pathlib import Path

import pytest

from certshelf.errors import ConfigError
from certshelf.store import url
from certshelf.store.base import ANY
from certshelf.store.folder import FolderStore
from certshelf.store.url import open_store


def test_a_path_and_a_file_url_open_one_folder(tmp_path: Path) -> None:
    folder = tmp_path / "my shelf"
    folder.mkdir()
    open_store(str(folder)).put("a.pfx", b"1", ANY)
    opened = open_store(folder.as_uri())
    assert isinstance(opened, FolderStore)
    assert opened.look("a.pfx") is not None


def test_file_localhost_is_this_machine(tmp_path: Path) -> None:
    assert list(open_store(tmp_path.as_uri().replace("file://", "file://localhost")).list()) == []


@pytest.mark.parametrize(
    "address",
    ["", "x\0y", "file:srv", "file:///srv?x=1", "file:///a%00b", "ftp://x/y", "http://[x", "mem:"],
)
def test_what_is_no_address_of_a_store_is_refused(address: str) -> None:
    with pytest.raises(ConfigError):
        open_store(address)


@pytest.mark.skipif(os.name == "nt", reason="a file: URL may name a server on Windows")
def test_a_file_url_with_a_server_says_how_to_write_it() -> None:
    with pytest.raises(ConfigError) as caught:
        open_store("file://srv/shelf")
    assert "smb://srv/shelf" in caught.value.hint


def test_a_password_in_an_address_is_refused_and_not_repeated() -> None:
    with pytest.raises(ConfigError) as caught:
        open_store("smb://writer:hunter2@server/share")
    assert "hunter2" not in str(caught.value) + caught.value.hint


@pytest.mark.parametrize(
    ("address", "extra"), [("smb://s/x", "smb"), ("s3://b", "bucket"), ("GS://b", "bucket")]
)
def test_a_missing_extra_says_what_to_install(
    address: str, extra: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(url, "find_spec", lambda name: None)
    with pytest.raises(ConfigError) as caught:
        open_store(address)
    assert caught.value.hint == f"pip install 'certshelf[{extra}]'"
