"""Whatever a value holds, PowerShell reads exactly that value and nothing behind it."""

from __future__ import annotations

import re

from hypothesis import example, given
from hypothesis import strategies as st

from certshelf.farm import Binding
from certshelf.iis.plan import ServerPlan, SiteBinding, plan
from certshelf.iis.powershell import comment, literal, quote, table
from certshelf.iis.scripts import setup_script, undo_script
from certshelf.names import HostName
from tests.support.powershell import QUOTES, evaluate, syntax_errors

NASTY = st.text(
    st.one_of(
        st.characters(),
        st.sampled_from(QUOTES + '"`$();{}@#|&\n\r\0\u2028\u201c\u201d\u2013\ufeff'),
    ),
    max_size=40,
)
BEHIND = "; next"


@given(NASTY)
@example("';calc;'")
@example("\u2019; calc; \u2019")
@example("$(calc)")
@example("`n$env:x")
@example("a\r\nb")
@example("\ud800")
@example("")
def test_a_quoted_value_is_read_back_as_it_was(text: str) -> None:
    assert evaluate(quote(text) + BEHIND) == (text, BEHIND)


@given(NASTY)
def test_a_quoted_value_is_one_line_of_ascii(text: str) -> None:
    assert re.fullmatch(r"[\x20-\x7e]+", quote(text))
    assert re.fullmatch(r"# [\x20-\x7e]*", comment(text))


@given(NASTY, NASTY)
def test_rows_keep_their_values_apart(first: str, second: str) -> None:
    text = table([{"A": first, "B": second}])
    value, rest = evaluate(text.removeprefix("@(\n    @{ A = "))
    assert value == first
    assert evaluate(rest.removeprefix("; B = ")) == (second, " }\n)")


def test_numbers_and_booleans_are_not_quoted() -> None:
    assert (literal(443), literal(True), literal(False)) == ("443", "$true", "$false")


def _plan(site: str) -> ServerPlan:
    host = HostName.parse("bücher.example.com")
    return plan(
        f"WEB1 {site}",
        r"\\files\certs",
        f"FARM\\{site}x",
        found=[
            Binding(site, "www.example.com", "192.0.2.1", 443),
            Binding(site, "", "*", 443),
        ],
        wanted=[SiteBinding(site, host)],
        on_shelf={host, HostName.parse("*.example.com")},
    )


@given(NASTY)
@example("__ROWS__ __FOLDER__ __APPID__")
def test_every_script_parses_whatever_the_sites_are_called(site: str) -> None:
    for script in (setup_script(_plan(site)), undo_script(_plan(site))):
        assert script.isascii()
        assert syntax_errors(script) == []
