"""The child process of guarded.decode_guarded: a PFX on standard input, PEM on standard output."""

from __future__ import annotations

import sys

from certshelf.bundle import pem, pfx
from certshelf.bundle.guarded import unpack
from certshelf.errors import BundleError


def main() -> int:
    """Read one PFX and write the bundle, or the error's kind, text and hint, each in one line."""
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


def _line(text: str) -> str:
    return " ".join(text.splitlines())


if __name__ == "__main__":
    sys.exit(main())
