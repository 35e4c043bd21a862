"""Servers for fault tests: each test that stops or freezes one has its own."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.support.samba import Samba, running_samba


@pytest.fixture
def samba() -> Iterator[Samba]:
    with running_samba() as server:
        yield server
