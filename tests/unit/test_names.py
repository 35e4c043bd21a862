"""Host names and file names, both ways."""

import pytest

from certshelf.errors import NameInvalid
from certshelf.names import HostName


@pytest.mark.parametrize(
    ("text", "ascii_name", "files"),
    [
        ("www.Example.COM.", "www.example.com", ("www.example.com.pfx",)),
        ("*.shop.example.test", "*.shop.example.test", ("_.shop.example.test.pfx",)),
        (
            "bücher.example.test",
            "xn--bcher-kva.example.test",
            ("xn--bcher-kva.example.test.pfx", "bücher.example.test.pfx"),
        ),
        ("localhost", "localhost", ("localhost.pfx",)),
        ("r3---sn-a.example", "r3---sn-a.example", ("r3---sn-a.example.pfx",)),
    ],
)
def test_names_and_files(text: str, ascii_name: str, files: tuple[str, ...]) -> None:
    host = HostName.parse(text)
    assert host.ascii == ascii_name
    assert host.file_names() == files
    assert all(HostName.from_file_name(f) == host for f in files)


@pytest.mark.parametrize(
    "text",
    [
        *(
            "",
            ".",
            "..",
            "a..b",
            " a.b",
            "a.b ",
            "a/b",
            "a\\b",
            "a:b",
            "a\0b",
            "a%2e.test",
            "a.test..",
        ),
        *("a%2e.test", "1.2.3.4", "::1", "0x7f.1", "a" * 64 + ".test", "a" * 300, "\u2025.test"),
        *("con.example.test", "COM1", "com\u00b9.test", "_x.test", "a.*.test", "*", "*."),
        *("-a.test", "a-.test", "xn--zzzz-.test"),
    ],
)
def test_refused(text: str) -> None:
    with pytest.raises(NameInvalid):
        HostName.parse(text)


def test_wildcard_does_not_cover_two_labels() -> None:
    wildcard = HostName.parse("*.example.com")
    assert wildcard.covers(HostName.parse("a.example.com"))
    assert not wildcard.covers(HostName.parse("a.b.example.com"))
    assert not wildcard.covers(HostName.parse("example.com"))


def test_candidates_are_exact_then_one_wildcard() -> None:
    names = [c.ascii for c in HostName.parse("a.b.example.com").candidates()]
    assert names == ["a.b.example.com", "*.b.example.com"]
