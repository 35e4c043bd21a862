"""Secrets that sing when they are found: run commands, watch what others can see, and look.

Watched: what a command says, its arguments and environment and those of all its children
(sampled from /proc), and every file in its temporary folder while it runs and after.
"""

from __future__ import annotations

import base64
import contextlib
import json
import os
import subprocess
import sys
import threading
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from cryptography.hazmat.primitives.asymmetric import ec, ed25519, rsa
from cryptography.hazmat.primitives.serialization import (
    Encoding,
    NoEncryption,
    PrivateFormat,
    load_der_private_key,
)

_TIMEOUT = 90.0
_BATCH = """
import base64, contextlib, io, json, sys
from certshelf.cli.main import run
for words in json.loads(sys.argv[1]):
    out, err = io.StringIO(), io.StringIO()
    with contextlib.redirect_stdout(out), contextlib.redirect_stderr(err):
        status = run(words)
    texts = [t.getvalue().encode("utf-8", "surrogatepass") for t in (out, err)]
    print(json.dumps([status, *(base64.b64encode(t).decode() for t in texts)]))
"""


@dataclass
class Canaries:
    """Secrets by name, in every spelling in which they could get out."""

    spellings: dict[str, set[bytes]] = field(default_factory=dict)

    def add(self, name: str, secret: str | bytes) -> None:
        """A text or bytes; also looked for as base64 and hex."""
        raw = secret.encode() if isinstance(secret, str) else secret
        found = {raw, raw.hex().encode(), raw.hex().upper().encode()}
        found |= {base64.b64encode(raw).rstrip(b"="), base64.urlsafe_b64encode(raw).rstrip(b"=")}
        self.spellings.setdefault(name, set()).update(found)

    def add_key(self, name: str, der: bytes) -> None:
        """A private key: the secret number itself, and the lines of its PEM that hold it."""
        key = load_der_private_key(der, None)
        if isinstance(key, ec.EllipticCurvePrivateKey):
            number = key.private_numbers().private_value
            self.add(name, number.to_bytes(key.key_size // 8, "big"))
        elif isinstance(key, rsa.RSAPrivateKey):
            number = key.private_numbers().p
            self.add(name, number.to_bytes(key.key_size // 16, "big"))
        elif isinstance(key, ed25519.Ed25519PrivateKey):
            self.add(name, key.private_bytes(Encoding.Raw, PrivateFormat.Raw, NoEncryption()))
        for form in (PrivateFormat.PKCS8, PrivateFormat.TraditionalOpenSSL):
            with contextlib.suppress(ValueError):
                pem = key.private_bytes(Encoding.PEM, form, NoEncryption())
                lines = [line for line in pem.splitlines() if not line.startswith(b"-----")]
                self.spellings.setdefault(name, set()).update(lines[:2])

    def hits(self, data: bytes) -> set[str]:
        """The names of the secrets that some bytes hold."""
        return {n for n, found in self.spellings.items() if any(text in data for text in found)}


@dataclass
class Seen:
    """What a command let others see. places: where the canaries were found."""

    status: int
    stdout: bytes
    stderr: bytes
    places: list[str]

    @property
    def said(self) -> str:
        return (self.stdout + self.stderr).decode("utf-8", "replace")


class Watch:
    """Looks at a process, its descendants and a temporary folder until it is told to stop."""

    def __init__(self, pid: int, temp: Path, canaries: Canaries) -> None:
        self._pid = pid
        self._temp = temp
        self._canaries = canaries
        self._stop = threading.Event()
        self.places: set[str] = set()
        self.looks = 0
        self.children: set[str] = set()
        self._thread = threading.Thread(target=self._run, daemon=True)
        self._thread.start()

    def stop(self) -> set[str]:
        self._stop.set()
        self._thread.join(10)
        return self.places

    def _run(self) -> None:
        while not self._stop.wait(0.01):
            self.looks += 1
            for pid in descendants(self._pid):
                for what in ("cmdline", "environ"):
                    with contextlib.suppress(OSError):
                        data = Path(f"/proc/{pid}/{what}").read_bytes()
                        if what == "cmdline" and pid != self._pid:
                            self.children.add(data.replace(b"\0", b" ").decode(errors="replace"))
                        self._note(f"/proc/PID/{what}", data)
            self._note_files(self._temp)

    def _note_files(self, folder: Path) -> None:
        for path, data in files(folder):
            self._note(f"temporary {path.name}", data)

    def _note(self, place: str, data: bytes) -> None:
        self.places |= {f"{name} in {place}" for name in self._canaries.hits(data)}


def descendants(pid: int) -> Iterator[int]:
    """A process and all below it; on Linux only, nothing elsewhere."""
    yield pid
    with contextlib.suppress(OSError):
        for task in Path(f"/proc/{pid}/task").iterdir():
            for child in (task / "children").read_text().split():
                yield from descendants(int(child))


def files(folder: Path) -> Iterator[tuple[Path, bytes]]:
    """Every plain file below a folder, as it is now."""
    for where, _, names in os.walk(folder):
        for name in names:
            path = Path(where) / name
            with contextlib.suppress(OSError):
                if path.is_file() and not path.is_symlink():
                    yield path, path.read_bytes()


def found_in(folder: Path, canaries: Canaries, *, except_for: Iterable[str] = ()) -> list[str]:
    """Which secrets lie in clear below a folder: `NAME in FILE`."""
    allowed = set(except_for)
    return [
        f"{name} in {path.relative_to(folder)}"
        for path, data in files(folder)
        if path.name not in allowed
        for name in sorted(canaries.hits(data))
    ]


class Runner:
    """Runs commands of certshelf in an environment of their own, watched."""

    def __init__(self, folder: Path, canaries: Canaries) -> None:
        self.temp = folder / "temp"
        self.temp.mkdir()
        self.canaries = canaries
        self.children: set[str] = set()
        inherited = {k: v for k, v in os.environ.items() if not k.startswith("CERTSHELF_")}
        self.environment = {
            **inherited,
            "TMPDIR": str(self.temp),
            "CERTSHELF_HOME": str(folder / "home"),
            "PYTHONDONTWRITEBYTECODE": "1",
        }

    def __call__(self, *words: str, stdin: str = "", module: str = "certshelf") -> Seen:
        """Run one command to its end."""
        with self.started([sys.executable, "-m", module, *words]) as (process, watch):
            out, err = process.communicate(stdin.encode(), timeout=_TIMEOUT)
        places = watch.places | {f"{n} said" for n in self.canaries.hits(out + err)}
        places |= set(found_in(self.temp, self.canaries))
        self.children |= watch.children
        return Seen(process.returncode, out, err, sorted(places))

    def batch(self, commands: Sequence[Sequence[str]]) -> list[Seen]:
        """Run commands one after the other in one process: starting Python costs the most."""
        words = [sys.executable, "-c", _BATCH, json.dumps([list(c) for c in commands])]
        with self.started(words) as (process, watch):
            out, err = process.communicate(timeout=_TIMEOUT)
        assert process.returncode == 0, err
        places = sorted(watch.places | set(found_in(self.temp, self.canaries)))
        answers = [json.loads(line) for line in out.splitlines()]
        return [
            Seen(status, base64.b64decode(said), base64.b64decode(told), places)
            for status, said, told in answers
        ]

    @contextlib.contextmanager
    def started(self, command: Sequence[str]) -> Iterator[tuple[subprocess.Popen[bytes], Watch]]:
        """A process that is watched for as long as the block lasts; ended with it."""
        process = subprocess.Popen(
            list(command),
            env=self.environment,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
        )
        watch = Watch(process.pid, self.temp, self.canaries)
        try:
            yield process, watch
        finally:
            if process.poll() is None:
                process.kill()
                process.wait()
            watch.stop()
