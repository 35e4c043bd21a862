"""The reader's page names every flag, and no flag that is not there."""

from __future__ import annotations

import re

from tests.support.repository import ROOT

from certshelf.serve.reader_settings import parser


def test_every_flag_of_the_reader_is_on_its_page() -> None:
    page = (ROOT / "docs/reference/reader.md").read_text("utf-8")
    table = page[page.index("## Flags") : page.index("## Signals")]
    told = set(re.findall(r"--[a-z][a-z-]+", table))
    there = {option for action in parser("x")._actions for option in action.option_strings}
    assert told == {option for option in there if option.startswith("--")} - {"--help"}
