"""A writer in a process of its own, to be killed or frozen: reads what to do from stdin as JSON.

Prints a line when it is about to do what the test waits for. Bodies carry their own SHA-256.
"""

from __future__ import annotations

import hashlib
import json
import os
import signal
import sys
import threading

from certshelf.errors import StoreError
from certshelf.secret import Secret
from certshelf.store.base import ANY, StoreCredentials, Version
from certshelf.store.smb import SmbStore
from certshelf.store.smb_write import Put

KEY = "www.example.com.pfx"


def body(number: int) -> bytes:
    """Bytes of another length each time, that show whether they are whole."""
    data = number.to_bytes(8, "big") + os.urandom(4000 + number * 37 % 2000)
    return data + hashlib.sha256(data).digest()


def is_whole(data: bytes) -> bool:
    """Whether these are all the bytes of one body()."""
    return len(data) > 40 and hashlib.sha256(data[:-32]).digest() == data[-32:]


def main() -> None:
    order = json.loads(sys.stdin.readline())
    store = SmbStore.from_url(
        order["url"],
        StoreCredentials(order["user"], Secret(order["password"])),
        order["deadline_seconds"],
    )
    if order["do"] == "write for ever":
        print("ready", flush=True)
        for number in range(1_000_000):
            store.put(KEY, body(number), ANY)
    move = Put._move

    def freeze_and_move(self: Put, *arguments: object) -> None:
        print("frozen", flush=True)
        signal.pthread_kill(threading.get_ident(), signal.SIGSTOP)  # this thread stops right here
        move(self, *arguments)  # type: ignore[arg-type]

    Put._move = freeze_and_move  # type: ignore[method-assign]
    try:
        store.put(KEY, body(999), Version(order["version"]))
        print("written", flush=True)
    except StoreError as error:
        print(error.kind, flush=True)


if __name__ == "__main__":
    main()
