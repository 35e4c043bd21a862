"""What costs much and is asked for many times, done once: key derivations of a publication."""

from __future__ import annotations

from collections.abc import Callable, Hashable
from concurrent.futures import Future
from threading import Lock
from typing import Generic, TypeVar

from certshelf.bundle import pfx
from certshelf.bundle.model import Bundle, PfxProfile
from certshelf.errors import BundleRefused
from certshelf.secret import Secret

T = TypeVar("T")


class Once(Generic[T]):
    """Results by key. Threads that ask for the same one wait for the first of them.

    It holds what it gave, files and passwords among it: let it go with the work it is for.
    """

    def __init__(self) -> None:
        self._lock = Lock()
        self._known: dict[Hashable, Future[T]] = {}

    def get(self, key: Hashable, make: Callable[[], T]) -> T:
        """What make() gave for this key, or raises what it raised, then and now."""
        with self._lock:
            known = self._known.get(key)
            if known is None:
                mine = self._known[key] = Future()
        if known is not None:
            return known.result()
        try:
            mine.set_result(make())
        except BaseException as error:
            mine.set_exception(error)
            raise
        return mine.result()


class PfxReader(Once[Bundle]):
    """pfx.decode() for files that are mostly the same: 100 names of a certificate are one PFX."""

    def __call__(self, data: bytes, password: Secret | None) -> Bundle:
        """See pfx.decode()."""
        return self.get((data, _text(password)), lambda: pfx.decode(data, password))


class PfxWriter(Once[bytes]):
    """prepare() for targets that want the same PFX."""

    def __call__(self, bundle: Bundle, password: Secret | None, profile: PfxProfile) -> bytes:
        """See prepare(). One writer is for one run: bundles are told apart by their leaves."""
        key = (bundle.sha256, _text(password), profile)
        return self.get(key, lambda: prepare(bundle, password, profile))


def prepare(bundle: Bundle, password: Secret | None, profile: PfxProfile) -> bytes:
    """The PFX to write, proved to open with the password and to hold this bundle."""
    data = bundle.to_pfx(password, profile)
    made = Bundle.from_pfx(data, password)
    if made != bundle or made.chain != bundle.chain:
        raise BundleRefused("cannot make a PFX: it does not hold the bundle that it was made of")
    return data


def _text(password: Secret | None) -> str | None:
    return password.reveal() if password else None
