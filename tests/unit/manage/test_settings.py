from __future__ import annotations

from pathlib import Path

import pytest

from certshelf.bundle.model import PfxProfile
from certshelf.errors import ConfigError
from certshelf.manage import settings
from certshelf.manage.model import Mode
from certshelf.manage.settings import (
    Settings,
    database_url,
    initial_text,
    load_settings,
    parse_settings,
    update_settings,
    write_initial,
)


def test_no_file_means_the_defaults(tmp_path: Path) -> None:
    assert load_settings(tmp_path / "none.toml") == Settings()


def test_the_initial_file_reads_back_with_what_was_chosen(tmp_path: Path) -> None:
    path = tmp_path / "certshelf.toml"
    assert write_initial(path, {"shelf.store": 'C:\\shelf "x"\x7f'})
    found = load_settings(path)
    assert found.shelf.store == 'C:\\shelf "x"\x7f'
    assert found.shelf.owner.startswith("certshelf-")
    assert found.certificates == Settings().certificates


def test_an_existing_file_is_never_overwritten(tmp_path: Path) -> None:
    path = tmp_path / "certshelf.toml"
    path.write_text("[shelf]\n")
    assert not write_initial(path, {"shelf.store": "/x"})
    assert path.read_text() == "[shelf]\n"


def test_the_initial_file_explains_every_setting() -> None:
    text = initial_text({})
    for key, _, what in settings.describe():
        assert f"# {what}\n" in text, key


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("[shelf]\nstore = 3\n", "f:2: shelf.store: expected a text in quotes"),
        ("\n[shelf]\n\nhistory = true", "f:4: shelf.history: expected a whole number"),
        ("[shelf]\nhistory = -1", "f:2: shelf.history: expected at least 0"),
        ("[shelf]\nprofile = 'old'", "f:2: shelf.profile: expected one of modern, windows-2016"),
        ("[shelf]\nstores = 'x'", "f:2: shelf.stores: expected a setting of these: store, "),
        ("[shelves]", "f:1: shelves: expected a section of these: shelf, database, certificates"),
        ("shelf = 1", "f:1: shelf: expected a section [shelf]"),
        ("shelf.store = 1", "f:1: shelf.store: expected a text in quotes"),
        ("[shelf", "f: no TOML: "),
        (
            "[database]\nurl = 'postgresql://me:pw@h/n'",
            "f:2: database.url: expected an address without a password",
        ),
        (
            "[shelf]\nstore = 'smb://me:pw@h/n'",
            "f:2: shelf.store: expected an address without a password",
        ),
    ],
)
def test_a_wrong_setting_names_file_line_key_and_what_was_expected(text: str, message: str) -> None:
    with pytest.raises(ConfigError) as caught:
        parse_settings(text, "f")
    assert str(caught.value).startswith(message)
    assert "pw" not in str(caught.value)


def test_a_file_that_is_no_text_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "certshelf.toml"
    path.write_bytes(b"\xff\xfe")
    with pytest.raises(ConfigError, match="it is not UTF-8"):
        load_settings(path)


@pytest.mark.parametrize(
    ("before", "after"),
    [
        (
            "# a\n[shelf]\nprofile = 'modern' # b\n# c\n",
            '# a\n[shelf]\nprofile = "windows-2016"\n# c\n',
        ),
        (
            '[shelf]\n# profile = "modern"\n\n[database]\n',
            '[shelf]\nprofile = "windows-2016"\n\n[database]\n',
        ),
        ('[shelf]\nstore = "/x"\n', '[shelf]\nprofile = "windows-2016"\nstore = "/x"\n'),
        ("# only\n", '# only\n\n[shelf]\nprofile = "windows-2016"\n'),
    ],
)
def test_a_change_keeps_every_other_line(tmp_path: Path, before: str, after: str) -> None:
    path = tmp_path / "certshelf.toml"
    path.write_text(before)
    update_settings(path, {"shelf.profile": "windows-2016"})
    assert path.read_text() == after


@pytest.mark.parametrize(
    ("text", "value"),
    [("shelf.profile = 'modern'\n", "windows-2016"), ("[shelf]\n", "no-such-profile")],
)
def test_a_change_that_does_not_fit_leaves_the_file_alone(
    tmp_path: Path, text: str, value: str
) -> None:
    path = tmp_path / "certshelf.toml"
    path.write_text(text)
    with pytest.raises(ConfigError):
        update_settings(path, {"shelf.profile": value})
    assert path.read_text() == text
    assert list(tmp_path.iterdir()) == [path]


def test_the_words_of_the_settings_are_those_of_the_code() -> None:
    choices = {
        spec.name: spec.metadata["one_of"] for spec in settings.fields(settings.ShelfSettings)
    }
    assert choices["profile"] == tuple(PfxProfile)
    modes = {s.name: s.metadata["one_of"] for s in settings.fields(settings.CertificateSettings)}
    assert modes["mode"] == tuple(Mode)


def test_the_database_is_the_file_unless_another_is_named(tmp_path: Path) -> None:
    assert database_url(Settings(), tmp_path / "a.db") == f"sqlite:///{tmp_path / 'a.db'}"
    other = parse_settings("[database]\nurl = 'postgresql://me@h/n'", "f")
    assert database_url(other, tmp_path / "a.db") == "postgresql+psycopg://me@h/n"
    with pytest.raises(ConfigError):
        database_url(parse_settings("[database]\nurl = 'mysql://h/n'", "f"), tmp_path / "a.db")
