"""No text is a key that names anything but a plain file below the root."""

from __future__ import annotations

import ntpath
import os.path
import posixpath

from hypothesis import example, given
from hypothesis import strategies as st

from certshelf.errors import StoreInvalidName
from certshelf.names import HostName, NameInvalid
from certshelf.store.base import HIDDEN, LOCKS, check_folder, check_key

PIECES = ["..", ".", "/", "\\", "a", "b.pfx", HIDDEN, "lock", ":", "\0", " ", "nul", "\u0301", "ü"]
ANY_TEXT = st.one_of(st.text(), st.lists(st.sampled_from(PIECES)).map("".join))


@given(ANY_TEXT)
@example(f"{HIDDEN}/../../etc/passwd")
@example(LOCKS)
def test_an_accepted_key_stays_below_the_root_on_every_system(key: str) -> None:
    try:
        parts = check_key(key)
    except StoreInvalidName as error:
        assert "\n" not in str(error)
        assert len(str(error)) < 1000
        return
    assert "/".join(parts) == key
    assert parts[:2] != tuple(LOCKS.split("/"))
    assert posixpath.normpath(posixpath.join("/root", key)) == f"/root/{key}"
    windows = ntpath.normpath(ntpath.join("C:\\root", key))
    assert windows == "C:\\root\\" + key.replace("/", "\\")
    assert not any(part.startswith(".") for part in parts if part != HIDDEN)
    assert parts[0] == HIDDEN or len(parts) == 1
    assert all(len(os.path.basename(part).encode()) <= 255 for part in parts)


@given(ANY_TEXT)
def test_an_accepted_folder_is_the_top_or_hidden(folder: str) -> None:
    try:
        parts = check_folder(folder)
    except StoreInvalidName:
        return
    assert parts == () or parts[0] == HIDDEN


@given(st.from_regex(r"(\*\.)?[a-z0-9ü][a-z0-9ü-]{0,9}(\.[a-z][a-z0-9]{0,5}){0,3}", fullmatch=True))
def test_every_file_of_a_host_is_a_key(text: str) -> None:
    try:
        host = HostName.parse(text)
    except NameInvalid:
        return
    for file_name in host.file_names():
        assert check_key(file_name) == (file_name,)
