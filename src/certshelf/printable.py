"""Foreign text for a terminal or a log: without a character that either of them would obey."""

from __future__ import annotations

import re

_UNSEEN = "\N{REPLACEMENT CHARACTER}"
# JSON escapes what lies below U+0020 itself; terminals obey U+0080 to U+009F as well
_OBEYED = re.compile(r"[\x7f-\x9f\u2028-\u202e\u2066-\u2069\ud800-\udfff]")


def one_line(value: object) -> str:
    """A text in one line; control characters, line ends and overrides of direction are replaced."""
    text = str(value)
    if text.isprintable():  # nearly always, and a list has many thousand cells
        return text
    return "".join(c if c.isprintable() else _UNSEEN for c in text)


def lines(text: str) -> str:
    """The same, but line feeds and tabs stay."""
    if text.replace("\n", "").replace("\t", "").isprintable():
        return text
    return "".join(c if c.isprintable() or c in "\n\t" else _UNSEEN for c in text)


def escaped_json(document: str) -> str:
    """A JSON document with escapes for what `ensure_ascii=False` leaves raw; it reads the same."""
    return _OBEYED.sub(lambda found: f"\\u{ord(found[0]):04x}", document)
