"""Groups, password rotation and profiles: the shelf changed as a whole, through the commands."""

from __future__ import annotations

import json
import os
import signal
import sqlite3
from pathlib import Path
from typing import Any

import pytest
from tests.support.bundles import make_bundle

from certshelf import open_shelf
from certshelf.bundle.model import PfxProfile
from certshelf.cli.main import run
from certshelf.farm import Kind, Member
from certshelf.manage import rotation as rotating
from certshelf.manage.manager import open_manager
from certshelf.manage.profiles import required_profile
from certshelf.names import HostName
from certshelf.secret import Secret
from certshelf.shelf.shelf import Shelf

HOST = HostName.parse("www.example.test")


@pytest.fixture
def home(tmp_path: Path) -> Path:
    path = tmp_path / "home"
    for args in (
        ["init", "--store", str(tmp_path / "shelf")],
        ["cert", "add", "www.example.test", "--name", "web"],
        ["cert", "request", "web"],
    ):
        assert run(["--home", str(path), *args]) == 0
    return path


def certshelf(home: Path, *args: str) -> int:
    return run(["--home", str(home), *args])


def credential(home: Path, name: str) -> Secret:
    with open_manager(home) as manager:
        return manager.reveal(name)


def shelf_at(folder: Path, password: Secret) -> Shelf:
    return open_shelf(str(folder), password=password)


def readable(folder: Path, password: Secret) -> set[str]:
    files = shelf_at(folder, password).inventory()
    return {file.file for file in files if file.bundle is not None}


def test_a_group_has_a_folder_and_a_password_of_its_own(home: Path, tmp_path: Path) -> None:
    (tmp_path / "pw").write_text("the password of the mail servers alone")
    assert (
        certshelf(home, "credential", "set", "mail-pw", "--password-file", str(tmp_path / "pw"))
        == 0
    )
    mail = tmp_path / "mail"
    assert (
        certshelf(
            home, "group", "add", "mail", "--store", str(mail), "--password-credential", "mail-pw"
        )
        == 0
    )
    assert certshelf(home, "cert", "add", "mx.example.test", "--name", "mx", "--group", "mail") == 0
    assert certshelf(home, "cert", "request", "mx") == 0
    assert readable(mail, credential(home, "mail-pw")) == {"mx.example.test.pfx"}
    assert not (tmp_path / "shelf" / "mx.example.test.pfx").exists()
    assert readable(mail, credential(home, "shelf-password")) == set()
    assert certshelf(home, "group", "rm", "mail") == 1
    assert certshelf(home, "cert", "rm", "mx") == 0
    assert certshelf(home, "group", "rm", "mail") == 0


def test_a_certificate_of_two_groups_goes_to_both(home: Path, tmp_path: Path) -> None:
    for name in ("a", "b"):
        assert certshelf(home, "group", "add", name, "--store", str(tmp_path / name)) == 0
    assert (
        certshelf(home, "cert", "add", "x.test", "--name", "x", "--group", "a", "--group", "b") == 0
    )
    assert certshelf(home, "cert", "request", "x") == 0
    assert (tmp_path / "a" / "x.test.pfx").exists() and (tmp_path / "b" / "x.test.pfx").exists()
    assert certshelf(home, "cert", "add", "y.test", "--group", "nowhere") == 1


def test_rotation_from_plan_to_retirement(
    home: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    old, new = tmp_path / "shelf", tmp_path / "shelf2"
    foreign = make_bundle("foreign.test").to_pfx(credential(home, "shelf-password"))
    (old / "foreign.test.pfx").write_bytes(foreign)
    assert certshelf(home, "member", "add", "iis1", "--kind", "iis") == 0
    assert certshelf(home, "shelf", "rotate-password", "apply") == 1
    assert certshelf(home, "shelf", "rotate-password", "plan", "--to", str(new)) == 0
    assert "iis1: switch to the new folder" in capsys.readouterr().out
    assert certshelf(home, "shelf", "rotate-password", "plan", "--to", str(new)) == 1
    assert certshelf(home, "shelf", "rotate-password", "apply", "--switched") in (0, 1)
    capsys.readouterr()
    assert certshelf(home, "shelf", "rotate-password", "plan", "--json") == 0
    steps: list[dict[str, Any]] = json.loads(capsys.readouterr().out)
    assert [s["done"] for s in steps][:-1] == [True] * (len(steps) - 1)
    password = credential(home, "shelf-password-2")
    assert readable(new, password) == {"www.example.test.pfx", "foreign.test.pfx"}
    assert certshelf(home, "shelf", "rotate-password", "apply", "--retire") == 0
    assert {p.name for p in old.glob("*.pfx")} == {"foreign.test.pfx"}
    assert certshelf(home, "shelf", "verify") == 0
    assert certshelf(home, "cert", "renew", "web", "--force") == 0
    assert readable(new, password) == {"www.example.test.pfx", "foreign.test.pfx"}


def test_a_renewal_in_the_middle_goes_to_both_folders(home: Path, tmp_path: Path) -> None:
    old, new = tmp_path / "shelf", tmp_path / "shelf2"
    certshelf(home, "shelf", "rotate-password", "plan", "--to", str(new))
    assert certshelf(home, "shelf", "rotate-password", "apply") == 0
    assert certshelf(home, "cert", "renew", "web", "--force") == 0
    found = [
        shelf_at(old, credential(home, "shelf-password")).find(HOST),
        shelf_at(new, credential(home, "shelf-password-2")).find(HOST),
    ]
    assert found[0] and found[1] and found[0].file.bundle == found[1].file.bundle
    with pytest.raises(rotating.RecordError), open_manager(home) as manager:
        rotation = rotating.find_rotation(manager)
        assert rotation
        rotating.retire_old(manager, rotation)


@pytest.mark.filterwarnings("ignore:This process:DeprecationWarning")  # the fork is meant
@pytest.mark.skipif(not hasattr(os, "fork"), reason="the command is a forked child")
@pytest.mark.parametrize("kill_at", range(1, 9))
def test_a_rotation_killed_anywhere_can_be_gone_on_with(
    home: Path, tmp_path: Path, kill_at: int
) -> None:
    """Kill the command before its n-th write; all the while the old folder serves."""
    old, new = tmp_path / "shelf", tmp_path / "shelf2"
    certshelf(home, "shelf", "rotate-password", "plan", "--to", str(new))
    pid = os.fork()
    if pid == 0:
        _die_at_write(kill_at)
        os._exit(certshelf(home, "shelf", "rotate-password", "apply", "--switched"))
    os.waitpid(pid, 0)
    assert "www.example.test.pfx" in readable(old, credential(home, "shelf-password"))
    assert certshelf(home, "shelf", "rotate-password", "apply", "--switched") == 0
    assert readable(new, credential(home, "shelf-password-2")) == {"www.example.test.pfx"}
    assert certshelf(home, "shelf", "rotate-password", "apply", "--retire") == 0
    assert certshelf(home, "shelf", "verify") == 0


def _die_at_write(number: int) -> None:
    """Count renames (files put in place) and database commits; die before the n-th."""
    left = [number]

    def dying(real: Any) -> Any:
        def call(*args: Any, **kwargs: Any) -> Any:
            left[0] -= 1
            if left[0] == 0:
                os.kill(os.getpid(), signal.SIGKILL)
            return real(*args, **kwargs)

        return call

    os.replace = dying(os.replace)
    os.link = dying(os.link)
    rotating.update_settings = dying(rotating.update_settings)  # type: ignore[attr-defined]
    rotating._remember = dying(rotating._remember)


def test_one_old_windows_member_decides_the_profile() -> None:
    new, old = Member("a", Kind.IIS, windows="2022"), Member("b", Kind.IIS, windows="2016")
    assert required_profile([]) is PfxProfile.MODERN
    assert required_profile([new]) is PfxProfile.MODERN
    assert required_profile([new, old]) is PfxProfile.WINDOWS_2016
    assert required_profile([Member("c", Kind.NGINX, windows="2016")]) is PfxProfile.MODERN


def test_the_shelf_is_rewritten_for_an_old_member_and_back_without_a_renewal(
    home: Path, tmp_path: Path
) -> None:
    shelf = shelf_at(tmp_path / "shelf", credential(home, "shelf-password"))

    def now() -> tuple[PfxProfile | None, str]:
        found = shelf.find(HOST)
        assert found and found.file.bundle
        return found.file.profile, found.file.bundle.serial

    profile, serial = now()
    assert profile is PfxProfile.MODERN
    assert certshelf(home, "member", "add", "old", "--kind", "iis", "--windows", "2016") == 0
    assert now() == (PfxProfile.WINDOWS_2016, serial)
    assert certshelf(home, "member", "rm", "old") == 0
    assert now() == (PfxProfile.MODERN, serial)


def test_no_secret_lies_in_the_database_in_clear(home: Path) -> None:
    secret = credential(home, "shelf-password").reveal()
    with sqlite3.connect(home / "certshelf.db") as connection:
        assert secret not in "\n".join(connection.iterdump())


@pytest.mark.parametrize("same", ["{}/", "file://{}", "{}/../shelf"])
def test_a_rotation_into_the_shelf_itself_is_refused(
    home: Path, tmp_path: Path, same: str, capsys: pytest.CaptureFixture[str]
) -> None:
    to = same.format(tmp_path / "shelf")
    assert certshelf(home, "shelf", "rotate-password", "plan", "--to", to) == 1
    assert "is the shelf itself" in capsys.readouterr().err
