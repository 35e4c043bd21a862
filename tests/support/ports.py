"""Free loopback ports for servers that must be told theirs before they start.

They lie below the range from which outgoing connections take theirs, each test process has a part
of its own, and none is given twice: what is free now is still free when the server binds it.
"""

from __future__ import annotations

import os
import random
import socket
from contextlib import ExitStack, suppress

_FIRST, _LAST = 10_000, 32_000
_given: set[int] = set()
_random = random.Random()


def free_port(*kinds: int) -> int:
    """A port that is free for these kinds of socket (TCP when none is named)."""
    for _ in range(1000):
        port = _random.randrange(*_part())
        if port not in _given and _is_free(port, kinds or (socket.SOCK_STREAM,)):
            _given.add(port)
            return port
    raise RuntimeError("no loopback port is free")


def free_ports(count: int) -> list[int]:
    """Different free ports."""
    return [free_port() for _ in range(count)]


def _part() -> tuple[int, int]:
    """The ports of this test process: one of eight parts, by the number of the worker."""
    worker = os.environ.get("PYTEST_XDIST_WORKER", "gw0").removeprefix("gw")
    size = (_LAST - _FIRST) // 8
    start = _FIRST + size * (int(worker) % 8 if worker.isdigit() else 0)
    return start, start + size


def _is_free(port: int, kinds: tuple[int, ...]) -> bool:
    with ExitStack() as held, suppress(OSError):
        for kind in kinds:
            held.enter_context(socket.socket(socket.AF_INET, kind)).bind(("127.0.0.1", port))
        return True
    return False
