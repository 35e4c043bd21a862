"""What the doctor knows of the manager's own machine: clock, disk, database, secrets at rest."""

from __future__ import annotations

import os
import re
import shutil
import stat
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from certshelf.doctor.context import ManagerFacts
from certshelf.errors import RecordError
from certshelf.manage.home import Home
from certshelf.manage.manager import Manager

# A name that says secret and is not that of a setting that names a credential.
_NAME = r"(?!\w*credential)\w*(?:password|passwd|secret|token|api_?key)\w*"
_SECRET = re.compile(rf"(?i)^[\s#]*{_NAME}\s*=\s*['\"][^'\"]+")
_SECRET_NAME = re.compile(_NAME, re.IGNORECASE)
_SECRET_IN_URL = re.compile(rf"(?i)^[a-z][a-z0-9+.-]*://(?:[^/?#]*:[^/?#]*@|.*[?&]{_NAME}=[^&]+)")


def look_at_machine(manager: Manager, outside_off_seconds: float | None = None) -> ManagerFacts:
    """The facts at this moment; nothing is changed.

    outside_off_seconds: how far the clock is ahead of a CA's, when one was asked.
    """
    home = manager.home
    inside = _clock_off(manager)
    known = [off for off in (inside, outside_off_seconds) if off is not None]
    return ManagerFacts(
        clock_off_seconds=max(known, key=abs, default=None),
        disk_free_bytes=shutil.disk_usage(home.path).free,
        disk=str(home.path),
        database_error=_database_error(manager),
        loose_files=(
            *((str(home.keys),) if is_open_to_others(home) else ()),
            *((str(home.database),) if _is_loose(home.database) else ()),
        ),
        config_secrets=(*_config_secrets(home.settings), *_task_secrets(manager)),
    )


def _clock_off(manager: Manager) -> float | None:
    """How far the clock went back behind the newest event; None when nothing tells.

    A clock that is ahead cannot be seen from inside, only against a CA's.
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


def is_open_to_others(home: Home) -> bool:
    """Whether others may use the key file, which is then refused; not asked of one handed in."""
    return not home.keys_given and _is_loose(home.keys)


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


def _task_secrets(manager: Manager) -> tuple[str, ...]:
    """Settings of deployment tasks that look like a secret; never the value."""
    with manager.database.read() as records:
        tasks = records.tasks.all()
        names = {certificate.id: certificate.name for certificate in records.certificates.all()}
    return tuple(
        f"task {task.name} of {names.get(task.certificate_id, '?')}: {where}"
        for task in tasks
        for where in _secret_places(task.settings)
    )


def _secret_places(settings: Mapping[str, Any], above: str = "") -> Iterator[str]:
    for name, value in settings.items():
        if isinstance(value, Mapping):
            yield from _secret_places(value, f"{above}{name}.")
        elif isinstance(value, str) and value and _is_secret(name, value):
            yield above + name


def _is_secret(name: str, value: str) -> bool:
    named = _SECRET_NAME.fullmatch(name.replace("-", "_"))
    return named is not None or _SECRET_IN_URL.match(value) is not None
