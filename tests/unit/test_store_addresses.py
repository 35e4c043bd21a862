"""What `smb:` and `s3:` addresses mean, and which are refused."""

from __future__ import annotations

import pytest

from certshelf.errors import ConfigError
from certshelf.secret import Secret
from certshelf.store.base import StoreCredentials
from certshelf.store.bucket import BucketStore
from certshelf.store.smb_address import parse_address

WHO = StoreCredentials("", Secret("hunter2"))


def test_an_smb_address_names_server_share_folder_and_account() -> None:
    login, folder = parse_address("smb://CORP;writer@files.example:4450/certs$/farm/web", WHO)
    assert (login.server, login.port, login.share) == ("files.example", 4450, "certs$")
    assert (login.username, folder, login.encrypt) == ("CORP\\writer", ("farm", "web"), True)


def test_the_credential_s_account_comes_before_the_address_s() -> None:
    who = StoreCredentials("CORP\\other", Secret("x"))
    assert parse_address("smb://writer@files/certs", who)[0].username == "CORP\\other"


def test_encryption_is_given_up_only_in_so_many_words() -> None:
    assert parse_address("smb://w@files/certs?encryption=off", WHO)[0].encrypt is False


@pytest.mark.parametrize(
    "url",
    [
        "smb://w@files", "smb:///certs", "smb://w@files/certs/../x", "smb://w@files/certs/a%2fb",
        "smb://w@files:x/certs", "smb://w@files/certs?encryption=no", "smb://w@files/certs/%5c",
        "smb://w@files/certs?x=1", "http://files/certs", "smb://w@files/a%5cb",
    ],
)  # fmt: skip
def test_other_smb_addresses_are_refused(url: str) -> None:
    with pytest.raises(ConfigError):
        parse_address(url, WHO)


def test_a_password_in_an_address_is_refused_and_not_repeated() -> None:
    for url in ("smb://w:hunter2@files/certs", "s3://id:hunter2@certs/x"):
        with pytest.raises(ConfigError) as caught:
            parse_address(url, None) if url[1] == "m" else BucketStore.from_url(url, None)
        assert "hunter2" not in str(caught.value)


def test_no_repr_shows_the_password() -> None:
    login, _ = parse_address("smb://w@files/certs", WHO)
    assert "hunter2" not in repr(login)


@pytest.mark.parametrize("url", ["s3://", "s3://b/../x", "s4://b", "s3://b?x=1", "s3://b/a//../c"])
def test_other_bucket_addresses_are_refused(url: str) -> None:
    with pytest.raises(ConfigError):
        BucketStore.from_url(url, None)


@pytest.mark.parametrize("endpoint", ["http://files.example", "ftp://127.0.0.1", "files:9000"])
def test_keys_travel_to_an_endpoint_by_https_only(endpoint: str) -> None:
    with pytest.raises(ConfigError, match="https"):
        BucketStore.from_url("s3://b/x", StoreCredentials("id", Secret("s"), endpoint))
