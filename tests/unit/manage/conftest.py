from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from tests.support.records import records_in

from certshelf.manage.db.database import Database


@pytest.fixture
def database(tmp_path: Path) -> Iterator[Database]:
    with records_in(tmp_path) as database:
        yield database
