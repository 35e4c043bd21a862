"""What holds for every test: no real home, no colours, and the same examples on each run."""

from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import HealthCheck, settings

settings.register_profile(
    "repeatable",
    derandomize=True,
    deadline=None,
    max_examples=60,
    database=None,
    suppress_health_check=[HealthCheck.too_slow, HealthCheck.function_scoped_fixture],
)
settings.register_profile("search", deadline=None, max_examples=2000, database=None)
settings.load_profile("repeatable")


@pytest.fixture(autouse=True)
def own_home(tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A home of the test's own: nothing a test does may reach the user's."""
    home = tmp_path_factory.mktemp("home")
    monkeypatch.setenv("CERTSHELF_HOME", str(home / "certshelf"))
    monkeypatch.setenv("HOME", str(home))
    monkeypatch.setenv("XDG_DATA_HOME", str(home / "data"))
    monkeypatch.setenv("XDG_CONFIG_HOME", str(home / "config"))
    monkeypatch.setenv("NO_COLOR", "1")
    for name in ("CERTSHELF_STORE", "COLUMNS", "FORCE_COLOR", "SSLKEYLOGFILE"):
        monkeypatch.delenv(name, raising=False)
    return home
