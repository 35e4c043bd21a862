"""Hostile text never reaches a terminal raw, whichever way it takes."""

from __future__ import annotations

import ast
from pathlib import Path

import click
import pytest
from tests.support.repository import ROOT

from certshelf.cli import main, output
from certshelf.errors import CertshelfError
from certshelf.serve import program

HOSTILE = "a\r\nerror: forged\x1b[2J\x07\x9b1m\u202eb"
CLI = ROOT / "src/certshelf/cli"
RAW = {
    "output.py": 1,  # say() itself
    "main.py": 3,  # errors, cleaned there
    "credential.py": 1,  # --reveal: the secret, byte for byte
    "events.py": 1,  # export: JSON in ASCII
    "completion.py": 1,  # a script of click's own
}
"""Modules that may call click.echo, and how often."""


def is_plain(text: str) -> bool:
    return all(c.isprintable() or c == "\n" for c in text)


@pytest.fixture
def failing(monkeypatch: pytest.MonkeyPatch) -> list[BaseException]:
    """What the next command raises."""
    raised: list[BaseException] = []

    @click.command()
    def command() -> None:
        raise raised[0]

    monkeypatch.setattr(main.LazyGroup, "get_command", lambda *_: command)
    return raised


def test_an_error_is_two_plain_lines(
    failing: list[BaseException], capsys: pytest.CaptureFixture[str]
) -> None:
    failing.append(CertshelfError(HOSTILE, hint=HOSTILE))
    assert main.run(["any"]) == 1
    said = capsys.readouterr().err
    assert is_plain(said)
    assert len(said.splitlines()) == 2


def test_an_unexpected_error_shows_where_and_no_control_character(
    failing: list[BaseException], capsys: pytest.CaptureFixture[str]
) -> None:
    failing.append(RuntimeError(HOSTILE))
    assert main.run(["any"]) == 1
    said = capsys.readouterr().err
    assert is_plain(said)
    assert "RuntimeError" in said
    assert "test_hostile_text.py" in said


def test_the_reader_says_an_error_in_two_plain_lines(
    capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    assert program.main(["--shelf", str(tmp_path), "--http", HOSTILE]) == 2
    said = capsys.readouterr().err
    assert is_plain(said)
    assert len(said.splitlines()) <= 2


def test_json_escapes_what_a_terminal_would_obey(capsys: pytest.CaptureFixture[str]) -> None:
    output.print_json({"name": HOSTILE + "\udc80é"})
    said = capsys.readouterr().out
    assert is_plain(said)
    assert "é" in said
    assert "\\u009b" in said


def test_say_keeps_lines_and_nothing_else(capsys: pytest.CaptureFixture[str]) -> None:
    output.say("one\n\ttwo\x1b[2J\r\n", nl=False)
    assert (
        capsys.readouterr().out
        == "one\n\ttwo\N{REPLACEMENT CHARACTER}[2J\N{REPLACEMENT CHARACTER}\n"
    )


def test_every_command_prints_through_say() -> None:
    found = {path.name: calls for path in CLI.glob("*.py") if (calls := echoes(path))}
    assert {name: n for name, n in found.items() if n > RAW.get(name, 0)} == {}


def echoes(path: Path) -> int:
    """How often a module calls click.echo."""
    calls = [node for node in ast.walk(ast.parse(path.read_text())) if isinstance(node, ast.Call)]
    return sum(ast.unparse(call.func) == "click.echo" for call in calls)
