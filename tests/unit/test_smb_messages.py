"""What a file server sends is read safely, and what its status codes mean."""

from __future__ import annotations

import struct
from collections.abc import Callable

import pytest
from hypothesis import given
from hypothesis import strategies as st

from certshelf.errors import StoreError, StoreUnreachable
from certshelf.store import smb_messages as message
from certshelf.store import smb_status as status

READERS: list[Callable[[bytes], object]] = [
    message.opened,
    message.data_read,
    message.buffer,
    lambda data: list(message.entries(data)),
    lambda data: list(message.notifications(data)),
]


@given(st.binary(max_size=400))
def test_any_answer_is_read_or_refused(data: bytes) -> None:
    for read in READERS:
        try:
            read(data)
        except (ValueError, struct.error):
            continue


def entry(name: str, step: int = 0) -> bytes:
    text = name.encode("utf-16-le")
    head = struct.pack("<I20xQQQ8xII", step, 1, 2, 3, 0x20, len(text))
    return head.ljust(96, b"\0") + struct.pack("<Q", 77) + text


def test_a_page_of_a_folder_gives_names_and_facts() -> None:
    first = entry("www.example.com.pfx", 152).ljust(152, b"\0")
    found = list(message.entries(first + entry("b\u00fccher.pfx")))
    assert [name for name, _ in found] == ["www.example.com.pfx", "b\u00fccher.pfx"]
    assert found[0][1] == message.Facts(1, 2, 3, 0x20, 77)


def test_entries_that_lie_in_one_another_are_refused_at_once() -> None:
    """Else one page of 64 KiB would be read 64 thousand times."""
    page = (entry("x" * 500, 1) * 60)[: message.CHUNK]
    with pytest.raises(ValueError, match="one another"):
        list(message.entries(page))
    with pytest.raises(ValueError, match="one another"):
        list(message.notifications(struct.pack("<III", 1, 5, 2) * 100))


def test_a_name_of_a_kilobyte_is_refused() -> None:
    with pytest.raises(ValueError, match="too long"):
        list(message.entries(entry("x" * 1100)))


@pytest.mark.parametrize("attributes", [0x400, 0x410])
def test_a_reparse_point_is_a_link(attributes: int) -> None:
    assert message.Facts(0, 0, 0, attributes, 0).is_link


def test_a_time_beyond_all_calendars_is_a_value_error_or_a_time() -> None:
    facts = message.Facts(2**64 - 1, 0, 0, 0, 0)
    try:
        assert facts.modified.tzinfo is not None
    except (ValueError, OverflowError):
        pytest.fail("a listing would end there")


@pytest.mark.parametrize(
    ("code", "kind"),
    [
        (0xC00000CC, "not-found"),
        (0xC0000022, "denied"),
        (0xC000006D, "bad-credentials"),
        (0xC0000234, "bad-credentials"),
        (0xC0000043, "busy"),
        (0xC000007F, "full"),
        (0xC0000035, "conflict"),
        (0xC00000BA, "invalid-name"),
        (0x8000002D, "invalid-name"),
        (0xC00000B5, "timeout"),
        (0xC0000102, "corrupt"),
        (0xC0DEC0DE, "unreachable"),
    ],
)
def test_a_status_is_one_of_the_ten_kinds_and_keeps_its_code(code: int, kind: str) -> None:
    error = status.error_of(code, "cannot read x in y")
    assert isinstance(error, StoreError)
    assert (error.kind, error.code) == (kind, f"0x{code:08X}")
    assert error.hint
    assert str(error).startswith("cannot read x in y: ")


def test_no_status_is_of_two_kinds() -> None:
    listed = [code for codes in status._KINDS.values() for code in codes]
    assert len(listed) == len(set(listed))
    assert status.kind_of(1) is StoreUnreachable
