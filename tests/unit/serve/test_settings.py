"""The reader's settings: flags, the file with the same keys, secrets and who may ask."""

from __future__ import annotations

import io
import json
import os
from pathlib import Path

import pytest
from tests.support.clock import FakeClock
from tests.support.small_ca import SmallCa

from certshelf.errors import CertshelfError, ConfigError
from certshelf.names import HostName
from certshelf.serve import path_secret
from certshelf.serve.configure import TEXTS, configure
from certshelf.serve.log import LINES_PER_SECOND, ReaderLog
from certshelf.serve.nginx import plain
from certshelf.serve.peers import allowed_uids
from certshelf.serve.reader_settings import (
    read_names,
    read_old_passwords,
    read_password,
    read_settings,
)
from certshelf.serve.setup import Setup, split_address


def test_a_file_gives_the_same_keys_and_the_command_line_wins(tmp_path: Path) -> None:
    config = tmp_path / "reader.toml"
    config.write_text(
        'shelf = "/srv/shelf"\nhttp = ["unix:/run/a.sock", "127.0.0.1:8999"]\n'
        "mirror-lazily = true\nmirror = '/run/mirror'\npoll = 5\n"
    )
    settings, check = read_settings("x", ["--config", str(config), "--shelf", "/other", "--check"])
    assert settings.shelf == "/other"
    assert settings.http == ("unix:/run/a.sock", "127.0.0.1:8999")
    assert settings.mirror_lazily and settings.poll_s == 5.0
    assert check


@pytest.mark.parametrize("text", ["shelves = 'x'", "shelf = ", "config = 'x'", "shelf = {}"])
def test_a_file_with_a_mistake_is_refused_with_its_name(tmp_path: Path, text: str) -> None:
    config = tmp_path / "reader.toml"
    config.write_text(text)
    with pytest.raises(ConfigError, match=r"reader\.toml"):
        read_settings("x", ["--config", str(config)])


@pytest.mark.parametrize(
    "words",
    [
        [],
        ["--shelf", "s", "--haproxy", "unix:/run/h.sock"],
        ["--shelf", "s", "--mirror", "m", "--mirror-lazily"],
        ["--shelf", "s", "--mirror", "m", "--mirror-mode", "0644"],
        ["--shelf", "s", "--envoy", "127.0.0.1:80"],
        ["--shelf", "s", "--store-username", "me"],
    ],
)
def test_flags_that_make_no_sense_are_refused(words: list[str]) -> None:
    with pytest.raises(ConfigError) as refused:
        read_settings("x", words)
    assert str(refused.value)


def test_a_password_is_the_first_line_without_its_end(tmp_path: Path) -> None:
    path = tmp_path / "password"
    path.write_bytes("pässword \r\nsecond".encode())
    password = read_password(path)
    assert password is not None and password.reveal() == "pässword "
    path.write_text("\n")
    with pytest.raises(ConfigError, match="empty"):
        read_password(path)


def test_a_file_of_names_allows_these_and_what_its_wildcards_cover(tmp_path: Path) -> None:
    path = tmp_path / "names"
    path.write_text("# ours\nWWW.One.test\n*.wild.test # all below\n\nbücher.test\n")
    allows = read_names(path)
    assert allows is not None
    told = {
        name: allows(HostName.parse(name)) for name in ("www.one.test", "a.wild.test", "x.test")
    }
    assert told == {"www.one.test": True, "a.wild.test": True, "x.test": False}
    assert allows(HostName.parse("*.wild.test"))
    path.write_text("ok.test\nno name\n")
    with pytest.raises(ConfigError, match="line 2"):
        read_names(path)


def test_a_secret_path_is_made_once_and_is_ours_alone(tmp_path: Path) -> None:
    path = tmp_path / "http-path"
    made = path_secret.read_or_make(path)
    assert path_secret.read_or_make(path) == made
    if os.name == "posix":
        assert path.stat().st_mode & 0o777 == 0o600
        path.chmod(0o644)
        with pytest.raises(ConfigError, match="others can read"):
            path_secret.read_or_make(path)


def test_a_file_that_holds_no_secret_path_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "http-path"
    path.write_text("short")
    path.chmod(0o600)
    with pytest.raises(ConfigError):
        path_secret.read(path)


@pytest.mark.skipif(os.name != "posix", reason="users are POSIX's")
def test_who_may_ask_is_this_user_and_those_named() -> None:
    assert allowed_uids([]) == {0, os.geteuid()}
    with pytest.raises(CertshelfError):
        allowed_uids(["no such user here"])


@pytest.mark.parametrize("address", ["443", ":0", ":99999", "host:", "a b:80", "x;y:80", "a\n:80"])
def test_no_address_gets_into_a_configuration(address: str) -> None:
    with pytest.raises(ConfigError):
        split_address(address)
    with pytest.raises(ConfigError):
        Setup(listen=address)


@pytest.mark.parametrize("path", ["/a b", "/a;b", '/a"b', "/a$b", "/a\nb", "/a{b}"])
def test_no_path_breaks_out_of_a_configuration(path: str) -> None:
    with pytest.raises(ConfigError):
        Setup(mirror=Path(path))


@pytest.mark.parametrize("kind", sorted(TEXTS))
def test_every_kind_of_server_has_its_text(kind: str) -> None:
    setup = Setup(http_url="http://127.0.0.1:8999/secret", listen="127.0.0.1:8443")
    assert "8443" in configure(kind, setup)


def test_plain_nginx_keeps_the_order_of_the_lookup_rule() -> None:
    hosts = tuple(HostName.parse(n) for n in ("a.wild.test", "*.wild.test", "other.test"))
    text = plain(Setup(hosts=hosts))
    exact, wild, rest = (text.index(x) for x in ('wild\\.test$" a.', "_.wild.test;", "?<certs"))
    assert exact < wild < rest
    assert "other" not in text


def test_a_line_of_the_log_cannot_be_forged() -> None:
    out = io.StringIO()
    log = ReaderLog(out, FakeClock())
    log.handout("http", 'x\n{"event": "forged"}\x1b[31m', SmallCa().issue("a.test"), "uid 1")
    (line,) = out.getvalue().splitlines()
    assert line.isprintable()
    assert json.loads(line)["event"] == "key-handed-out"


def test_hand_outs_are_logged_at_a_bounded_rate_and_counted() -> None:
    out, clock = io.StringIO(), FakeClock()
    log = ReaderLog(out, clock)
    bundle = SmallCa().issue("a.test")
    for _ in range(LINES_PER_SECOND + 30):
        log.handout("http", "a.test", bundle)
    clock.advance(1.0)
    log.handout("http", "a.test", bundle)
    lines = [json.loads(line) for line in out.getvalue().splitlines()]
    assert len(lines) == LINES_PER_SECOND + 1
    assert lines[-1]["suppressed"] == 30


def test_strangers_that_knock_do_not_fill_the_log() -> None:
    out, clock = io.StringIO(), FakeClock()
    log = ReaderLog(out, clock)
    for _ in range(LINES_PER_SECOND + 30):
        log.refused("http", "uid 65534")
    log.handout("http", "a.test", SmallCa().issue("a.test"))  # is not held back by them
    clock.advance(1.0)
    log.refused("http", "uid 65534")
    lines = [json.loads(line) for line in out.getvalue().splitlines()]
    assert [line["event"] for line in lines].count("refused") == LINES_PER_SECOND + 1
    assert lines[-2]["event"] == "key-handed-out"
    assert lines[-1]["suppressed"] == 30


def test_further_lines_of_the_password_file_are_older_passwords(tmp_path: Path) -> None:
    path = tmp_path / "passwords"
    path.write_text("the new one\nthe old one\n\n")
    newest = read_password(path)
    assert newest and newest.reveal() == "the new one"
    assert [old.reveal() for old in read_old_passwords(path) if old] == ["the old one"]
    assert read_old_passwords(None) == ()
