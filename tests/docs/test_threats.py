"""Every threat of docs/reference/threats.md names tests that exist, or says why there are none."""

from __future__ import annotations

import re

from tests.support.repository import ROOT

PAGE = (ROOT / "docs/reference/threats.md").read_text("utf-8")
TEST = re.compile(r"`(tests/[a-z0-9_/]+\.py)::(test_[a-z0-9_]+)`")


def test_every_named_test_exists() -> None:
    named = TEST.findall(PAGE)
    assert len(named) > 70
    missing = [
        f"{file}::{name}"
        for file, name in named
        if f"def {name}(" not in (ROOT / file).read_text("utf-8")
    ]
    assert missing == []


def test_every_threat_is_defended_or_it_says_why_not() -> None:
    sections = dict(re.findall(r"^## (T\d+)\. (.*?)(?=^##|\Z)", PAGE, re.MULTILINE | re.DOTALL))
    assert list(sections) == [f"T{number}" for number in range(1, 25)]
    for name, text in sections.items():
        assert TEST.search(text) or "Not defended" in text, name
