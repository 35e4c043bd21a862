"""Every kind of event is in the one table with a number of its own, and on the page."""

from __future__ import annotations

import ast
import re

from tests.support.repository import ROOT

from certshelf.manage.event_ids import KINDS

PAGE = (ROOT / "docs/reference/events.md").read_text("utf-8")
NOUNS = {kind.partition(".")[0] for kind in KINDS}
KIND = re.compile(r"[a-z]+\.[a-z]+(-[a-z]+)*")
NOT_KINDS = {"keys.json", "file.name"}


def kinds_in_code() -> set[str]:
    """Texts of a kind's form that are an argument of a call or a value, in manage and cli."""
    found = set()
    for room in ("manage", "cli"):
        for path in (ROOT / "src/certshelf" / room).rglob("*.py"):
            if path.name == "event_ids.py":
                continue
            for node in ast.walk(ast.parse(path.read_text("utf-8"))):
                found |= _appended(node)
    return found - NOT_KINDS


def _appended(node: ast.AST) -> set[str]:
    """The kinds that one call appends, and those that a variable `kind` may hold."""
    texts: list[ast.expr] = []
    if isinstance(node, ast.Call):
        name = getattr(node.func, "attr", getattr(node.func, "id", ""))
        if name in ("append", "_event", "_remember", "_note", "note"):
            texts = node.args
    elif isinstance(node, ast.Assign) and getattr(node.targets[0], "id", "") == "kind":
        texts = [node.value]
        if isinstance(node.value, ast.IfExp):
            texts = [node.value.body, node.value.orelse]
    values = [text.value for text in texts if isinstance(text, ast.Constant)]
    return {value for value in values if isinstance(value, str) and KIND.fullmatch(value)}


def test_every_kind_in_the_code_is_in_the_table() -> None:
    found = kinds_in_code()
    assert len(found) > 15
    assert found - set(KINDS) == set()


def test_every_number_is_used_once() -> None:
    numbers = [kind.id for kind in KINDS.values()]
    assert len(set(numbers)) == len(numbers)
    assert all(1000 < number < 65536 for number in numbers)


def test_every_kind_is_on_the_page_with_its_number_and_meaning() -> None:
    for kind, entry in KINDS.items():
        row = f"| {entry.id} | `{kind}` | {entry.severity.value} | {entry.what} |\n"
        assert row in PAGE


def test_no_kind_is_on_the_page_that_is_not_in_the_table() -> None:
    assert set(re.findall(r"^\| \d+ \| `([^`]+)` \|", PAGE, re.M)) - set(KINDS) == set()
