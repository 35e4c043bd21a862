"""An empty database of records for a test, with its key file."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from certshelf.manage.db.database import BUSY_SECONDS, Database, open_database
from certshelf.manage.keyring import KeyRing
from certshelf.manage.model import ManagedCertificate
from certshelf.names import HostName


@contextmanager
def records_in(folder: Path, *, busy_seconds: float = BUSY_SECONDS) -> Iterator[Database]:
    ring = KeyRing(folder / "keys.json")
    ring.create()
    database = open_database(
        f"sqlite:///{folder / 'certshelf.db'}", ring, busy_seconds=busy_seconds
    )
    try:
        yield database
    finally:
        database.close()


def certificate(name: str = "web", *hosts: str, **options: object) -> ManagedCertificate:
    names = tuple(HostName.parse(host) for host in hosts or (f"{name}.example.test",))
    return ManagedCertificate(name, names, **options)  # type: ignore[arg-type]
