"""The floor under what a certificate costs besides ACME and PFX: the same writes, nothing else.

    python bench/pipeline_floor.py [--n 400]

Per certificate: twenty statements of sqlite3 without any library over it, 32 certificates a
transaction; one AES-GCM seal; two files written to a temp, flushed, renamed, read back and
compared; one Ed25519 signature. CPU of this process alone, in ms a certificate.
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

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.ciphers.aead import AESGCM

STATEMENTS = 20
TOGETHER = 32


@contextmanager
def cpu(what: str, n: int) -> Iterator[None]:
    start = time.process_time()
    yield
    print(f"  {what:<28}{(time.process_time() - start) * 1000 / n:6.2f}")


def statements(path: Path, n: int) -> None:
    database = sqlite3.connect(path, isolation_level=None)
    for pragma in ("journal_mode=WAL", "synchronous=FULL"):
        database.execute(f"PRAGMA {pragma}")
    database.execute("CREATE TABLE t (id INTEGER PRIMARY KEY, a TEXT, b TEXT, c TEXT)")
    for first in range(0, n, TOGETHER):
        database.execute("BEGIN IMMEDIATE")
        for one in range(first, min(n, first + TOGETHER)):
            for step in range(STATEMENTS // 4):
                key = one * STATEMENTS + step
                database.execute("INSERT INTO t VALUES (?, ?, ?, ?)", (key, "x" * 300, "y", "z"))
                database.execute("SELECT a, b, c FROM t WHERE id = ?", (key,)).fetchone()
                database.execute("UPDATE t SET b = ? WHERE id = ?", ("w", key))
                database.execute("SELECT b FROM t WHERE id = ?", (key,)).fetchone()
        database.execute("COMMIT")


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


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--n", type=int, default=400)
    n = parser.parse_args().n
    box, key = AESGCM(AESGCM.generate_key(256)), Ed25519PrivateKey.generate()
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        parts: dict[str, Callable[[int], object]] = {
            "seal": lambda _: box.encrypt(os.urandom(12), b"k" * 300, b"name"),
            "signature": lambda _: key.sign(b"r" * 600),
            "two files": lambda i: replaced(folder, (f"{i}.a", f"{i}.b"), b"d" * 1800),
        }
        print("CPU, ms a certificate:")
        with cpu("twenty statements", n):
            statements(folder / "floor.db", n)
        for what, part in parts.items():
            with cpu(what, n):
                for i in range(n):
                    part(i)
    return 0


if __name__ == "__main__":
    sys.exit(main())
