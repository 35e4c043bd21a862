"""Every promise of docs/reference/guarantees.md names tests that exist."""

from __future__ import annotations

import re

from tests.support.repository import ROOT

PAGE = (ROOT / "docs/reference/guarantees.md").read_text("utf-8")
TEST = re.compile(r"`(tests/[a-z0-9_/]+\.py)::(test_[a-z0-9_]+)`")


def test_every_named_test_exists() -> None:
    named = TEST.findall(PAGE)
    assert len(named) > 60
    missing = [
        f"{file}::{name}"
        for file, name in named
        if f"def {name}(" not in (ROOT / file).read_text("utf-8")
    ]
    assert missing == []


def test_every_sentence_and_every_fault_has_a_test_or_says_why_not() -> None:
    wanted = [str(number) for number in range(1, 16)]
    wanted += [f"F{number}" for number in (1, 2, 3, 6, *range(9, 16))]
    sections = dict(re.findall(r"^### (\w+)\. (.*?)(?=^##|\Z)", PAGE, re.MULTILINE | re.DOTALL))
    assert list(sections) == wanted
    for name, text in sections.items():
        assert TEST.search(text) or "cannot be tested here, because" in text, name
