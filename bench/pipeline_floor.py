"""The floor under what a certificate costs besides ACME and PFX: the same writes, nothing else.

    python bench/pipeline_floor.py [--n 400]

Per certificate: fourteen statements (seven looks, two rows made, five changes of a row), 32
certificates a transaction, by sqlite3 alone and by SQLAlchemy Core with each statement built once;
one AES-GCM seal; two files written to a temp, flushed, renamed, read back and compared, and the
same with what a shelf on POSIX promises (no link followed, one writer at a time, a conflict seen,
rights and a time of its own); the look at the leaf; one Ed25519 signature. CPU of this process
alone, in ms a certificate.
"""

from __future__ import annotations

import argparse
import os
import sqlite3
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from cryptography import x509
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from sqlalchemy import Column, Integer, MetaData, String, Table, bindparam, create_engine, select
from tests.support.bundles import make_bundle

from certshelf.bundle.check import check
from certshelf.bundle.keys import generate
from certshelf.bundle.model import Bundle
from certshelf.clock import SYSTEM
from certshelf.names import HostName
from certshelf.store.base import ABSENT
from certshelf.store.folder import FolderStore

TOGETHER = 32
MOST = 20
"""Columns of a row: as many as an order has."""


@contextmanager
def cpu(what: str, n: int) -> Iterator[None]:
    start = time.process_time()
    yield
    print(f"  {what:<28}{(time.process_time() - start) * 1000 / n:6.2f}")


def by_sqlite(path: Path, n: int) -> None:
    database = sqlite3.connect(path, isolation_level=None)
    for pragma in ("journal_mode=WAL", "synchronous=FULL"):
        database.execute(f"PRAGMA {pragma}")
    columns = [f"c{i}" for i in range(MOST)]
    database.execute(f"CREATE TABLE t (id INTEGER PRIMARY KEY, {' TEXT, '.join(columns)} TEXT)")
    row = ["x" * 50] * MOST
    marks = ", ".join("?" * (MOST + 1))
    for first in range(0, n, TOGETHER):
        database.execute("BEGIN IMMEDIATE")
        for one in range(first, min(n, first + TOGETHER)):
            for key in (2 * one, 2 * one + 1):
                database.execute(f"INSERT INTO t VALUES ({marks})", (key, *row))
            for _ in range(5):
                database.execute("UPDATE t SET c1 = ?, c2 = ? WHERE id = ?", ("y", "z", 2 * one))
            for _ in range(7):
                database.execute("SELECT * FROM t WHERE id = ?", (2 * one,)).fetchone()
        database.execute("COMMIT")
    database.close()


def by_sqlalchemy(path: Path, n: int) -> None:
    columns = [Column(f"c{i}", String) for i in range(MOST)]
    table = Table("t", MetaData(), Column("id", Integer, primary_key=True), *columns)
    engine = create_engine(f"sqlite:///{path}")
    table.metadata.create_all(engine)
    insert, look = table.insert(), select(table).where(table.c.id == bindparam("of"))
    update = table.update().where(table.c.id == bindparam("of"))
    row = {column.name: "x" * 50 for column in columns}
    for first in range(0, n, TOGETHER):
        with engine.begin() as connection:
            for one in range(first, min(n, first + TOGETHER)):
                for key in (2 * one, 2 * one + 1):
                    connection.execute(insert, {"id": key, **row})
                for _ in range(5):
                    connection.execute(update, {"of": 2 * one, "c1": "y", "c2": "z"})
                for _ in range(7):
                    connection.execute(look, {"of": 2 * one}).first()
    engine.dispose()


def replaced(folder: Path, names: tuple[str, ...], data: bytes) -> None:
    for name in names:
        temp, path = folder / f".{name}.tmp", folder / name
        file = os.open(temp, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
        os.write(file, data)
        os.fsync(file)
        os.close(file)
        temp.rename(path)
        held = os.open(folder, os.O_RDONLY)
        os.fsync(held)
        os.close(held)
        if path.read_bytes() != data:
            raise SystemExit("what was read back is other bytes")


def on_a_shelf(store: FolderStore, names: tuple[str, ...], data: bytes) -> None:
    for name in names:
        store.get(name)
        store.put(name, data, ABSENT)


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--n", type=int, default=400)
    n = parser.parse_args().n
    box, key = AESGCM(AESGCM.generate_key(256)), Ed25519PrivateKey.generate()
    leaf = make_bundle("www.example.test").leaf_der
    host = HostName.parse("www.example.test")
    own = generate("ecdsa-p256")
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        (folder / "shelf").mkdir()
        store, data = FolderStore(folder / "shelf"), b"d" * 1800

        def look(_: int) -> object:
            return check(Bundle(own, x509.load_der_x509_certificate(leaf)), host, SYSTEM.now())

        parts: dict[str, Callable[[int], object]] = {
            "seal": lambda _: box.encrypt(os.urandom(12), b"k" * 300, b"name"),
            "signature": lambda _: key.sign(b"r" * 600),
            "leaf parsed and looked at": look,
            "two files, bare": lambda i: replaced(folder, (f"{i}.a", f"{i}.b"), data),
            "two files, as a shelf": lambda i: on_a_shelf(
                store, (f"a{i}.pfx", f".certshelf/records/a{i}.json"), data
            ),
        }
        print("CPU, ms a certificate:")
        with cpu("statements by sqlite3", n):
            by_sqlite(folder / "floor.db", n)
        with cpu("the same by SQLAlchemy Core", n):
            by_sqlalchemy(folder / "core.db", n)
        for what, part in parts.items():
            with cpu(what, n):
                for i in range(n):
                    part(i)
    return 0


if __name__ == "__main__":
    sys.exit(main())
