"""A PostgreSQL server of its own for a test: a socket in a fresh folder, no port, no network."""

from __future__ import annotations

import os
import shutil
import subprocess
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest


def binaries() -> Path | None:
    """The folder with initdb and postgres, or None when they are not installed."""
    if found := shutil.which("initdb"):
        return Path(found).resolve().parent
    folders = sorted(Path("/usr/lib/postgresql").glob("*/bin/initdb"))
    return folders[-1].parent if folders else None


@contextmanager
def postgres() -> Iterator[str]:
    """A running server with one empty database; its URL for SQLAlchemy. Skips without one."""
    pytest.importorskip("psycopg")
    programs = binaries()
    if programs is None:
        pytest.skip("PostgreSQL is not installed")
    folder = Path(tempfile.mkdtemp(prefix="certshelf-pg-", dir="/tmp"))
    user = _unprivileged(folder)
    try:
        options = ["-D", str(folder / "data"), "-A", "trust", "-U", "test", "--no-sync"]
        subprocess.run(
            [programs / "initdb", *options], check=True, capture_output=True, cwd=folder, **user
        )
        settings = ["-c", "listen_addresses=", "-c", f"unix_socket_directories={folder}"]
        server = subprocess.Popen(
            [programs / "postgres", "-D", str(folder / "data"), *settings, "-c", "fsync=off"],
            stderr=subprocess.DEVNULL,
            cwd=folder,
            **user,
        )
        try:
            url = f"host={folder} user=test dbname=postgres"
            _wait_until_ready(url, server)
            yield f"postgresql+psycopg://test@/postgres?host={folder}"
        finally:
            server.send_signal(3)  # SIGQUIT: stop at once
            server.wait(30)
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def _unprivileged(folder: Path) -> dict[str, Any]:
    """Whom to run it as: PostgreSQL refuses root."""
    if os.geteuid() != 0:
        return {}
    import pwd

    nobody = pwd.getpwnam("nobody")
    os.chown(folder, nobody.pw_uid, nobody.pw_gid)
    return {"user": nobody.pw_uid, "group": nobody.pw_gid, "extra_groups": []}


def _wait_until_ready(conninfo: str, server: subprocess.Popen[bytes]) -> None:
    import psycopg

    deadline = time.monotonic() + 30
    while time.monotonic() < deadline:
        if server.poll() is not None:
            raise RuntimeError(f"postgres ended with {server.returncode}")
        try:
            psycopg.connect(conninfo, connect_timeout=2).close()
            return
        except psycopg.OperationalError:
            time.sleep(0.05)
    raise TimeoutError("postgres was not ready within 30 s")
