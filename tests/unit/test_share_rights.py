"""What share check says about access lists and rights, without a server."""

from __future__ import annotations

from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from certshelf.finding import Severity
from certshelf.shelf.rights import ShareRights, grant_list, history_list, judge
from certshelf.store.acl import (
    FULL,
    INHERIT,
    MODIFY,
    OWNER_RIGHTS,
    READ,
    Ace,
    Descriptor,
    pack_dacl,
    parse_descriptor,
)

ADMIN, READER, WRITER = "S-1-5-32-544", "S-1-5-21-1-2-3-1001", "S-1-5-21-1-2-3-1002"
RIGHT = ShareRights(
    subject="smb://w@files/certs",
    encrypted=True,
    rights=Descriptor(ADMIN, grant_list(ADMIN, [READER], WRITER), protected=True),
    writer=MODIFY,
    writer_file=MODIFY,
    reader=READ,
    reader_history=0,
    accounts=frozenset({READER, WRITER}),
)


def ids(rights: ShareRights) -> set[str]:
    return {finding.id for finding in judge(rights)}


def with_entry(ace: Ace) -> ShareRights:
    assert RIGHT.rights is not None
    assert RIGHT.rights.aces is not None
    return replace(RIGHT, rights=replace(RIGHT.rights, aces=(*RIGHT.rights.aces, ace)))


def test_what_grant_sets_is_what_check_wants() -> None:
    (finding,) = judge(RIGHT)
    assert finding.severity is Severity.OK


@pytest.mark.parametrize(
    "sid",
    ["S-1-1-0", "S-1-5-11", "S-1-5-32-545", "S-1-5-7", "S-1-5-21-9-9-9-513", "S-1-5-21-9-9-9-515"],
)
def test_a_group_of_anybody_is_an_error(sid: str) -> None:
    assert "share-everyone" in ids(with_entry(Ace(sid, READ)))


@pytest.mark.parametrize("sid", ["S-1-5-82-0", "S-1-5-82-3006700770-424185619", "S-1-5-32-568"])
def test_an_application_pool_is_an_error(sid: str) -> None:
    assert "share-app-pool" in ids(with_entry(Ace(sid, READ)))


def test_generic_rights_count_as_what_they_stand_for() -> None:
    assert "share-everyone" in ids(with_entry(Ace("S-1-1-0", 0x80000000)))


def test_a_denial_is_no_right() -> None:
    assert ids(with_entry(Ace("S-1-1-0", FULL, allow=False))) == {"share-rights"}


def test_an_account_that_nobody_named_is_a_warning() -> None:
    assert ids(with_entry(Ace("S-1-5-21-1-2-3-1999", READ))) == {"share-other-account"}


@pytest.mark.parametrize(
    ("change", "expected"),
    [
        ({"encrypted": False}, "share-unencrypted"),
        ({"clear_for_some": True}, "share-unencrypted"),
        ({"signed": False}, "share-unsigned"),
        ({"reader": MODIFY}, "share-reader-can-write"),
        ({"reader": READ | 0x40000}, "share-reader-can-write"),
        ({"reader": 0}, "share-reader-cannot-read"),
        ({"reader_history": READ}, "share-reader-reads-history"),
        ({"writer": READ}, "share-writer-cannot-write"),
        ({"writer": FULL}, "share-writer-sets-rights"),
        ({"writer_file": MODIFY | 0x40000}, "share-writer-sets-rights"),
        ({"rights": Descriptor(ADMIN, None, protected=False)}, "share-open"),
    ],
)
def test_each_wrong_thing_has_its_finding(change: dict[str, object], expected: str) -> None:
    findings = judge(replace(RIGHT, **change))  # type: ignore[arg-type]
    assert expected in {finding.id for finding in findings}
    assert all(finding.do for finding in findings)


def test_the_worst_comes_first() -> None:
    findings = judge(replace(RIGHT, writer_file=FULL, encrypted=False))
    assert [f.severity for f in findings] == [Severity.ERROR, Severity.WARNING]


def test_what_was_not_asked_is_not_judged() -> None:
    blind = ShareRights(subject="x", encrypted=True, rights=None)
    assert ids(blind) == {"share-rights"}


def test_old_versions_are_not_for_the_reader() -> None:
    assert READER not in {ace.sid for ace in history_list(ADMIN, WRITER)}


def test_an_owner_gets_no_more_than_modify_on_what_lies_in_the_folder() -> None:
    (entry,) = [a for a in grant_list(ADMIN, [READER], WRITER) if a.sid == OWNER_RIGHTS]
    assert (entry.mask, entry.flags) == (MODIFY, 0xB)


def test_a_writer_that_owns_the_folder_gets_no_full_control() -> None:
    assert Ace(WRITER, FULL) not in grant_list(WRITER, [READER], WRITER)


sids = st.lists(st.integers(0, 2**32 - 1), min_size=1, max_size=15).map(
    lambda parts: "S-1-5-" + "-".join(map(str, parts))
)
aces = st.builds(Ace, sids, st.integers(0, 2**32 - 1), st.booleans(), st.integers(0, 255))


@given(st.lists(aces, max_size=8))
def test_an_access_list_survives_its_byte_form(entries: list[Ace]) -> None:
    assert parse_descriptor(pack_dacl(tuple(entries))) == Descriptor("", tuple(entries), True)


@given(st.binary(max_size=200))
def test_any_other_bytes_are_a_descriptor_or_a_value_error(data: bytes) -> None:
    try:
        parse_descriptor(data)
    except ValueError:
        return


@given(st.lists(aces, min_size=1, max_size=3), st.integers(0, 120))
def test_a_list_that_ends_too_early_is_a_value_error(entries: list[Ace], cut: int) -> None:
    whole = pack_dacl(tuple(entries))
    if cut < len(whole):
        with pytest.raises(ValueError):
            parse_descriptor(whole[:cut])


def test_a_list_without_entries_lets_nobody_in_and_no_list_everybody() -> None:
    assert parse_descriptor(pack_dacl(())).aces == ()
    assert INHERIT == 3
