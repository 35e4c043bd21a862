"""`iis apply` and `iis status` through the real pypsrp, over TLS, SPNEGO and NTLM.

The other side is tests/support/winrm_peer.py, written after Microsoft's published protocols. It
never met Windows, and nothing here shows how a Windows server answers.
"""

from __future__ import annotations

import base64
import json
import logging
import socket
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

pytest.importorskip("pypsrp")

from certshelf.errors import DeployError
from certshelf.iis.apply import apply
from certshelf.iis.remote import Remote
from certshelf.secret import Secret
from tests.doctor.real_farm import Cli
from tests.support.winrm_peer import (
    LOGIN,
    USER,
    Answer,
    PsCredential,
    Run,
    SecureText,
    WinRmPeer,
    lines,
)

PFX_PASSWORD, READER_PASSWORD = "pfx-canary-7731", "reader-canary-9264"
SECRETS = (PFX_PASSWORD, READER_PASSWORD, LOGIN)
STATUS = {
    "format": 1,
    "server": "WEB1",
    "account": "FARM\\admin",
    "windows": "10.0.20348.0",
    "feature": True,
    "provider": {
        "enabled": True,
        "location": "\\\\files\\certs",
        "user": "FARM\\ccs",
        "has_password": True,
        "has_key_password": True,
        "polling": 300,
    },
    "http_sys": [{"kind": "ccs", "name": "443"}],
    "bindings": {"rows": []},
    "store": {"ok": True},
    "reader": None,
    "pfx": None,
}


class Server:
    """What the peer says next; a test sets it."""

    def __init__(self) -> None:
        self.next = Answer()

    def __call__(self, run: Run) -> Answer:
        return self.next


@pytest.fixture
def server() -> Server:
    return Server()


@pytest.fixture
def peer(tmp_path: Path, server: Server) -> Iterator[WinRmPeer]:
    with WinRmPeer(tmp_path, server) as running:
        yield running


@pytest.fixture
def cli(tmp_path: Path) -> Cli:
    for name, secret in (("pfx", PFX_PASSWORD), ("reader", READER_PASSWORD), ("login", LOGIN)):
        (tmp_path / name).write_text(secret)
    made = Cli(tmp_path / "home")
    made("init", "--store", tmp_path / "shelf", "--password-file", tmp_path / "pfx")
    return made


PLAN = ("--store", r"\\files\certs", "--reader", r"FARM\ccs", "--bind", "Shop=www.example.com")


def login(peer: WinRmPeer, folder: Path) -> tuple[object, ...]:
    words = ("--user", USER, "--password-file", folder / "login")
    return (*words, "--port", peer.port, "--ca-file", peer.ca_file)


def applied(cli: Cli, peer: WinRmPeer, folder: Path, *more: object, status: int = 0) -> str:
    words = ("iis", "apply", "127.0.0.1", *PLAN, "--reader-password-file", folder / "reader")
    return cli(*words, *login(peer, folder), *more, status=status)


def events(cli: Cli) -> list[dict[str, Any]]:
    found = [json.loads(line) for line in cli("events", "--json").splitlines()]
    return [event for event in found if event["kind"] == "iis.applied"]


def remote(peer: WinRmPeer, **more: Any) -> Remote:
    return Remote(
        "127.0.0.1", USER, Secret(LOGIN), port=peer.port, ca_file=str(peer.ca_file), **more
    )


def failure(where: Remote, script: str = "Get-Date") -> DeployError:
    with pytest.raises(DeployError) as caught:
        apply(where, script, {}, lambda stream, line: None)
    shown = f"{caught.value} {caught.value.hint} {caught.value.output}"
    assert not [secret for secret in SECRETS if secret in shown]
    return caught.value


def test_the_plan_runs_there_with_its_secrets_as_secure_strings(
    cli: Cli, peer: WinRmPeer, server: Server, tmp_path: Path
) -> None:
    server.next = Answer((("output", "feature there"), ("warning", "a restart is needed")))
    applied(cli, peer, tmp_path)
    (run,) = peer.runs
    assert run.script == cli("iis", "plan", "127.0.0.1", *PLAN)
    assert run.parameters == {
        "ShareCredential": PsCredential(r"FARM\ccs", SecureText(READER_PASSWORD)),
        "PfxPassword": SecureText(PFX_PASSWORD),
    }
    (event,) = events(cli)
    assert event["data"]["transcript"] == ["output: feature there", "warning: a restart is needed"]
    assert event["data"]["error"] == ""
    assert peer.actions[-1] == "Delete"


def test_no_secret_is_on_the_wire_in_the_log_or_in_the_events(
    cli: Cli,
    peer: WinRmPeer,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    caplog: pytest.LogCaptureFixture,
) -> None:
    with caplog.at_level(logging.DEBUG, "certshelf"):
        applied(cli, peer, tmp_path)
    said = capsys.readouterr()
    home = b"".join(f.read_bytes() for f in (tmp_path / "home").rglob("*") if f.is_file())
    told = f"{said.out}{said.err}{caplog.text}{json.dumps(events(cli))}".encode()
    for secret in SECRETS:
        for encoding in ("utf-8", "utf-16-le"):
            plain = secret.encode(encoding)
            for shape in (plain, base64.b64encode(plain)):
                assert shape not in peer.seen
                assert shape not in told + home


def test_a_server_of_a_group_gets_the_password_of_its_groups_shelf(
    cli: Cli, peer: WinRmPeer, tmp_path: Path
) -> None:
    (tmp_path / "edge").mkdir()
    (tmp_path / "edge-pfx").write_text("edge-canary-3108")
    cli("credential", "set", "edge-pfx", "--password-file", tmp_path / "edge-pfx")
    words = ("--store", tmp_path / "edge", "--password-credential", "edge-pfx")
    cli("group", "add", "edge", *words)
    cli("member", "add", "web1", f"127.0.0.1:{peer.port}", "--kind", "iis", "--group", "edge")
    applied(cli, peer, tmp_path)
    assert peer.runs[0].parameters["PfxPassword"] == SecureText("edge-canary-3108")


def test_what_if_sends_no_secret_and_says_that_nothing_changed(
    cli: Cli, peer: WinRmPeer, tmp_path: Path
) -> None:
    words = ("iis", "apply", "127.0.0.1", *PLAN, "--what-if", *login(peer, tmp_path))
    assert "nothing was changed" in cli(*words)
    assert [run.parameters for run in peer.runs] == [{"WhatIf": True}]


def test_a_script_that_fails_is_an_error_with_its_last_words(
    cli: Cli, peer: WinRmPeer, server: Server, tmp_path: Path
) -> None:
    said = (("output", "feature there"), ("error", "no such site: Shop"))
    server.next = Answer(said, "failed", "netsh could not add <ccs>")
    applied(cli, peer, tmp_path, status=1)
    (event,) = events(cli)
    assert "netsh could not add <ccs>" in event["data"]["error"]
    assert "error: no such site: Shop" in event["data"]["transcript"]


def test_the_status_is_read_back(cli: Cli, peer: WinRmPeer, server: Server, tmp_path: Path) -> None:
    words = ("iis", "status", "127.0.0.1", *login(peer, tmp_path))
    server.next = Answer((("output", json.dumps(STATUS, indent=4).replace("\n", "\r\n")),))
    assert "Windows build 20348  central store on" in cli(*words, "--store", r"\\files\certs")
    assert "#Requires" in peer.runs[0].script
    server.next = Answer(tuple(lines(json.dumps(STATUS | {"feature": False}, indent=4))))
    (finding,) = json.loads(cli(*words, "--json", status=1))
    assert finding["id"] == "iis-feature"


def test_a_refused_login_is_told_from_a_server_that_is_not_there(
    cli: Cli, peer: WinRmPeer, tmp_path: Path
) -> None:
    (tmp_path / "login").write_text("wrong")
    applied(cli, peer, tmp_path, status=1)
    assert f"refuses the account {USER}" in events(cli)[-1]["data"]["error"]
    assert peer.runs == []
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        applied(cli, peer, tmp_path, "--port", probe.getsockname()[1], status=1)
    assert "does not answer PowerShell Remoting" in events(cli)[-1]["data"]["error"]


def test_a_certificate_of_an_unknown_ca_is_refused_before_any_login(
    peer: WinRmPeer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("REQUESTS_CA_BUNDLE", raising=False)
    found = failure(Remote("127.0.0.1", USER, Secret(LOGIN), port=peer.port))
    assert "not trusted" in str(found)
    assert "--ca-file" in found.hint
    assert peer.seen == b""


@pytest.mark.slow
def test_a_script_that_does_not_end_is_stopped(peer: WinRmPeer, server: Server) -> None:
    server.next = Answer((("output", "begun"),), "runs on")
    found = failure(remote(peer, answer_seconds=1, script_seconds=1.5))
    assert "still ran on 127.0.0.1 after 2 s and was stopped" in str(found)
    assert peer.actions[-2:] == ["Signal", "Delete"]


def test_a_connection_that_is_cut_is_an_error(peer: WinRmPeer, server: Server) -> None:
    server.next = Answer((("output", "begun"),), "cut")
    assert "does not answer PowerShell Remoting" in str(failure(remote(peer)))


@pytest.mark.slow
def test_a_server_that_falls_silent_is_an_error(peer: WinRmPeer, server: Server) -> None:
    server.next = Answer((), "silent")
    assert "does not answer PowerShell Remoting" in str(failure(remote(peer, answer_seconds=1)))


@pytest.mark.slow
def test_lines_are_heard_while_the_script_runs(peer: WinRmPeer, server: Server) -> None:
    server.next = Answer((("output", "begun"), ("verbose", "step")), "runs on")
    heard: list[tuple[str, str]] = []
    with pytest.raises(DeployError):
        apply(
            remote(peer, answer_seconds=1, script_seconds=1.0),
            "Start-Sleep 1000",
            {},
            lambda stream, line: heard.append((stream, line)),
        )
    assert heard == [("output", "begun"), ("verbose", "step")]


def test_a_script_larger_than_an_envelope_arrives_whole(peer: WinRmPeer) -> None:
    script = "\n".join(f"Write-Output 'line {number} \u00fc \u2019'" for number in range(30_000))
    apply(remote(peer), script, {}, lambda stream, line: None)
    assert [run.script for run in peer.runs] == [script]
    assert peer.actions.count("Send") > 1


@pytest.mark.parametrize("value", ["a'b\r\n\x00_x0041_ü", 7, True, False, Secret("s'3\u2019cret")])
def test_each_kind_of_parameter_arrives_as_it_was(peer: WinRmPeer, value: Any) -> None:
    apply(remote(peer), "param($Value)", {"Value": value}, lambda stream, line: None)
    expected = SecureText(value.reveal()) if isinstance(value, Secret) else value
    assert peer.runs[0].parameters == {"Value": expected}


def test_an_answer_cannot_write_to_the_terminal(peer: WinRmPeer, server: Server) -> None:
    server.next = Answer((("output", "a\u001b]0;x\u0007b\u202ec"),))
    (line,) = apply(remote(peer), "x", {}, lambda stream, line: None)
    assert line.isprintable()


Break = Callable[[bytes], tuple[int, str] | None]
BROKEN: dict[str, Break] = {
    "no SOAP": lambda body: (200, "<html>"),
    "an empty body": lambda body: (200, ""),
    "a fault without a code": lambda body: (500, "<s>"),
    "an answer to somebody else": lambda body: (200, "<a><b/></a>"),
}


@pytest.mark.parametrize("how", BROKEN)
def test_a_broken_answer_is_one_of_our_errors(
    peer: WinRmPeer, how: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(peer, "respond", BROKEN[how])
    assert "does not answer PowerShell Remoting" in str(failure(remote(peer)))
