"""Verify the manager's shelf, and remember what was found until a file changes."""

from __future__ import annotations

import contextlib
import hashlib
import os
import secrets
from collections.abc import Callable, Iterator
from pathlib import Path

from certshelf.errors import CredentialError
from certshelf.finding import Finding
from certshelf.manage.home import Home
from certshelf.manage.keyring import KeyRing, place
from certshelf.manage.opening import key_ring
from certshelf.secret import Secret
from certshelf.shelf.shelf import Shelf
from certshelf.shelf.verified import Verified

_PLACE = place("verified", "header", "shelf")


def verify_shelf(
    home: Home,
    shelf: Shelf,
    *,
    full: bool = False,
    progress: Callable[[int], None] = lambda total: None,
) -> Iterator[Finding]:
    """Findings of the whole shelf; full: read every file, whatever was found before.

    progress: called before each file, with the number of all.

    What was found is kept in HOME/verified.jsonl. It counts only for the same shelf under the same
    passwords, which its sealed first line proves; without that it is begun anew.
    """
    path, ring = home.path / "verified.jsonl", key_ring(home)
    identity = _identity(shelf)
    verified = Verified() if full else _load(path, ring, identity)
    yield from shelf.verify(verified, progress)
    _save(path, ring, identity, verified)


def _identity(shelf: Shelf) -> str:
    digest = hashlib.sha256(shelf.store.url.encode())
    for password in shelf.passwords:
        digest.update(b"\0" + (password.reveal_bytes() if password else b""))
    return digest.hexdigest()


def _load(path: Path, ring: KeyRing, identity: str) -> Verified:
    try:
        with path.open(encoding="utf-8") as lines:
            if ring.open(next(lines, "").strip(), _PLACE) != Secret(identity):
                return Verified()
            return Verified.load(lines)
    except (OSError, ValueError, KeyError, TypeError, CredentialError):
        return Verified()  # a cache that cannot be read is no cache


def _save(path: Path, ring: KeyRing, identity: str, verified: Verified) -> None:
    temp = path.with_name(f".{path.name}.{secrets.token_hex(6)}.tmp")
    with contextlib.suppress(OSError):
        descriptor = os.open(temp, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
        with os.fdopen(descriptor, "w", encoding="utf-8") as file:
            file.write(ring.seal(Secret(identity), _PLACE) + "\n")
            file.writelines(line + "\n" for line in verified.lines())
        temp.replace(path)
    temp.unlink(missing_ok=True)
