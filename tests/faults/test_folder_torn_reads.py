"""Readers in other processes see the old file or the new one, never anything between."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from certshelf.store.base import ANY
from certshelf.store.folder import FolderStore
from tests.support.readers import KEY, Readers, body


@pytest.mark.skipif(os.name == "nt", reason="the readers would hold the file open")
@pytest.mark.parametrize(
    ("replaces", "through_store"),
    [
        (200, True),
        pytest.param(200, False, marks=pytest.mark.slow),
        pytest.param(2000, True, marks=pytest.mark.slow),
    ],
)
def test_no_reader_sees_a_torn_empty_missing_or_older_file(
    tmp_path: Path, replaces: int, through_store: bool
) -> None:
    store = FolderStore(tmp_path)
    store.put(KEY, body(0), ANY)
    with Readers(tmp_path, count=2, through_store=through_store) as readers:
        for number in range(1, replaces + 1):
            store.put(KEY, body(number), ANY)
    assert set(readers.seen) == {"good"}, readers.seen
    assert readers.seen["good"] > 0
