"""Processes that read one key again and again, and count what no reader may see.

A body is its own proof: `body(n, seed)` carries its number and the SHA-256 of the rest.
"""

from __future__ import annotations

import hashlib
import multiprocessing
import random
import time
from collections import Counter
from dataclasses import dataclass, field
from multiprocessing.connection import Connection
from pathlib import Path

from certshelf.errors import StoreError
from certshelf.store.folder import FolderStore

KEY = "www.example.com.pfx"


def body(number: int) -> bytes:
    """4 to 6 KB, of a length of its own."""
    rest = random.Random(number).randbytes(4000 + number * 37 % 2000)
    head = number.to_bytes(8, "big")
    return head + hashlib.sha256(head + rest).digest() + rest


def judge(data: bytes, last: int) -> tuple[str, int]:
    """`good`, `empty`, `torn` or `backwards`, and the number that was read."""
    if not data:
        return "empty", last
    if hashlib.sha256(data[:8] + data[40:]).digest() != data[8:40]:
        return "torn", last
    number = int.from_bytes(data[:8], "big")
    return ("good" if number >= last else "backwards"), number


def _read_until_told(root: str, through_store: bool, told: Connection) -> None:
    store = FolderStore(root)
    path = Path(root) / KEY
    seen: Counter[str] = Counter()
    last = 0
    told.send("ready")
    while not told.poll():
        try:
            if through_store:
                blob = store.get(KEY)
                data = None if blob is None else blob.data
            else:
                data = path.read_bytes()
        except FileNotFoundError:
            data = None
        except StoreError as error:
            seen[error.kind] += 1
            continue
        verdict, last = ("missing", last) if data is None else judge(data, last)
        seen[verdict] += 1
        time.sleep(0)
    told.send(dict(seen))


@dataclass
class Readers:
    """count processes; through_store False reads as another program would, in one open and read."""

    root: Path
    count: int
    through_store: bool = True
    seen: Counter[str] = field(default_factory=Counter)

    def __enter__(self) -> Readers:
        spawn = multiprocessing.get_context("spawn")
        self._ends: list[Connection] = []
        self._processes = []
        for _ in range(self.count):
            ours, theirs = spawn.Pipe()
            arguments = (str(self.root), self.through_store, theirs)
            process = spawn.Process(target=_read_until_told, args=arguments, daemon=True)
            process.start()
            self._ends.append(ours)
            self._processes.append(process)
        for end in self._ends:
            end.recv()
        return self

    def __exit__(self, *_: object) -> None:
        for end, process in zip(self._ends, self._processes, strict=True):
            if process.is_alive():
                end.send("stop")
                self.seen.update(end.recv())
            process.join()
