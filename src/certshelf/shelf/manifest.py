"""The manifest: one small signed record per file, saying who put which bytes there.

A record lies in `.certshelf/records/<stem>.json`, so publishing costs the same at 1 and at
100,000 names. It is written before the PFX and vouches for the new and the previous bytes, then
narrowed to the new ones once they were read back: a kill between any two writes leaves the name
served. It holds no secret.
"""

from __future__ import annotations

import base64
import hashlib
import json
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from enum import StrEnum

from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey, Ed25519PublicKey

from certshelf.bundle.model import Bundle
from certshelf.clock import iso
from certshelf.errors import RecordInvalid
from certshelf.names import SUFFIX
from certshelf.store.base import ABSENT, HIDDEN, Store, Version

RECORDS = f"{HIDDEN}/records"
FORMAT = 1
_PREFIX = b"certshelf record v1\n"
_MAX_RECORD_BYTES = 16 * 1024


class State(StrEnum):
    """What a record says of its file."""

    PUBLISHED = "published"
    RETIRED = "retired"


@dataclass(frozen=True, slots=True)
class Record:
    """Who wrote which bytes under one file name.

    owner: the id of the manager that wrote. generation: grows by one with each write of the name,
    so a late writer is seen. sha256: lower hex of the PFX bytes; previous_sha256: of the bytes
    that were there before, "" once the new ones were read back. thumbprint, serial: of the leaf.
    rollback: an older certificate was put back on purpose.
    """

    file: str
    owner: str
    generation: int
    sha256: str
    previous_sha256: str
    thumbprint: str
    serial: str
    not_before: datetime
    not_after: datetime
    written_at: datetime
    state: State = State.PUBLISHED
    rollback: bool = False
    signature: str = ""

    def vouches_for(self, data: bytes) -> bool:
        """Whether these bytes are the new or the previous ones of this record."""
        return sha256(data) in (self.sha256, self.previous_sha256)

    def narrowed(self) -> Record:
        """The same record without the previous bytes."""
        return replace(self, previous_sha256="", signature="")


def sha256(data: bytes) -> str:
    """SHA-256 in lower hex."""
    return hashlib.sha256(data).hexdigest()


def record_for(
    file: str,
    data: bytes,
    bundle: Bundle,
    *,
    owner: str,
    generation: int,
    previous: str,
    now: datetime,
) -> Record:
    """The record of a bundle about to be written as data; previous: SHA-256 there now, or ""."""
    return Record(
        file=file,
        owner=owner,
        generation=generation,
        sha256=sha256(data),
        previous_sha256=previous,
        thumbprint=bundle.thumbprint,
        serial=bundle.serial,
        not_before=bundle.not_before,
        not_after=bundle.not_after,
        written_at=now,
    )


class Manifest:
    """The records of one store.

    signing_key: signs what is written (the manager's). public_key: when given, a record without a
    valid signature is RecordInvalid.
    """

    def __init__(
        self,
        store: Store,
        *,
        signing_key: Ed25519PrivateKey | None = None,
        public_key: Ed25519PublicKey | None = None,
    ) -> None:
        self._store = store
        self._signing_key = signing_key
        self._public_key = public_key or (signing_key.public_key() if signing_key else None)

    @property
    def is_signed(self) -> bool:
        """Whether records must carry a valid signature."""
        return self._public_key is not None

    @property
    def public_key(self) -> Ed25519PublicKey | None:
        """What readers check signatures with, None when records are not signed."""
        return self._public_key

    def read(self, file: str) -> tuple[Record, Version] | None:
        """The record of a file, None when none; RecordInvalid when forged or torn."""
        blob = self._store.get(record_key(file))
        if blob is None:
            return None
        record = _parse(file, blob.data)
        if self._public_key is not None:
            _check_signature(record, self._public_key)
        return record, blob.version

    def write(self, record: Record, seen: Version | None) -> Version:
        """Sign and put a record; StoreConflict when it is no longer at the version seen."""
        if self._signing_key is not None:
            signature = self._signing_key.sign(_PREFIX + _canonical(record))
            record = replace(record, signature=base64.b64encode(signature).decode())
        data = _canonical(record, with_signature=True)
        return self._store.put(record_key(record.file), data, ABSENT if seen is None else seen)


def record_key(file: str) -> str:
    """Where the record of a file lies."""
    return f"{RECORDS}/{file[: -len(SUFFIX)]}.json"


def file_of_record(key: str) -> str:
    """The file that the record at a key is about: the inverse of record_key()."""
    return key.rpartition("/")[2].removesuffix(".json") + SUFFIX


def _canonical(record: Record, *, with_signature: bool = False) -> bytes:
    fields: dict[str, str | int | bool] = {
        "format": FORMAT,
        "file": record.file,
        "owner": record.owner,
        "generation": record.generation,
        "sha256": record.sha256,
        "previous_sha256": record.previous_sha256,
        "thumbprint": record.thumbprint,
        "serial": record.serial,
        "not_before": iso(record.not_before),
        "not_after": iso(record.not_after),
        "written_at": iso(record.written_at),
        "state": record.state.value,
        "rollback": record.rollback,
    }
    if with_signature:
        fields["signature"] = record.signature
    return json.dumps(fields, sort_keys=True, separators=(",", ":")).encode()


def _parse(file: str, data: bytes) -> Record:
    what = f"cannot believe the record of {file}"
    if len(data) > _MAX_RECORD_BYTES:
        raise RecordInvalid(f"{what}: it is too large")
    try:
        fields = json.loads(data)
        if fields["format"] != FORMAT:
            raise RecordInvalid(
                f"{what}: its format is {fields['format']!r}, this certshelf knows {FORMAT}",
                hint="install a newer certshelf",
            )
        record = Record(
            file=str(fields["file"]),
            owner=str(fields["owner"]),
            generation=int(fields["generation"]),
            sha256=str(fields["sha256"]),
            previous_sha256=str(fields["previous_sha256"]),
            thumbprint=str(fields["thumbprint"]),
            serial=str(fields["serial"]),
            not_before=_moment(fields["not_before"]),
            not_after=_moment(fields["not_after"]),
            written_at=_moment(fields["written_at"]),
            state=State(fields["state"]),
            rollback=bool(fields["rollback"]),
            signature=str(fields.get("signature", "")),
        )
    except (ValueError, KeyError, TypeError, RecursionError) as error:
        raise RecordInvalid(f"{what}: it is damaged") from error
    if record.file != file:
        raise RecordInvalid(f"{what}: it is about {record.file[:80]!r}")
    return record


def _moment(text: str) -> datetime:
    return datetime.strptime(text, "%Y-%m-%dT%H:%M:%SZ").replace(tzinfo=UTC)


def _check_signature(record: Record, public_key: Ed25519PublicKey) -> None:
    try:
        signature = base64.b64decode(record.signature, validate=True)
        public_key.verify(signature, _PREFIX + _canonical(record))
    except (InvalidSignature, ValueError) as error:
        raise RecordInvalid(
            f"cannot believe the record of {record.file}: its signature is not the manager's",
            hint="somebody else wrote it, or the manager's manifest key was changed",
        ) from error
