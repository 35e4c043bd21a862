"""What the doctor knows of the manager's own machine: clock, disk, database, secrets at rest."""

from __future__ import annotations

import os
import re
import shutil
import stat
from pathlib import Path

from certshelf.doctor.context import ManagerFacts
from certshelf.errors import RecordError
from certshelf.manage.manager import Manager

# A setting whose name says secret and whose value is not the name of a credential.
_SECRET = re.compile(
    r"(?i)^[\s#]*(?!\w*credential)\w*(?:password|passwd|secret|token|api_?key)\w*\s*=\s*['\"][^'\"]+"
)


def look_at_machine(manager: Manager) -> ManagerFacts:
    """The facts at this moment; nothing is changed."""
    home = manager.home
    return ManagerFacts(
        clock_off_seconds=_clock_off(manager),
        disk_free_bytes=shutil.disk_usage(home.path).free,
        disk=str(home.path),
        database_error=_database_error(manager),
        loose_files=tuple(
            str(path)
            for path in (home.keys, home.database)
            if not (path == home.keys and home.keys_given) and _is_loose(path)
        ),
        config_secrets=_config_secrets(home.settings),
    )


def _clock_off(manager: Manager) -> float | None:
    """How far the clock went back behind the newest event; None when nothing tells.

    A clock that is ahead cannot be seen from inside.
    """
    with manager.database.read() as records:
        newest = records.events.latest(1)
    if not newest:
        return None
    return min(0.0, (manager.clock.now() - newest[0].at).total_seconds())


def _database_error(manager: Manager) -> str:
    try:
        manager.database.check()
    except RecordError as error:
        return str(error)
    return ""


def _is_loose(path: Path) -> bool:
    """Whether group or others may use it; POSIX modes only, Windows has ACLs."""
    if os.name != "posix":
        return False
    try:
        return bool(stat.S_IMODE(path.stat().st_mode) & 0o077)
    except FileNotFoundError:
        return False


def _config_secrets(settings: Path) -> tuple[str, ...]:
    """Lines of the settings file that look like a secret, commented out or not; never the value."""
    try:
        lines = settings.read_text(encoding="utf-8").splitlines()
    except OSError:
        return ()
    return tuple(f"{settings}:{n}" for n, line in enumerate(lines, 1) if _SECRET.match(line))
