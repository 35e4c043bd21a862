"""Secrets at rest: AES-256-GCM under master keys that lie in one file outside the database.

An envelope is `v1.<key id>.<nonce>.<ciphertext>` (base64url). The place where it is stored,
"table/row/column", is authenticated with it, so an envelope that is moved to another row does not
open. Source: NIST SP 800-38D (GCM, 96-bit random nonces).
"""

from __future__ import annotations

import base64
import binascii
import json
import os
import secrets
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from certshelf.errors import CredentialError
from certshelf.manage.dpapi import unwrap, wrap
from certshelf.secret import Secret

if TYPE_CHECKING:
    from cryptography.hazmat.primitives.ciphers.aead import AESGCM

_SCHEME = "v1"
_KEY_BYTES = 32
_NONCE_BYTES = 12
_MAX_FILE_BYTES = 256 * 1024


@dataclass(frozen=True, slots=True)
class _Keys:
    """The key file as it was read: signature tells whether it has changed since."""

    signature: tuple[int, int, int]
    current: str
    keys: dict[str, bytes]

    def __repr__(self) -> str:
        return f"_Keys({sorted(self.keys)})"


class KeyRing:
    """The master keys. Reads its file at first use and again whenever the file has changed.

    So a process that started before a rotation seals with the new key after it. Safe to use from
    several threads.
    """

    def __init__(self, path: Path, *, given: bool = False) -> None:
        """path: the key file. given: handed in by the service manager (see Home.keys_given)."""
        self.path = path
        self._given = given
        self._loaded: _Keys | None = None

    def seal(self, secret: Secret, place: str) -> str:
        """Encrypt with the current key for one place; a new envelope at each call."""
        keys = self._load()
        nonce = secrets.token_bytes(_NONCE_BYTES)
        sealed = _cipher(keys.keys[keys.current]).encrypt(
            nonce, secret.reveal_bytes(), place.encode()
        )
        return ".".join((_SCHEME, keys.current, _b64(nonce), _b64(sealed)))

    def open(self, envelope: str, place: str) -> Secret:
        """Decrypt what lies at a place.

        Raises CredentialError when its key is lost, or when it is damaged or was sealed for
        another place.
        """
        from cryptography.exceptions import InvalidTag

        key_id, nonce, sealed = _split(envelope, place)
        key = self._load().keys.get(key_id)
        if key is None:
            raise CredentialError(
                f"the key {key_id} of {place} is not in {self.path}",
                hint="put the key file back, or set this secret again",
            )
        try:
            return Secret(_cipher(key).decrypt(nonce, sealed, place.encode()).decode())
        except (InvalidTag, UnicodeDecodeError):
            # `from None`: the second one carries what it could not decode
            raise CredentialError(
                f"the secret at {place} is damaged or belongs to another row",
                hint="set this secret again",
            ) from None

    @property
    def current(self) -> str:
        """The id of the key that seals."""
        return self._load().current

    @property
    def ids(self) -> frozenset[str]:
        """The ids of all keys in the file; empty when there is no file."""
        return frozenset(self._load().keys) if self.path.is_file() else frozenset()

    def create(self) -> bool:
        """Make the file with one new key unless it is there; whether it was made.

        Raises CredentialError for a file that is there but cannot be used.
        """
        if self.path.exists() or self._given:
            self._load()
            return False
        key_id = _new_id()
        return _write(self.path, key_id, {key_id: secrets.token_bytes(_KEY_BYTES)}, replace=False)

    def add_key(self) -> str:
        """Add a new key and make it the current one; its id. The old keys stay."""
        self._refuse_given()
        keys = self._load()
        key_id = _new_id()
        _write(
            self.path, key_id, {**keys.keys, key_id: secrets.token_bytes(_KEY_BYTES)}, replace=True
        )
        return key_id

    def drop_keys(self, ids: Iterable[str]) -> None:
        """Forget keys for good; never the current one. Only when no row names them any more."""
        self._refuse_given()
        keys = self._load()
        gone = set(ids) - {keys.current}
        left = {key_id: key for key_id, key in keys.keys.items() if key_id not in gone}
        if len(left) < len(keys.keys):
            _write(self.path, keys.current, left, replace=True)

    def _refuse_given(self) -> None:
        if self._given:
            raise CredentialError(
                f"the key file {self.path} is handed in by the service manager, read-only",
                hint="rotate a copy that CERTSHELF_KEY_FILE names, then encrypt it again",
            )

    def _load(self) -> _Keys:
        try:
            with self.path.open("rb") as file:
                status = os.fstat(file.fileno())
                signature = (status.st_ino, status.st_mtime_ns, status.st_size)
                if self._loaded is not None and self._loaded.signature == signature:
                    return self._loaded
                _check_rights(self.path, status, self._given)
                data = unwrap(file.read(_MAX_FILE_BYTES))
        except FileNotFoundError:
            raise CredentialError(
                f"the key file {self.path} is not there",
                hint="put it back from its backup, or name it with CERTSHELF_KEY_FILE",
            ) from None
        except OSError as error:
            raise CredentialError(
                f"cannot read the key file {self.path}: {error.strerror}"
            ) from error
        self._loaded = _parse(self.path, data, signature)
        return self._loaded


def place(table: str, row: object, column: str) -> str:
    """The authenticated name of the place where an envelope is stored."""
    return f"{table}/{row}/{column}"


def key_id_of(envelope: str) -> str:
    """The id of the key that sealed an envelope; "" for what is no envelope."""
    parts = envelope.split(".")
    return parts[1] if len(parts) == 4 and parts[0] == _SCHEME else ""


def _cipher(key: bytes) -> AESGCM:
    from cryptography.hazmat.primitives.ciphers import aead  # late: it costs 20 ms

    return aead.AESGCM(key)


def _new_id() -> str:
    return f"k{secrets.token_hex(4)}"


def _b64(data: bytes) -> str:
    return base64.urlsafe_b64encode(data).rstrip(b"=").decode()


def _unb64(text: str) -> bytes:
    return base64.b64decode(text + "=" * (-len(text) % 4), altchars=b"-_", validate=True)


def _split(envelope: str, place: str) -> tuple[str, bytes, bytes]:
    """Key id, nonce and ciphertext of an envelope."""
    try:
        scheme, key_id, nonce, sealed = envelope.split(".")
        parts = (key_id, _unb64(nonce), _unb64(sealed))
    except (ValueError, binascii.Error) as error:
        raise CredentialError(f"the secret at {place} is no envelope of ours") from error
    if scheme != _SCHEME:
        raise CredentialError(
            f"the secret at {place} has the unknown format {scheme[:8]!r}",
            hint="a newer certshelf wrote it: use that one",
        )
    return parts


def _check_rights(path: Path, status: os.stat_result, given: bool) -> None:
    """Refuse a key file that others can read or write (POSIX only).

    A systemd credential shows the group's read bit as the mask of its ACL (systemd.exec(5)).
    """
    if os.name != "posix":
        return
    too_wide = status.st_mode & (0o037 if given else 0o077)
    if too_wide:
        raise CredentialError(
            f"the key file {path} may be used by others (mode {status.st_mode & 0o777:04o})",
            hint=f"chmod 600 {path}",
        )
    if status.st_uid not in (0, os.geteuid()):
        raise CredentialError(f"the key file {path} belongs to another user", hint="chown it")


def _parse(path: Path, data: bytes, signature: tuple[int, int, int]) -> _Keys:
    try:
        document = json.loads(data)
        keys = {str(k): base64.b64decode(v, validate=True) for k, v in document["keys"].items()}
        current = document["current"]
    except (ValueError, KeyError, TypeError, AttributeError):
        # `from None`: the text of a JSON error may quote the file
        raise _unusable(path, 'it is not JSON with "current" and "keys"') from None
    if not isinstance(current, str) or current not in keys:
        raise _unusable(path, "its current key is not among its keys")
    if any(len(key) != _KEY_BYTES or "." in key_id for key_id, key in keys.items()):
        raise _unusable(path, f"each key is {_KEY_BYTES} bytes in base64")
    return _Keys(signature, current, keys)


def _unusable(path: Path, reason: str) -> CredentialError:
    return CredentialError(
        f"the key file {path} cannot be used: {reason}", hint="put it back from its backup"
    )


def _write(path: Path, current: str, keys: dict[str, bytes], *, replace: bool) -> bool:
    """Write the file whole or not at all, 0600 from its first byte; whether it was written."""
    text = json.dumps(
        {"current": current, "keys": {k: base64.b64encode(v).decode() for k, v in keys.items()}},
        indent=2,
    )
    temp = path.with_name(f".{path.name}.{secrets.token_hex(6)}.tmp")
    try:
        _write_new(temp, wrap(text.encode() + b"\n"))
        if replace:
            temp.replace(path)
        else:
            _claim(temp, path)
        _sync_folder(path.parent)
    except FileExistsError:
        return False  # another process made it first: its keys are the keys
    except OSError as error:
        raise CredentialError(f"cannot write the key file {path}: {error.strerror}") from error
    finally:
        temp.unlink(missing_ok=True)
    return True


def _write_new(path: Path, data: bytes) -> None:
    descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    with os.fdopen(descriptor, "wb") as file:
        file.write(data)
        file.flush()
        os.fsync(file.fileno())


def _claim(temp: Path, path: Path) -> None:
    """Put temp in place only if nothing is there: two processes never make two key files."""
    if os.name == "nt":
        temp.rename(path)  # refuses an existing target on Windows
    else:
        os.link(temp, path)


def _sync_folder(folder: Path) -> None:
    if os.name == "nt":
        return
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
