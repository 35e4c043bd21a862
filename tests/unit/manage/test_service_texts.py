"""What makes `certshelf run` a service: the unit of systemd and the script for Windows."""

from __future__ import annotations

import asyncio
import shutil
import subprocess
from pathlib import Path

import pytest
from tests.support.powershell import syntax_errors

from certshelf.errors import ConfigError
from certshelf.manage.service import windows
from certshelf.manage.service.http import status_server
from certshelf.manage.service.unit import unit, writable, write_unit
from certshelf.manage.settings import parse_settings

HOME = Path("/var/lib/certshelf")


def text(home: Path = HOME, user: str = "certshelf", folders: tuple[Path, ...] = ()) -> str:
    return unit(home, "/opt/certshelf/bin/python", user, folders, 60)


def test_systemd_understands_the_unit(tmp_path: Path) -> None:
    if not shutil.which("systemd-analyze"):
        pytest.skip("systemd-analyze is not installed")
    path = tmp_path / "certshelf.service"
    path.write_text(unit(HOME, shutil.which("python3") or "", "root", (Path("/srv/x y"),), 60))
    done = subprocess.run(
        ["systemd-analyze", "verify", path], capture_output=True, text=True, timeout=60, check=False
    )
    ours = [line for line in done.stderr.splitlines() if "certshelf" in line]
    assert (done.returncode, ours) == (0, []), done.stderr


def test_systemd_rates_the_hardening_of_the_unit_as_ok(tmp_path: Path) -> None:
    if not shutil.which("systemd-analyze"):
        pytest.skip("systemd-analyze is not installed")
    path = tmp_path / "certshelf.service"
    path.write_text(text())
    rate = ["systemd-analyze", "security", "--offline=true", "--threshold=25", str(path)]
    done = subprocess.run(rate, capture_output=True, text=True, timeout=60, check=False)
    assert done.returncode == 0, done.stdout[-200:]


def test_the_unit_writes_only_its_home_and_a_shelf_on_this_machine() -> None:
    settings = parse_settings('[shelf]\nstore = "/srv/shelf"\n', "x")
    assert "ReadWritePaths=/var/lib/certshelf /srv/shelf\n" in text(folders=writable(settings))
    assert "ProtectSystem=strict\n" in text()
    assert "TimeoutStopSec=90\n" in text()
    assert writable(parse_settings('[shelf]\nstore = "smb://a/b"\n', "x")) == ()


def test_paths_are_one_word_each_and_specifiers_are_literal() -> None:
    assert 'ReadWritePaths="/srv/a b%%n\\"$$HOME"\n' in text(Path('/srv/a b%n"$HOME'))


@pytest.mark.parametrize("user", ["root\nExecStart=x", "", "Bad User", "a" * 40])
def test_no_line_is_smuggled_into_the_unit(user: str) -> None:
    with pytest.raises(ConfigError):
        text(user=user)


def test_a_path_with_a_line_break_is_refused() -> None:
    with pytest.raises(ConfigError):
        text(Path("/srv/a\nUser=root"))


def test_the_unit_is_written_whole_or_refused(tmp_path: Path) -> None:
    path = write_unit(text(), tmp_path / "certshelf.service")
    assert path.read_text() == text()
    with pytest.raises(ConfigError, match="cannot write"):
        write_unit(text(), tmp_path / "none" / "certshelf.service")


def test_powershell_understands_the_script_for_windows() -> None:
    script = windows.script("C:\\ProgramData\\cert\u2019shelf\\", "C:\\Python\\python.exe")
    assert syntax_errors(script) == []
    assert script.isascii()


@pytest.mark.parametrize("path", ['C:\\a"b', "C:\\a\nb"])
def test_a_path_that_windows_cannot_hold_is_refused(path: str) -> None:
    with pytest.raises(ConfigError):
        windows.script(path, "C:\\python.exe")


def test_an_account_is_no_place_for_commands() -> None:
    with pytest.raises(ConfigError):
        windows.script("C:\\x", "C:\\python.exe", "a'; calc; '")
    assert "'LAB\\certshelf$'" in windows.script("C:\\x", "C:\\python.exe", "LAB\\certshelf$")


@pytest.mark.parametrize("listen", ["0.0.0.0:1", "192.0.2.1:80", "example.com:80", "9411", "::1"])
def test_metrics_are_told_on_a_loopback_address_only(listen: str) -> None:
    async def serve() -> None:
        async def nothing() -> str:
            return ""

        async with status_server(listen, str, nothing):
            pass

    with pytest.raises(ConfigError, match=r"service\.listen"):
        asyncio.run(serve())
