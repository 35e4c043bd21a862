"""Places that others may write, and addresses that would carry a password in clear."""

from __future__ import annotations

import asyncio
import os
import secrets
from pathlib import Path

import pytest

from certshelf.challenge import HTTP01_PREFIX, Challenge
from certshelf.errors import ChallengeFailed, ConfigError
from certshelf.issue.solve.dns.acmedns import AcmeDns, AcmeDnsAccount
from certshelf.issue.solve.http01 import Webroot
from certshelf.secret import Secret

TOKEN = "t" * 43
SHOWN = Challenge("http-01", "a.test", TOKEN, f"{TOKEN}.thumb")


@pytest.mark.skipif(os.name != "posix", reason="links and modes are POSIX's")
@pytest.mark.parametrize("name", [".guessed.tmp", f".{TOKEN}.tmp", TOKEN])
def test_a_link_that_is_planted_in_the_webroot_is_not_followed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    monkeypatch.setattr(secrets, "token_hex", lambda _: "guessed")
    canary, folder = tmp_path / "canary", tmp_path / "www" / HTTP01_PREFIX.strip("/")
    canary.write_text("untouched")
    canary.chmod(0o600)
    folder.mkdir(parents=True)
    (folder / name).symlink_to(canary)
    try:
        asyncio.run(Webroot(tmp_path / "www").present(SHOWN))
    except ChallengeFailed:
        assert name == ".guessed.tmp"
    assert canary.read_text() == "untouched"
    assert canary.stat().st_mode & 0o777 == 0o600


@pytest.mark.skipif(os.name != "posix", reason="modes are POSIX's")
def test_the_web_server_may_read_the_token_whatever_the_umask(tmp_path: Path) -> None:
    before = os.umask(0o077)
    try:
        asyncio.run(Webroot(tmp_path).present(SHOWN))
    finally:
        os.umask(before)
    assert (tmp_path / HTTP01_PREFIX.strip("/") / TOKEN).stat().st_mode & 0o777 == 0o644


@pytest.mark.parametrize("url", ["http://acme-dns.test", "ftp://x", "", "http://10.0.0.1:80"])
def test_an_acme_dns_password_does_not_travel_in_clear(url: str) -> None:
    with pytest.raises(ConfigError, match="https"):
        AcmeDns(AcmeDnsAccount(url, "user", Secret("password"), "abcd"))


def test_acme_dns_on_this_machine_may_be_plain() -> None:
    AcmeDns(AcmeDnsAccount("http://127.0.0.1:8080", "user", Secret("password"), "abcd"))
