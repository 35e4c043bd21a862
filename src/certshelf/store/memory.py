"""A store in this process's memory, for tests and for trying things out."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from datetime import datetime
from threading import Lock

from certshelf.clock import SYSTEM, Clock
from certshelf.errors import StoreConflict, StoreCorrupt
from certshelf.store.base import (
    ABSENT,
    ANY,
    MAX_BYTES,
    Blob,
    Entry,
    Expect,
    Version,
    check_folder,
    check_key,
)


@dataclass(frozen=True, slots=True)
class _File:
    data: bytes
    version: Version
    modified: datetime


class MemoryStore:
    """Keeps the whole contract of Store; what it holds is gone with the process."""

    def __init__(self, url: str = "memory:", *, clock: Clock = SYSTEM) -> None:
        self._url = url
        self._clock = clock
        self._lock = Lock()
        self._files: dict[str, _File] = {}
        self._writes = 0

    @property
    def url(self) -> str:
        """See Store."""
        return self._url

    @property
    def is_local(self) -> bool:
        """See Store."""
        return True

    def get(self, key: str) -> Blob | None:
        """See Store."""
        check_key(key)
        file = self._files.get(key)
        return None if file is None else Blob(file.data, file.version)

    def look(self, key: str) -> Version | None:
        """See Store."""
        check_key(key)
        file = self._files.get(key)
        return None if file is None else file.version

    def put(self, key: str, data: bytes, expect: Version | Expect) -> Version:
        """See Store."""
        check_key(key)
        if len(data) > MAX_BYTES:
            raise StoreCorrupt(f"cannot write {key} in {self._url}: more than {MAX_BYTES} bytes")
        with self._lock:
            self._check(key, expect, "write")
            self._writes += 1
            version = Version(str(self._writes))
            self._files[key] = _File(bytes(data), version, self._clock.now())
            return version

    def delete(self, key: str, expect: Version | Expect = ANY) -> bool:
        """See Store."""
        check_key(key)
        with self._lock:
            if key not in self._files:
                return False
            self._check(key, expect, "delete")
            del self._files[key]
            return True

    def list(self, folder: str = "") -> Iterator[Entry]:
        """See Store."""
        parent = "/".join(check_folder(folder))
        with self._lock:
            files = dict(self._files)
        for key, file in files.items():
            if key.rpartition("/")[0] == parent:
                yield Entry(key, len(file.data), file.version, file.modified)

    def sweep(self, older_than_seconds: float = 3600.0) -> int:
        """See Store: nothing here is ever half written."""
        return 0

    def close(self) -> None:
        """See Store: there is nothing to give back."""

    def _check(self, key: str, expect: Version | Expect, verb: str) -> None:
        file = self._files.get(key)
        found = None if file is None else file.version
        if expect is ANY or found == (None if expect is ABSENT else expect):
            return
        raise StoreConflict(
            f"cannot {verb} {key} in {self._url}: somebody else wrote it first",
            hint="read it again, then decide again",
            expected="absent" if isinstance(expect, Expect) else expect,
            found=found or "absent",
        )
