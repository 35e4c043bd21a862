"""The process of guarded.GuardedChild: PFX files on standard input, PEM on standard output."""

from __future__ import annotations

import faulthandler
import math
import sys
from typing import IO

from certshelf.bundle import pem, pfx
from certshelf.bundle.framing import read_message, unpack, write_message
from certshelf.errors import BundleError
from certshelf.secret import Secret

CPU_LIMIT_S = 4
"""For one file: about twice what the slowest accepted one needs (docs/reference/pfx.md)."""
_ORPHAN_SECONDS = 5.0


def main(words: list[str]) -> int:
    """Answer until standard input ends: a bundle, or the error's kind, text and hint.

    words: the parent's deadline in seconds. It kills us then; when it is gone, we end ourselves.
    """
    deadline = float(words[0]) + _ORPHAN_SECONDS
    serve(sys.stdin.buffer, sys.stdout.buffer, deadline)
    return 0


def serve(requests: IO[bytes], answers: IO[bytes], deadline_s: float) -> None:
    """One answer for each request, until there are no more."""
    while (message := read_message(requests)) is not None:
        _limit_cpu()
        # A thread in C, which needs no lock of the interpreter: the library holds it for long.
        faulthandler.dump_traceback_later(deadline_s, exit=True)
        answer = _answer(*unpack(message))
        faulthandler.cancel_dump_traceback_later()
        write_message(answers, answer)


def _answer(data: bytes, password: Secret | None) -> bytes:
    try:
        bundle = pfx.decode(data, password)
    except BundleError as error:
        lines = (type(error).__name__, _line(str(error)), error.hint)
        return "\n".join(lines).encode()
    return b"ok\n" + _line(bundle.friendly_name).encode() + b"\n" + pem.encode(bundle)


def _limit_cpu() -> None:
    """No more CPU than allowed for one file, and no core file when that is used up: it would hold
    the key."""
    try:
        import resource
    except ImportError:  # Windows: the deadline has to do
        return
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    used = resource.getrusage(resource.RUSAGE_SELF)
    soft = math.ceil(used.ru_utime + used.ru_stime) + CPU_LIMIT_S
    hard = resource.getrlimit(resource.RLIMIT_CPU)[1]
    soft = soft if hard == resource.RLIM_INFINITY else min(soft, hard)
    resource.setrlimit(resource.RLIMIT_CPU, (soft, hard))


def _line(text: str) -> str:
    return " ".join(text.splitlines())


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
