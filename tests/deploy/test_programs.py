"""Tasks that run programs: arguments as they are, JSON on stdin, no secret shown, ended in time."""

from __future__ import annotations

import base64
import json
import os
import sys
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from certshelf.bundle.model import Bundle
from certshelf.deploy.powershell import BOOTSTRAP, PowerShell, powershell_command
from certshelf.deploy.process import run_program
from certshelf.deploy.script import Script
from certshelf.deploy.service import Service
from certshelf.deploy.wait import Wait
from certshelf.errors import ConfigError, DeployError
from certshelf.secret import Secret
from tests.support.clock import FakeClock
from tests.support.processes import wait_until
from tests.support.standins import PWSH, StandIns
from tests.support.tasks import LEAF, context

pytestmark = pytest.mark.skipif(os.name != "posix", reason="the stand-ins are scripts of Unix")
HOSTILE = ["';calc;'", "$(touch pwned)", "`touch pwned`", "a\nb", "\u2019; rm -rf /", '"', "*", ""]


@pytest.fixture
def standins(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[StandIns]:
    running = StandIns(tmp_path / "bin", monkeypatch)
    yield running
    running.stop()


def script(folder: Path, code: str, *arguments: str, **settings: Any) -> Script:
    (folder / "script.py").write_text(code)
    command = [sys.executable, str(folder / "script.py"), *arguments]
    return Script.parse({"command": command, **settings})


def is_running(pid: int) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except OSError:
        return False


def test_arguments_arrive_as_they_are_and_no_shell_reads_them(tmp_path: Path) -> None:
    code = "import sys, json; print(json.dumps(sys.argv[1:]))"
    outcome = script(tmp_path, code, *HOSTILE).run(context())
    assert json.loads(outcome.log.splitlines()[-1]) == HOSTILE
    assert not (tmp_path / "pwned").exists()


def test_it_is_told_the_facts_and_the_chain_but_no_key(tmp_path: Path) -> None:
    code = "import sys, shutil; shutil.copyfileobj(sys.stdin, open(sys.argv[1], 'w'))"
    told = tmp_path / "told.json"
    assert script(tmp_path, code, str(told)).run(context()).ok
    document = json.loads(told.read_text())
    assert document["thumbprint_sha256"] == LEAF.sha256
    assert document["chain"].startswith("-----BEGIN CERTIFICATE")
    assert document["private_key"] is None
    assert script(tmp_path, code, str(told), include_key=True).run(context()).ok
    document = json.loads(told.read_text())
    assert Bundle.from_pem((document["private_key"] + document["chain"]).encode()) == LEAF


def test_what_it_says_is_kept_without_secrets(tmp_path: Path) -> None:
    code = "import sys; t = sys.stdin.read(); print(t); print(t.replace('\\\\n', chr(10)))"
    canary = "login-canary-8K"
    task = script(tmp_path, code, include_key=True)
    outcome = task.run(context(login=("me", canary)))
    assert canary not in outcome.log
    assert "PRIVATE KEY-----" not in outcome.log
    assert LEAF.thumbprint in outcome.log


def test_no_secret_of_ours_is_in_its_environment(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("CREDENTIALS_DIRECTORY", "/run/credentials/x")
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "canary")
    outcome = script(tmp_path, "import os; print(sorted(os.environ))").run(context())
    for name in ("CERTSHELF_HOME", "CREDENTIALS_DIRECTORY", "AWS_SECRET_ACCESS_KEY"):
        assert name not in outcome.log
    assert "PATH" in outcome.log


def test_another_status_than_0_is_a_failure_with_what_it_said(tmp_path: Path) -> None:
    code = "import sys; print('first'); sys.exit('the last word')"
    with pytest.raises(DeployError, match="status 1: the last word") as caught:
        script(tmp_path, code).run(context())
    assert "first" in caught.value.output


def test_a_program_that_hangs_is_ended_with_all_that_it_started(tmp_path: Path) -> None:
    code = (
        "import os, signal, subprocess, sys, time\n"
        "signal.signal(signal.SIGTERM, signal.SIG_IGN)\n"
        "child = subprocess.Popen([sys.executable, '-c', 'import time; time.sleep(600)'])\n"
        f"open({str(tmp_path / 'pids')!r}, 'w').write(f'{{os.getpid()}} {{child.pid}}')\n"
        "print('hanging', flush=True)\n"
        "time.sleep(600)\n"
    )
    with pytest.raises(DeployError, match="was not done") as caught:
        script(tmp_path, code).run(context(seconds=2))
    assert "hanging" in caught.value.output
    for pid in map(int, (tmp_path / "pids").read_text().split()):
        wait_until(lambda pid=pid: not is_running(pid), f"process {pid} has ended")


def test_endless_output_is_bounded_and_cannot_block_it(tmp_path: Path) -> None:
    code = "import sys\nfor i in range(60_000): print('x' * 20, i)\nprint('end')"
    outcome = script(tmp_path, code).run(context())
    assert outcome.log.endswith("end\n")
    assert len(outcome.log) < 70_000


def test_a_process_left_behind_does_not_hold_the_task_up(tmp_path: Path) -> None:
    code = (
        "import subprocess, sys\n"
        "child = subprocess.Popen([sys.executable, '-c', 'import time; time.sleep(30)'])\n"
        "print(child.pid, flush=True)"
    )
    outcome = script(tmp_path, code).run(context(seconds=15))
    pid = int(outcome.log.split()[-1])
    os.kill(pid, 9)


@pytest.mark.parametrize("command", [[], ["ls"], ["bin/x"], "ls -l", [1]])
def test_a_program_without_its_whole_path_is_refused(command: object) -> None:
    with pytest.raises(ConfigError):
        Script.parse({"command": command})


def test_what_cannot_be_started_says_so(tmp_path: Path) -> None:
    with pytest.raises(DeployError, match="cannot read"):
        Script.parse({"command": str(tmp_path / "missing")}).run(context())
    (tmp_path / "plain").write_text("no program")
    with pytest.raises(DeployError, match="cannot start"):
        Script.parse({"command": str(tmp_path / "plain")}).run(context())


def test_a_short_secret_does_not_blacken_the_log(tmp_path: Path) -> None:
    said = run_program([sys.executable, "-c", "print('aaa')"], context(), secrets=[Secret("a")])
    assert said == "aaa\n"


# --- powershell


def test_powershell_gets_typed_values_as_json_and_the_same_code_each_time(
    tmp_path: Path, standins: StandIns
) -> None:
    standins.program("pwsh", PWSH)
    file = tmp_path / "bind it.ps1"
    file.write_text("param($Site, $Count, $Force, $Names)")
    values = {"Site": "'; calc; \u2019$(x)`", "Count": 3, "Force": True, "Names": ["a", "b"]}
    task = PowerShell.parse({"script": str(file), "parameters": values})
    assert task.run(context(login=("me", "ps-canary"))).ok
    seen = json.loads((standins.folder / "seen.json").read_text())
    assert seen["code"] == BOOTSTRAP
    assert seen["told"]["parameters"] == values
    assert seen["told"]["script"] == str(file)
    assert seen["told"]["login"] == {"username": "me", "secret": "ps-canary"}
    assert BOOTSTRAP.isascii()


def test_no_value_is_in_the_argument_list_of_powershell(standins: StandIns) -> None:
    standins.program("pwsh", PWSH)
    *_, encoded = powershell_command(BOOTSTRAP)
    assert base64.b64decode(encoded).decode("utf-16-le") == BOOTSTRAP


@pytest.mark.parametrize(
    "settings",
    [
        {"script": "x.ps1"},
        {"script": "/x.sh"},
        {"script": "/x.ps1", "parameters": {"a b": 1}},
        {"script": "/x.ps1", "parameters": {"$x": 1}},
        {"script": "/x.ps1", "parameters": {"x": {"nested": 1}}},
        {"script": "/x.ps1", "parameters": "x"},
    ],
)
def test_what_powershell_cannot_be_given_is_refused(settings: dict[str, object]) -> None:
    with pytest.raises(ConfigError):
        PowerShell.parse(settings)


def test_without_powershell_the_task_says_so(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "x.ps1").write_text("")
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(DeployError, match="no PowerShell"):
        PowerShell.parse({"script": str(tmp_path / "x.ps1")}).run(context())


# --- service


def test_a_service_is_reloaded_and_seen_to_run(standins: StandIns) -> None:
    folder = standins.unit("web.service", "starts")
    assert Service.parse({"name": "web.service"}).run(context()).ok
    assert (folder / "asked").read_text().split() == ["reload", "is-active"]
    assert is_running(int((folder / "pid").read_text()))


@pytest.mark.parametrize(
    ("how", "said"), [("fails", "control process exited"), ("dies", "does not run after restart")]
)
def test_a_service_that_does_not_come_up_is_a_failure(
    standins: StandIns, how: str, said: str
) -> None:
    standins.unit("web", how)
    outcome = Service.parse({"name": "web", "action": "restart"}).run(context())
    assert said in str(outcome.error)
    assert [str(one) for one in outcome.stale] == ["what it has loaded on service web"]


def test_a_systemctl_that_hangs_is_ended(standins: StandIns) -> None:
    standins.unit("web", "hangs")
    outcome = Service.parse({"name": "web"}).run(context(seconds=1))
    assert "was not done" in str(outcome.error)


def test_a_unit_that_is_not_there_is_found_by_preview(standins: StandIns) -> None:
    standins.unit("web", "starts")
    with pytest.raises(DeployError, match="not found"):
        Service.parse({"name": "other"}).preview(context())


@pytest.mark.parametrize("name", ["", "-H", "--now", "a;b", "a\nb", "../x", "x" * 300])
def test_a_name_of_no_unit_is_refused(name: str) -> None:
    with pytest.raises(ConfigError):
        Service.parse({"name": name})


# --- wait


def test_wait_lets_time_pass_and_never_longer_than_it_has() -> None:
    clock = FakeClock()
    assert Wait.parse({"seconds": "30"}).run(replace(context(clock=clock), ends_at=60.0)).ok
    assert clock.monotonic() == 30
    with pytest.raises(DeployError, match="does not fit"):
        Wait.parse({"seconds": 30}).run(replace(context(clock=clock), ends_at=40.0))
