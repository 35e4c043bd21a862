"""Settings of tasks: what they may be, and what is said when they are not."""

from __future__ import annotations

import pytest

from certshelf.deploy.registry import TYPES, parse_task
from certshelf.deploy.script import Script
from certshelf.deploy.settings import described
from certshelf.deploy.wait import Wait
from certshelf.errors import ConfigError


def test_a_text_is_read_as_what_the_setting_is() -> None:
    assert Wait.parse({"seconds": "2.5"}).seconds == 2.5
    assert Script.parse({"command": "/bin/true", "include-key": "yes"}).include_key is True


@pytest.mark.parametrize("seconds", ["-1", "nan", "inf", "soon", True, None, [1], "1e99"])
def test_what_is_no_number_is_refused(seconds: object) -> None:
    with pytest.raises(ConfigError, match="seconds cannot be"):
        Wait.parse({"seconds": seconds})


def test_an_unknown_setting_and_an_unknown_type_name_those_there_are() -> None:
    with pytest.raises(ConfigError, match="no setting 'second'") as caught:
        Wait.parse({"second": 1})
    assert "seconds" in caught.value.hint
    with pytest.raises(ConfigError, match="no task type") as caught:
        parse_task("shell", {})
    assert "script" in caught.value.hint


@pytest.mark.parametrize("kind", TYPES)
def test_every_setting_says_what_it_means(kind: str) -> None:
    for name, default, meaning in described(TYPES[kind]):
        assert meaning.endswith(".") and default, (kind, name)


@pytest.mark.parametrize("kind", TYPES)
def test_every_type_lies_in_a_file_of_its_name(kind: str) -> None:
    assert TYPES[kind].__module__ == f"certshelf.deploy.{kind.replace('-', '_')}"
