"""A store around another one that fails when it is told to, and remembers what it was asked."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from threading import Lock

from certshelf.store.base import ANY, Blob, Entry, Expect, Store, Version


@dataclass
class _Failure:
    call: str
    key: str | None
    times: int
    act: Callable[[], object]


class FaultyStore:
    """Passes calls on to inner, after the failures that were scripted for them.

    call: "get", "look", "put", "delete", "list", "sweep"; key None: any key.
    """

    def __init__(self, inner: Store) -> None:
        self.inner = inner
        self.calls: list[tuple[str, str]] = []
        self._failures: list[_Failure] = []
        self._lock = Lock()

    def fail(
        self, call: str, error: Exception, *, key: str | None = None, times: int = 1_000_000
    ) -> None:
        """Raise error at the next `times` such calls, instead of making them."""

        def act() -> None:
            raise error

        self.before(call, act, key=key, times=times)

    def before(
        self,
        call: str,
        act: Callable[[], object],
        *,
        key: str | None = None,
        times: int = 1_000_000,
    ) -> None:
        """Run act() before the next `times` such calls: another writer, a pause, a counter."""
        with self._lock:
            self._failures.append(_Failure(call, key, times, act))

    def heal(self) -> None:
        """Forget what was scripted."""
        with self._lock:
            self._failures.clear()

    def count(self, call: str, key: str | None = None) -> int:
        """How many such calls were made so far."""
        return sum(1 for c, k in self.calls if c == call and key in (None, k))

    @property
    def url(self) -> str:
        return self.inner.url

    @property
    def is_local(self) -> bool:
        return self.inner.is_local

    def get(self, key: str) -> Blob | None:
        self._meet("get", key)
        return self.inner.get(key)

    def look(self, key: str) -> Version | None:
        self._meet("look", key)
        return self.inner.look(key)

    def put(self, key: str, data: bytes, expect: Version | Expect) -> Version:
        self._meet("put", key)
        return self.inner.put(key, data, expect)

    def delete(self, key: str, expect: Version | Expect = ANY) -> bool:
        self._meet("delete", key)
        return self.inner.delete(key, expect)

    def list(self, folder: str = "") -> Iterator[Entry]:
        self._meet("list", folder)
        return self.inner.list(folder)

    def sweep(self, older_than_seconds: float = 3600.0) -> int:
        self._meet("sweep", "")
        return self.inner.sweep(older_than_seconds)

    def close(self) -> None:
        self.inner.close()

    def _meet(self, call: str, key: str) -> None:
        with self._lock:
            self.calls.append((call, key))
            due = [f for f in self._failures if f.call == call and f.key in (None, key)]
            due = [f for f in due if f.times > 0][:1]
            for failure in due:
                failure.times -= 1
        for failure in due:
            failure.act()
