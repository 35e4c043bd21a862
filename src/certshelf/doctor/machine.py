"""Is the manager's own machine sound: clock, disk, database, secrets at rest?"""

from __future__ import annotations

from collections.abc import Iterator

from certshelf.doctor.base import Check, error, no_manager, warning
from certshelf.doctor.context import Context
from certshelf.finding import Finding

MAX_CLOCK_SECONDS = 60.0
LOW_DISK_BYTES = 256 * 2**20
NO_DISK_BYTES = 32 * 2**20


def _clock(context: Context) -> Iterator[Finding]:
    off = context.manager.clock_off_seconds if context.manager else None
    if off is not None and abs(off) > MAX_CLOCK_SECONDS:
        yield error(
            "clock",
            "this machine",
            f"the clock is {abs(off):.0f} s {'ahead' if off > 0 else 'behind'}",
            "certificates look expired or not yet valid, and renewals come at the wrong time",
            "switch time synchronisation on (chrony, w32time)",
        )


def _no_clock(context: Context) -> str:
    manager = context.manager
    known = manager is not None and manager.clock_off_seconds is not None
    return "" if known else "nothing tells the time yet (doctor --deep asks the CAs)"


def _disk(context: Context) -> Iterator[Finding]:
    manager = context.manager
    free = manager.disk_free_bytes if manager else None
    if manager is None or free is None or free >= LOW_DISK_BYTES:
        return
    say = error if free < NO_DISK_BYTES else warning
    yield say(
        "disk",
        manager.disk,
        f"{free // 2**20} MiB are left in {manager.disk}",
        "without space nothing can be issued or published; what is there stays whole",
        "make room",
    )


def _database(context: Context) -> Iterator[Finding]:
    if context.manager and context.manager.database_error:
        yield error(
            "database",
            "database",
            f"the database is not sound: {context.manager.database_error}",
            "records of certificates and orders may be lost",
            "stop the manager and restore the newest backup",
        )


def _loose(context: Context) -> Iterator[Finding]:
    for file in context.manager.loose_files if context.manager else ():
        yield error(
            "key-file-mode",
            file,
            f"others than its owner may read or change {file}",
            "it opens every secret of this manager",
            f"chmod go= {file} (Windows: icacls /inheritance:r), then rotate it",
        )


def _config(context: Context) -> Iterator[Finding]:
    for place in context.manager.config_secrets if context.manager else ():
        yield error(
            "config-secret",
            place,
            f"{place} looks like a secret in clear",
            "settings are read by more people than secrets are meant for",
            "certshelf credential set, and name the credential there; then change that secret",
        )


CHECKS = (
    Check("clock", "the clock is right, as far as anything tells", _clock, _no_clock),
    Check("disk", "the disk has room", _disk, no_manager),
    Check("database", "the database is sound", _database, no_manager),
    Check("key-file-mode", "nobody else reads the key file", _loose, no_manager),
    Check("config-secret", "no secret lies in a setting", _config, no_manager),
)
