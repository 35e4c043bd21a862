"""The commands about ACME issuers as a user types them, against a real Pebble."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from certshelf.cli.main import run
from tests.support.homes import make_home
from tests.support.pebble import EAB_KEY, EAB_KID, Pebble, pebble

pytestmark = [pytest.mark.slow, pytest.mark.timeout(90)]
Say = Callable[..., str]


@pytest.fixture(scope="module")
def ca(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Pebble]:
    with pebble(tmp_path_factory.mktemp("pebble"), eab=True) as running:
        yield running


@pytest.fixture
def say(tmp_path: Path, ca: Pebble, capsys: pytest.CaptureFixture[str]) -> Say:
    """A home with the issuer `pebble`, and a function that runs a command and gives its output."""
    home = make_home(tmp_path)
    (tmp_path / "eab").write_text(EAB_KEY + "\n")

    def say(*words: str, status: int = 0) -> str:
        capsys.readouterr()
        assert run(["--home", str(home.path), *words]) == status, capsys.readouterr().err
        return capsys.readouterr().out

    options = ["--ca-file", str(ca.ca_file), "--email", "a@example.com", "--poll-interval", "0.1"]
    options += ["--eab-kid", EAB_KID, "--eab-key-file", str(tmp_path / "eab")]
    say("issuer", "add", "pebble", "--acme", ca.directory_url, *options)
    return say


def add(say: Say, ca: Pebble, *names: str) -> None:
    for name in names:
        port = str(ca.http_port)
        options = ["--issuer", "pebble", "--challenge", "http-01", "--http-port", port]
        say("cert", "add", name, *options)


def test_one_request_prints_one_object_and_several_a_list(say: Say, ca: Pebble) -> None:
    add(say, ca, "a.test", "b.test", "c.test")
    one = json.loads(say("cert", "request", "a.test", "--json"))
    assert (one["name"], one["ok"], one["outcome"]) == ("a.test", True, "issued")
    assert [file["file"] for file in one["files"]] == ["a.test.pfx"]
    due = json.loads(say("cert", "request", "--due", "--json"))
    assert {run["name"] for run in due} == {"b.test", "c.test"}
    every = json.loads(say("cert", "request", "--all", "--json"))
    assert {(run["name"], run["outcome"]) for run in every} == {
        ("a.test", "not due"),
        ("b.test", "not due"),
        ("c.test", "not due"),
    }


def test_a_revoked_certificate_is_issued_anew_when_it_is_asked_for(say: Say, ca: Pebble) -> None:
    add(say, ca, "a.test")
    first = json.loads(say("cert", "request", "a.test", "--json"))
    say("cert", "revoke", "a.test", "--reason", "keyCompromise")
    assert json.loads(say("cert", "show", "a.test", "--json"))["state"] == "revoked"
    assert json.loads(say("cert", "request", "--due", "--json")) == []
    second = json.loads(say("cert", "request", "a.test", "--json"))
    assert second["outcome"] == "issued"
    assert second["serial"] != first["serial"]


def test_a_rolled_key_changes_the_thumbprint_and_the_rule(say: Say, ca: Pebble) -> None:
    account = json.loads(say("issuer", "test", "pebble", "--json"))
    rule = ("configure", "http-01", "--server", "nginx", "--issuer", "pebble")
    assert account["thumbprint"] in say(*rule)
    say("issuer", "rollover-key", "pebble")
    shown = json.loads(say("issuer", "show", "pebble", "--json"))
    assert shown["account"] == account["account"]
    assert shown["thumbprint"] != account["thumbprint"]
    assert shown["thumbprint"] in say(*rule)
    add(say, ca, "a.test")
    say("cert", "request", "a.test")


def test_an_issuer_in_use_stays_and_a_closed_account_says_so(say: Say, ca: Pebble) -> None:
    add(say, ca, "a.test")
    say("issuer", "rm", "pebble", status=1)
    say("issuer", "test", "pebble")
    say("issuer", "deactivate", "pebble", "--yes")
    say("cert", "request", "a.test", status=1)
    say("cert", "rm", "a.test")
    say("issuer", "rm", "pebble")
    assert [one["name"] for one in json.loads(say("issuer", "ls", "--json"))] == ["local"]
