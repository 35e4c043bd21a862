"""A store whose calls end with the task's time, however many of them there are."""

from __future__ import annotations

from collections.abc import Iterator

from certshelf.deploy.base import Context
from certshelf.errors import DeployError, StoreTimeout
from certshelf.store.base import ANY, Blob, Entry, Expect, Store, Version


class BoundedStore:
    """Passes calls on to inner while the task has time; then each raises StoreTimeout at once.

    Without it, a hung share costs its deadline once for each of a hundred files.
    """

    def __init__(self, inner: Store, context: Context) -> None:
        self.inner = inner
        self._context = context

    @property
    def url(self) -> str:
        """See Store."""
        return self.inner.url

    @property
    def is_local(self) -> bool:
        """See Store."""
        return self.inner.is_local

    def get(self, key: str) -> Blob | None:
        """See Store."""
        return self._store().get(key)

    def look(self, key: str) -> Version | None:
        """See Store."""
        return self._store().look(key)

    def put(self, key: str, data: bytes, expect: Version | Expect) -> Version:
        """See Store."""
        return self._store().put(key, data, expect)

    def delete(self, key: str, expect: Version | Expect = ANY) -> bool:
        """See Store."""
        return self._store().delete(key, expect)

    def list(self, folder: str = "") -> Iterator[Entry]:
        """See Store."""
        return self._store().list(folder)

    def sweep(self, older_than_seconds: float = 3600.0) -> int:
        """See Store."""
        return self._store().sweep(older_than_seconds)

    def close(self) -> None:
        """See Store."""
        self.inner.close()

    def _store(self) -> Store:
        try:
            self._context.left()
        except DeployError as error:
            raise StoreTimeout(f"{self.url}: the task's time is up", hint=error.hint) from error
        return self.inner
