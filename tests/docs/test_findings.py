"""Every finding that the code can make, and every cause, has its paragraph in the reference."""

from __future__ import annotations

import ast
import re

from tests.support.repository import ROOT

from certshelf.doctor.causes import Cause
from certshelf.doctor.checks import CHECKS

PAGE = (ROOT / "docs/reference/findings.md").read_text("utf-8")
HEADINGS = re.findall(r"^### (\S+)$", PAGE, re.M)
MAKERS = {"Finding", "_finding", "_error", "error", "warning", "info", "say"}
ID = re.compile(r"[a-z]+(-[a-z]+)*")
ROOMS = ("doctor", "iis", "shelf")


def ids_in_code() -> set[str]:
    """Texts that stand where a finding's id stands: the first ones of a call that makes one."""
    found = set()
    for room in ROOMS:
        for path in (ROOT / "src/certshelf" / room).rglob("*.py"):
            for node in ast.walk(ast.parse(path.read_text("utf-8"))):
                if isinstance(node, ast.Call) and getattr(node.func, "id", "") in MAKERS:
                    found |= {text for text in _texts(node)[:1] if ID.fullmatch(text)}
    return found


def _texts(call: ast.Call) -> list[str]:
    named = [keyword.value for keyword in call.keywords if keyword.arg == "id"]
    values = [*named, *call.args[:2]]
    return [v.value for v in values if isinstance(v, ast.Constant) and isinstance(v.value, str)]


def known_ids() -> set[str]:
    return {id for check in CHECKS for id in check.finding_ids}


def test_every_finding_and_every_cause_has_its_paragraph() -> None:
    wanted = known_ids() | {cause.value for cause in Cause}
    assert wanted - set(HEADINGS) == set()


def test_no_paragraph_is_left_of_a_finding_that_is_gone() -> None:
    assert set(HEADINGS) - known_ids() - {cause.value for cause in Cause} == set()


def test_every_id_in_the_code_belongs_to_a_check() -> None:
    found = ids_in_code()
    assert len(found) > 40
    assert found - known_ids() == set()
