"""Read a PFX that nobody vouches for in a child process, which is killed at a deadline.

Why: the guard reads what stands in clear. Somebody who knows the shelf's password (every server
of the farm does) can hide a key that asks for 2^31 rounds inside encrypted content, and the
library holds the interpreter's lock while it derives. A process can be killed, a thread cannot.
"""

from __future__ import annotations

import signal
import subprocess
import sys
from dataclasses import replace

from certshelf.bundle import pem
from certshelf.bundle.inspect import guard
from certshelf.bundle.model import Bundle
from certshelf.errors import (
    BundleError,
    KeyMismatch,
    KeyUnsupported,
    PfxError,
    PfxHostile,
    PfxKeyMissing,
    PfxManyKeys,
    PfxPasswordWrong,
    PfxUnreadable,
    PfxUnsupported,
)
from certshelf.secret import Secret

# Of the child, its start included: about five times what the slowest accepted file needs.
CPU_LIMIT_S = 4
_NO_PASSWORD = 0xFFFFFFFF
_OUT_OF_CPU = -getattr(signal, "SIGXCPU", 0)  # as a return code; Windows has no such limit
_KINDS: dict[str, type[BundleError]] = {
    kind.__name__: kind
    for kind in (
        KeyMismatch,
        KeyUnsupported,
        PfxHostile,
        PfxKeyMissing,
        PfxManyKeys,
        PfxPasswordWrong,
        PfxUnreadable,
        PfxUnsupported,
    )
}


def decode_guarded(data: bytes, password: Secret | None, timeout_s: float = 30.0) -> Bundle:
    """As pfx.decode(), in a child process that is killed when it needs too much.

    It gets 4 s of CPU (not on Windows) and timeout_s seconds of wall time: the first tells a
    hostile file from a busy machine, the second holds everywhere.
    Costs about 0.2 s for the start of the process: for files that no record vouches for. The key
    crosses between the processes in a pipe only. Raises as pfx.decode(); PfxHostile at either
    limit; PfxError when no child can be started.
    """
    guard(data)
    command = [sys.executable, "-P", "-m", "certshelf.bundle.child"]
    try:
        child = subprocess.run(
            command,
            input=pack(data, password),
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            timeout=timeout_s,
            check=False,
        )
    except subprocess.TimeoutExpired:
        raise _too_long(f"{timeout_s:g} s") from None
    except OSError as error:
        raise PfxError(f"no child process to read it in: {error.strerror}") from error
    if child.returncode == _OUT_OF_CPU < 0:
        raise _too_long(f"{CPU_LIMIT_S} s of CPU")
    return _answer(child.stdout)


def pack(data: bytes, password: Secret | None) -> bytes:
    """What the child reads: the password's length and bytes, then the PFX."""
    secret = b"" if password is None else password.reveal_bytes()
    length = _NO_PASSWORD if password is None else len(secret)
    return length.to_bytes(4, "big") + secret + data


def unpack(message: bytes) -> tuple[bytes, Secret | None]:
    """The inverse of pack()."""
    length = int.from_bytes(message[:4], "big")
    if length == _NO_PASSWORD:
        return message[4:], None
    return message[4 + length :], Secret(message[4 : 4 + length].decode())


def _too_long(limit: str) -> PfxHostile:
    return PfxHostile(
        f"not read within {limit}: it hides more rounds of key derivation than are accepted",
        hint="write the file anew: what certshelf publishes opens in milliseconds",
    )


def _answer(output: bytes) -> Bundle:
    """What the child said: `ok`, the friendly name and PEM text; or an error's kind and text."""
    kind, _, rest = output.partition(b"\n")
    first, _, second = rest.partition(b"\n")
    if kind == b"ok":
        return replace(pem.decode(second), friendly_name=first.decode())
    error = _KINDS.get(kind.decode("ascii", "replace"))
    if error is None:
        raise PfxUnreadable("the child process that read it broke off")
    raise error(first.decode(), hint=second.decode())
