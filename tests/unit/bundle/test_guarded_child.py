"""The child process that opens PFX files: kept, killed, started again, gone with its parent."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest
from tests.support.blind import blind_children
from tests.support.bundles import make_bundle
from tests.support.tls_probe import wait_until

from certshelf.bundle import pfx
from certshelf.bundle.guarded import GuardedChild
from certshelf.bundle.keys import generate
from certshelf.errors import PfxError, PfxHostile, PfxPasswordWrong
from certshelf.secret import Secret

pytestmark = pytest.mark.slow

GOLDEN = Path(__file__).parents[2] / "golden" / "pfx"
PASSWORD = Secret("golden")
BOMB = (GOLDEN / "bomb-inside.pfx").read_bytes()
on_linux = pytest.mark.skipif(not sys.platform.startswith("linux"), reason="reads /proc")


@pytest.fixture(autouse=True)
def blind(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    blind_children(monkeypatch, tmp_path)


@pytest.fixture
def child() -> Iterator[GuardedChild]:
    child = GuardedChild(timeout_s=2)
    yield child
    child.close()


def is_running(pid: int) -> bool:
    try:
        stat = Path(f"/proc/{pid}/stat").read_text()
    except (FileNotFoundError, ProcessLookupError):
        return False
    return stat.rpartition(")")[2].split()[0] != "Z"


def test_one_process_opens_many_files(child: GuardedChild) -> None:
    for key in ("ecdsa-p256", "rsa-2048"):
        bundle = make_bundle("a.test", key=generate(key))
        data = pfx.encode(bundle, PASSWORD)
        assert child.decode(data, PASSWORD) == bundle
        first = child.pid
        with pytest.raises(PfxPasswordWrong):
            child.decode(data, Secret("other"))
        assert child.decode(data, PASSWORD) == bundle
        assert child.pid == first


def test_after_a_file_without_end_another_process_opens_the_next(child: GuardedChild) -> None:
    bundle = make_bundle("a.test")
    data = pfx.encode(bundle, PASSWORD)
    assert child.decode(data, PASSWORD) == bundle
    first = child.pid
    with pytest.raises(PfxHostile, match="not read within 2 s"):
        child.decode(BOMB, PASSWORD)
    assert child.decode(data, PASSWORD) == bundle
    assert child.pid != first


def test_a_deadline_is_told_though_the_end_of_the_child_is_seen_first(
    child: GuardedChild, monkeypatch: pytest.MonkeyPatch
) -> None:
    seen, kill, end = threading.Event(), subprocess.Popen.kill, GuardedChild._end
    ends: list[int | None] = []

    def slow_kill(process: subprocess.Popen[bytes]) -> None:
        kill(process)
        seen.wait(20)

    def noted_end(child: GuardedChild) -> None:
        ends.append(child.pid)
        seen.set()
        end(child)

    monkeypatch.setattr(subprocess.Popen, "kill", slow_kill)
    monkeypatch.setattr(GuardedChild, "_end", noted_end)
    with pytest.raises(PfxHostile, match="not read within 2 s"):
        child.decode(BOMB, PASSWORD)
    assert len(ends) == 1  # it is not opened a second time


def test_the_limit_of_cpu_is_for_each_file_anew() -> None:
    if not hasattr(signal, "SIGXCPU"):
        pytest.skip("this system limits no process's CPU")
    child = GuardedChild(timeout_s=100)
    data = pfx.encode(make_bundle("a.test"), PASSWORD, rounds=300_000)
    try:
        for _ in range(60):  # together more than one file may use
            child.decode(data, PASSWORD)
        first = child.pid
        with pytest.raises(PfxHostile, match="4 s of CPU"):
            child.decode(BOMB, PASSWORD)
        child.decode(data, PASSWORD)
        assert child.pid != first
    finally:
        child.close()


@on_linux
def test_an_idle_process_that_somebody_ended_is_started_again(child: GuardedChild) -> None:
    bundle = make_bundle("a.test")
    data = pfx.encode(bundle, PASSWORD)
    child.decode(data, PASSWORD)
    assert child.pid is not None
    os.kill(child.pid, signal.SIGKILL)
    assert wait_until(lambda: not is_running(child.pid or 0))
    assert child.decode(data, PASSWORD) == bundle


@on_linux
def test_the_password_is_neither_in_its_arguments_nor_in_its_environment(
    child: GuardedChild,
) -> None:
    secret = Secret("a-canary-of-a-password")
    child.decode(pfx.encode(make_bundle("a.test"), secret), secret)
    for what in ("cmdline", "environ"):
        assert b"canary" not in Path(f"/proc/{child.pid}/{what}").read_bytes()


def test_closing_gives_up_the_file_that_is_being_opened() -> None:
    child = GuardedChild(timeout_s=100)
    seen: list[Exception] = []

    def decode() -> None:
        try:
            child.decode(BOMB, PASSWORD)
        except PfxError as error:
            seen.append(error)

    thread = threading.Thread(target=decode)
    thread.start()
    assert wait_until(lambda: child.pid is not None)
    child.close()
    thread.join(20)
    assert seen and child.pid is None


@on_linux
@pytest.mark.parametrize("file", ["modern", "bomb-inside"])
def test_it_ends_with_its_parent(file: str) -> None:
    program = (
        "import sys, threading\n"
        "from pathlib import Path\n"
        "from certshelf.bundle.guarded import GuardedChild\n"
        "from certshelf.secret import Secret\n"
        "child = GuardedChild(timeout_s=1)\n"
        "data = Path(sys.argv[1]).read_bytes()\n"
        "threading.Thread(target=child.decode, args=(data, Secret('golden'))).start()\n"
        "while child.pid is None: pass\n"
        "print(child.pid, flush=True)\n"
        "sys.stdin.read()\n"
    )
    command = [sys.executable, "-c", program, str(GOLDEN / f"{file}.pfx")]
    parent = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE)
    assert parent.stdin is not None and parent.stdout is not None
    try:
        pid = int(parent.stdout.readline())
        parent.kill()
        parent.wait(20)
        assert wait_until(lambda: not is_running(pid), 30)
    finally:
        parent.kill()
        parent.stdin.close()
        parent.stdout.close()
