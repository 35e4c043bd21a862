"""The child process of guarded.decode_guarded: a PFX on standard input, PEM on standard output."""

from __future__ import annotations

import sys

from certshelf.bundle import pem, pfx
from certshelf.bundle.guarded import CPU_LIMIT_S, unpack
from certshelf.errors import BundleError


def main() -> int:
    """Read one PFX and write the bundle, or the error's kind, text and hint, each in one line."""
    _limit()
    data, password = unpack(sys.stdin.buffer.read())
    try:
        bundle = pfx.decode(data, password)
    except BundleError as error:
        lines = (type(error).__name__, _line(str(error)), error.hint)
        sys.stdout.buffer.write("\n".join(lines).encode())
        return 1
    sys.stdout.buffer.write(b"ok\n" + _line(bundle.friendly_name).encode() + b"\n")
    sys.stdout.buffer.write(pem.encode(bundle))
    return 0


def _limit() -> None:
    """No more CPU than allowed, and no core file when that is used up: it would hold the key."""
    try:
        import resource
    except ImportError:  # Windows: the parent's deadline has to do
        return
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    hard = resource.getrlimit(resource.RLIMIT_CPU)[1]
    soft = CPU_LIMIT_S if hard == resource.RLIM_INFINITY else min(CPU_LIMIT_S, hard)
    resource.setrlimit(resource.RLIMIT_CPU, (soft, hard))


def _line(text: str) -> str:
    return " ".join(text.splitlines())


if __name__ == "__main__":
    sys.exit(main())
