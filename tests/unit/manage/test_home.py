from __future__ import annotations

import os
import stat
from pathlib import Path

import pytest
from tests.support.clock import FakeClock

from certshelf.errors import ConfigError, CredentialError
from certshelf.manage.credentials import (
    find_credential,
    read_credential,
    read_login,
    read_secret,
    rotate_master_key,
    set_credential,
)
from certshelf.manage.db.rotation import lost_secrets
from certshelf.manage.home import Home, find_home
from certshelf.manage.model import Credential, CredentialKind
from certshelf.manage.opening import create_home, open_home
from certshelf.manage.settings import Settings, load_settings
from certshelf.secret import Secret

posix = pytest.mark.skipif(os.name != "posix", reason="POSIX rights")


def _home(tmp_path: Path) -> Home:
    return Home.at(tmp_path / "home", {})


def _set(home: Home, name: str, text: str) -> None:
    with open_home(home, load_settings(home.settings)) as database:
        login = Credential(name, CredentialKind.LOGIN, "me")
        set_credential(database, login, Secret(text), FakeClock())


def test_the_home_is_the_named_one_then_the_environments(tmp_path: Path) -> None:
    environ = {"CERTSHELF_HOME": str(tmp_path / "b")}
    assert find_home(tmp_path / "a", environ).path == tmp_path / "a"
    assert find_home(None, environ).path == tmp_path / "b"
    assert find_home(None, {}).path.is_absolute()


def test_the_key_file_may_lie_elsewhere(tmp_path: Path) -> None:
    assert Home.at(tmp_path, {}).keys == tmp_path / "keys.json"
    assert Home.at(tmp_path, {"CERTSHELF_KEY_FILE": "/k"}).keys == Path("/k")
    environ = {"CREDENTIALS_DIRECTORY": str(tmp_path)}
    assert Home.at(tmp_path, environ) == Home.at(tmp_path, {})
    (tmp_path / "certshelf-keys").write_text("{}")
    found = Home.at(tmp_path, environ)
    assert (found.keys, found.keys_given) == (tmp_path / "certshelf-keys", True)


def test_creating_makes_what_is_missing_and_keeps_what_is_there(tmp_path: Path) -> None:
    home = _home(tmp_path)
    first = create_home(home, {"shelf.store": "/srv/shelf"})
    assert [line.split(" /")[0] for line in first.made] == [
        "home", "settings", "key file", "database",
    ]  # fmt: skip
    assert first.found == ()
    before = {path.name: path.read_bytes() for path in (home.settings, home.keys)}
    second = create_home(home, {"shelf.store": "/srv/other"})
    assert (second.made, len(second.found)) == ((), 4)
    assert before == {path.name: path.read_bytes() for path in (home.settings, home.keys)}


@posix
def test_everything_secret_is_for_its_owner_only(tmp_path: Path) -> None:
    home = _home(tmp_path)
    old = os.umask(0)
    try:
        create_home(home)
        _set(home, "a", "x")
    finally:
        os.umask(old)
    modes = {p.name: stat.S_IMODE(p.stat().st_mode) for p in (home.path, *home.path.iterdir())}
    assert modes.pop("home") == 0o700
    assert set(modes.values()) == {0o600}, modes


def test_settings_come_later_when_credentials_come_first(tmp_path: Path) -> None:
    home = _home(tmp_path)
    create_home(home)
    assert not home.settings.exists()
    create_home(home, {"shelf.store": "/srv/shelf"})
    assert load_settings(home.settings).shelf.store == "/srv/shelf"


def test_an_empty_setting_is_filled_in(tmp_path: Path) -> None:
    home = _home(tmp_path)
    home.path.mkdir()
    home.settings.write_text("# mine\n[shelf]\nhistory = 5\n")
    create_home(home, {"shelf.store": "/srv/shelf", "shelf.history": 9})
    assert home.settings.read_text() == '# mine\n[shelf]\nstore = "/srv/shelf"\nhistory = 5\n'


def test_looking_makes_nothing(tmp_path: Path) -> None:
    home = _home(tmp_path)
    with pytest.raises(ConfigError, match="there is no certshelf home in"):
        find_credential(home, Settings(), "a")
    assert not home.path.exists()


def test_a_file_in_the_way_is_kept_and_said(tmp_path: Path) -> None:
    (tmp_path / "home").write_text("mine")
    with pytest.raises(ConfigError, match="no folder"):
        create_home(_home(tmp_path))
    assert (tmp_path / "home").read_text() == "mine"


def test_a_credential_is_read_with_and_without_the_quick_look(tmp_path: Path) -> None:
    home = _home(tmp_path)
    create_home(home)
    _set(home, "share", "hunter2")
    quick = read_credential(home, Settings(), "share")
    assert (quick.username, quick.secret.reveal()) == ("me", "hunter2")
    assert find_credential(home, Settings(), "none") is None
    with pytest.raises(CredentialError, match="there is no credential 'none'"):
        read_credential(home, Settings(), "none")
    home.database.rename(home.path / "other.db")
    home.database.write_bytes(b"")
    assert find_credential(home, Settings(), "share") is None


def test_the_quick_look_does_not_import_sqlalchemy(tmp_path: Path) -> None:
    import subprocess
    import sys

    home = _home(tmp_path)
    create_home(home)
    _set(home, "share", "hunter2")
    code = (
        "import sys; from pathlib import Path;"
        "from certshelf.manage.home import Home; from certshelf.manage.settings import Settings;"
        "from certshelf.manage.credentials import read_credential;"
        f"read_credential(Home.at(Path({str(home.path)!r}), {{}}), Settings(), 'share');"
        "print([m for m in ('sqlalchemy', 'alembic', 'platformdirs') if m in sys.modules])"
    )
    run = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert run.stdout == "[]\n"


def test_a_lost_key_file_is_not_replaced_in_silence(tmp_path: Path) -> None:
    home = _home(tmp_path)
    create_home(home)
    _set(home, "share", "hunter2")
    home.keys.unlink()
    with pytest.raises(CredentialError, match="secrets were sealed with it") as caught:
        create_home(home)
    assert "--new-keys" in caught.value.hint
    assert not home.keys.exists()


def test_without_its_key_file_the_manager_starts_and_says_which_secrets_are_gone(
    tmp_path: Path,
) -> None:
    home = _home(tmp_path)
    create_home(home)
    _set(home, "share", "hunter2")
    home.keys.unlink()
    create_home(home, new_keys=True)
    _set(home, "new", "works")
    with open_home(home, Settings()) as database, database.read() as records:
        assert [(one.table, one.row) for one in lost_secrets(database)] == [("credential", "share")]
        assert records.credentials.secret("new") == Secret("works")
        assert [one.name for one in records.credentials.all()] == ["new", "share"]
        with pytest.raises(CredentialError, match="is not in"):
            records.credentials.secret("share")


def test_a_login_is_read_for_a_store(tmp_path: Path) -> None:
    home = _home(tmp_path)
    create_home(home)
    _set(home, "share", "hunter2")
    login = read_login(home, Settings(), "share", "http://s3.test")
    assert (login.username, login.password, login.endpoint) == (
        "me", Secret("hunter2"), "http://s3.test",
    )  # fmt: skip
    assert read_secret(home, Settings(), "share") == Secret("hunter2")


def test_the_master_key_is_rotated_and_the_log_says_so(tmp_path: Path) -> None:
    home = _home(tmp_path)
    create_home(home)
    _set(home, "share", "hunter2")
    with open_home(home, Settings()) as database:
        old, places = database.ring.current, list[str]()
        assert rotate_master_key(database, FakeClock(), progress=places.append) == 1
        assert places == ["credential/share/sealed"]
        assert database.ring.current != old
        with database.read() as records:
            assert records.events.latest(1)[0].kind == "keys.rotated"
    assert read_secret(home, Settings(), "share") == Secret("hunter2")
