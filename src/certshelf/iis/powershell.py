"""Writing values into PowerShell text so that they stay values, whatever they hold.

PowerShell ends a single-quoted string at five characters, not one: `'`, U+2018, U+2019, U+201A
and U+201B. Windows PowerShell 5.1 reads a script without a byte order mark in the machine's ANSI
code page. So a generated script is pure ASCII: printable ASCII is quoted and doubled, everything
else travels as Base64 of UTF-16 and is decoded when the script runs.
Source: PowerShell, `CharExtensions.IsSingleQuote` and `about_Quoting_Rules`.
"""

from __future__ import annotations

import base64
from collections.abc import Iterable, Mapping

SINGLE_QUOTES = "'\u2018\u2019\u201a\u201b"
_DECODE = "[Text.Encoding]::Unicode.GetString([Convert]::FromBase64String('{}'))"

Value = str | int | bool


def quote(text: str) -> str:
    """One PowerShell expression, in ASCII, whose value is exactly text.

    Safe as an argument, in an assignment and in a hash table; never inside another string.
    """
    if text.isascii() and text.isprintable():
        return "'" + text.replace("'", "''") + "'"
    encoded = base64.b64encode(text.encode("utf-16-le", "surrogatepass")).decode()
    return "(" + _DECODE.format(encoded) + ")"


def literal(value: Value) -> str:
    """A string, an int or a bool as a PowerShell expression."""
    if isinstance(value, bool):
        return "$true" if value else "$false"
    return str(value) if isinstance(value, int) else quote(value)


def array(values: Iterable[Value]) -> str:
    """An array expression, also for no value and for one."""
    return "@(" + ", ".join(literal(value) for value in values) + ")"


def table(rows: Iterable[Mapping[str, Value]]) -> str:
    """An array of hash tables, one a line; the keys are ours, the values anybody's."""
    lines = [
        "    @{ " + "; ".join(f"{key} = {literal(value)}" for key, value in row.items()) + " }"
        for row in rows
    ]
    return "@()" if not lines else "@(\n" + ",\n".join(lines) + "\n)"


def comment(text: str) -> str:
    """A comment line: what is not printable ASCII is shown as an escape, so it stays one line."""
    return "# " + "".join(
        c if c.isascii() and c.isprintable() else c.encode("unicode_escape").decode() for c in text
    )
