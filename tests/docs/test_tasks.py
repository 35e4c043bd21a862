"""Every task type and each of its settings is in the reference, with default and meaning."""

from __future__ import annotations

import pytest
from tests.support.repository import ROOT

from certshelf.deploy.registry import TYPES
from certshelf.deploy.settings import described
from certshelf.deploy.triggers import Trigger

PAGE = (ROOT / "docs/reference/tasks.md").read_text("utf-8")


def section(kind: str) -> str:
    return PAGE.partition(f"\n## {kind}\n")[2].partition("\n## ")[0]


@pytest.mark.parametrize("kind", TYPES)
def test_a_type_has_a_section_with_exactly_its_settings(kind: str) -> None:
    rows = [
        f"| `{name}` | `{default}` | {what} |" for name, default, what in described(TYPES[kind])
    ]
    found = [line for line in section(kind).splitlines() if line.startswith("| `")]
    assert found == rows


@pytest.mark.parametrize("trigger", Trigger)
def test_a_trigger_is_explained(trigger: str) -> None:
    assert f"`--on {trigger}" in PAGE
