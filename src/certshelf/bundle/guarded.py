"""Read PFX files in a child process: one that takes too long can be killed, a thread cannot.

Why: the library holds the interpreter's lock while it derives a key and tests the primes of an RSA
key. 200,000 rounds or RSA 4096 stop every other thread for a quarter of a second. It is also the
second wall against a file made by somebody who knows the shelf's password (every server of the farm
does): the first is unseal.py, which counts what encrypted content hides.
"""

from __future__ import annotations

import contextlib
import signal
import subprocess
import sys
from dataclasses import replace
from threading import Event, Lock, Timer

from certshelf.bundle import pem
from certshelf.bundle.child import CPU_LIMIT_S
from certshelf.bundle.framing import pack, read_message, write_message
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

TIMEOUT_SECONDS = 30.0
_ATTEMPTS = 2
_CLOSE_SECONDS = 1.0
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


def decode_guarded(
    data: bytes, password: Secret | None, timeout_s: float = TIMEOUT_SECONDS
) -> Bundle:
    """As pfx.decode(), in a child process of its own; about 0.2 s for the start of the process.

    Raises as GuardedChild.decode().
    """
    child = GuardedChild(timeout_s)
    try:
        return child.decode(data, password)
    finally:
        child.close()


class GuardedChild:
    """One child process that reads files one after the other; started when the first one comes.

    Safe from several threads: one waits for the other. Not for a process that forks. The child
    ends with this process: its standard input ends then, and a file that it reads at that moment
    has its own limits. Passwords and keys cross in pipes only.
    """

    def __init__(self, timeout_s: float = TIMEOUT_SECONDS) -> None:
        self._timeout_s = timeout_s
        self._lock = Lock()
        self._process: subprocess.Popen[bytes] | None = None
        self._is_closed = False

    def decode(self, data: bytes, password: Secret | None) -> Bundle:
        """As pfx.decode(), but a file that needs too much is refused and its child killed.

        A file gets 4 s of CPU (not on Windows) and timeout_s seconds of wall time: the first tells
        a hostile file from a busy machine, the second holds everywhere.
        Raises as pfx.decode(); PfxHostile at either limit; PfxError when no child can be started.
        """
        guard(data)
        request = pack(data, password)
        for _ in range(_ATTEMPTS):  # somebody may have ended the idle child
            with self._lock:
                answer = self._exchange(request)
            if answer is not None:
                return _bundle(answer)
        raise PfxUnreadable("the child process that read it broke off")

    def close(self) -> None:
        """End the child, for good; a file that it reads now is given up."""
        self._is_closed = True
        process = self._process
        if not self._lock.acquire(timeout=_CLOSE_SECONDS):
            if process is not None:
                process.kill()
            self._lock.acquire()
        try:
            self._end()
        finally:
            self._lock.release()

    @property
    def pid(self) -> int | None:
        """The child's process id; None while there is none."""
        process = self._process
        return process.pid if process else None

    def _exchange(self, request: bytes) -> bytes | None:
        """One request and its answer; None when the child ended without one."""
        if self._is_closed:
            raise PfxError("no child process to read it in: this one was closed")
        process = self._process = self._process or self._start()
        assert process.stdin is not None and process.stdout is not None  # noqa: S101  as started
        late = Event()

        def give_up() -> None:
            late.set()  # first: the child's end is noticed before kill() has returned
            process.kill()

        deadline = Timer(self._timeout_s, give_up)
        deadline.daemon = True
        deadline.start()
        answer = None
        try:
            write_message(process.stdin, request)
            answer = read_message(process.stdout)
        except OSError:
            pass  # it ended before it read all
        finally:
            deadline.cancel()
        if answer is None:
            self._end()
            if late.is_set():
                raise _too_long(f"{self._timeout_s:g} s")
            if process.returncode == _OUT_OF_CPU < 0:
                raise _too_long(f"{CPU_LIMIT_S} s of CPU")
        return answer

    def _start(self) -> subprocess.Popen[bytes]:
        command = [sys.executable, "-P", "-m", "certshelf.bundle.child", f"{self._timeout_s:g}"]
        try:
            return subprocess.Popen(
                command,
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=subprocess.DEVNULL,
                creationflags=getattr(subprocess, "CREATE_NO_WINDOW", 0),
            )
        except OSError as error:
            raise PfxError(f"no child process to read it in: {error.strerror}") from error

    def _end(self) -> None:
        process, self._process = self._process, None
        if process is None:
            return
        with contextlib.suppress(OSError):
            if process.stdin is not None:
                process.stdin.close()
        try:
            process.wait(_CLOSE_SECONDS)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()
        if process.stdout is not None:
            process.stdout.close()


def _too_long(limit: str) -> PfxHostile:
    return PfxHostile(
        f"not read within {limit}: it hides more rounds of key derivation than are accepted",
        hint="write the file anew: what certshelf publishes opens in milliseconds",
    )


def _bundle(answer: bytes) -> Bundle:
    """What the child said: `ok`, the friendly name and PEM text; or an error's kind and text."""
    kind, _, rest = answer.partition(b"\n")
    first, _, second = rest.partition(b"\n")
    if kind == b"ok":
        return replace(pem.decode(second, is_tested=True), friendly_name=first.decode())
    error = _KINDS.get(kind.decode("ascii", "replace"))
    if error is None:
        raise PfxUnreadable("the child process that read it broke off")
    raise error(first.decode(), hint=second.decode())
