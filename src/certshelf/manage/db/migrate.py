"""Bring an older schema up to date with alembic, inside the caller's transaction."""

from __future__ import annotations

from pathlib import Path

from alembic import command
from alembic.config import Config
from sqlalchemy import Connection


def config() -> Config:
    """alembic's configuration for the migrations that lie in this package."""
    settings = Config()
    folder = str(Path(__file__).parent / "migrations")
    settings.set_main_option("script_location", folder.replace("%", "%%"))
    settings.set_main_option("path_separator", "os")
    return settings


def upgrade(connection: Connection, to: str = "head") -> None:
    """Run the missing migrations on a connection whose transaction the caller commits."""
    settings = config()
    settings.attributes["connection"] = connection
    command.upgrade(settings, to)
