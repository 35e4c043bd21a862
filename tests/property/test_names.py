"""Names: whatever the text, the answer is a refusal or a file inside the shelf's folder."""

from __future__ import annotations

import posixpath
import re

from hypothesis import example, given
from hypothesis import strategies as st

from certshelf.errors import NameInvalid
from certshelf.names import MAX_FILE_NAME_BYTES, HostName
from certshelf.store.base import check_key

LABEL = st.from_regex(r"[a-z0-9]([a-z0-9-]{0,20}[a-z0-9])?", fullmatch=True)
UNICODE_LABEL = st.text(alphabet="abcdeäöüßéçñжяλωあ中٣", min_size=1, max_size=12)
HOSTS = st.builds(
    lambda star, labels: star + ".".join(labels),
    st.sampled_from(["", "*."]),
    st.lists(LABEL | UNICODE_LABEL, min_size=2, max_size=5),
)
ASCII_NAME = re.compile(r"(\*\.)?[a-z0-9-]+(\.[a-z0-9-]+)*")
HOSTILE = st.text() | st.text(
    alphabet="./\\:*_%\0 \n\r~abcAUXCONnul\u3002\uff0e\u2024-0123456789", max_size=40
)


def parse(text: str) -> HostName | None:
    try:
        return HostName.parse(text)
    except NameInvalid:
        return None


@given(HOSTILE)
@example("..")
@example("a/../../b")
@example("con.pfx")
@example("a\u2025b")
@example("ABCDEF~1")
def test_no_input_ever_yields_a_name_outside_the_folder(text: str) -> None:
    host = parse(text)
    if host is None:
        return
    assert ASCII_NAME.fullmatch(host.ascii)
    for file in host.file_names():
        assert posixpath.basename(posixpath.normpath(file)) == file
        assert not any(c in file for c in '/\\:\0*?"<>|') and not file.startswith(".")
        assert len(file.encode()) <= MAX_FILE_NAME_BYTES
        assert check_key(file) == (file,)


@given(HOSTS)
def test_every_accepted_host_round_trips_through_its_files(text: str) -> None:
    host = parse(text)
    if host is None:
        return
    for file in host.file_names():
        assert HostName.from_file_name(file) == host
        if file.isascii():
            assert HostName.from_file_name(file.upper()) == host
    assert HostName.parse(host.ascii) == host
    assert HostName.parse(host.unicode) == host


@given(HOSTS)
def test_case_and_trailing_dot_map_to_one_file(text: str) -> None:
    host = parse(text)
    if host is None:
        return
    assert HostName.parse(host.ascii.upper()) == host
    assert HostName.parse(host.ascii + ".") == host


@given(HOSTS, HOSTS)
def test_covers_is_equality_or_one_label(left: str, right: str) -> None:
    one, other = parse(left), parse(right)
    if one is None or other is None:
        return
    labels, wanted = one.ascii.split("."), other.ascii.split(".")
    one_label = labels[0] == "*" and wanted[0] != "*" and labels[1:] == wanted[1:]
    assert one.covers(other) == (one.ascii == other.ascii or one_label)


@given(HOSTS)
def test_candidates_are_exact_then_at_most_one_wildcard_that_covers(text: str) -> None:
    host = parse(text)
    if host is None:
        return
    first, *rest = host.candidates()
    assert first == host
    assert len(rest) == (0 if host.is_wildcard else 1)
    assert all(c.is_wildcard and c.covers(host) for c in rest)
