"""Which version of which file is not served, and why: a bad one is not opened at each asking."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass

from certshelf.errors import BundleRefused, CertshelfError, OlderBundle, Unvouched
from certshelf.store.base import Version

_MAX = 10_000
_SECONDS = 10.0
_HEALS = (BundleRefused, OlderBundle, Unvouched)
"""Refusals that time or a new record ends while the file stays as it is: asked again."""

Told = Callable[[str, str], None]
"""Called with a file and why it is not served."""


@dataclass(frozen=True, slots=True)
class _Refusal:
    """until (monotonic seconds): when to ask again."""

    version: Version
    why: str
    until: float


class Refusals:
    """By file. told: hears of each version once for each reason."""

    def __init__(self, monotonic: Callable[[], float], told: Told) -> None:
        self._monotonic = monotonic
        self._told = told
        self._by_file: dict[str, _Refusal] = {}

    def close(self) -> None:
        """Tell nobody any more: what is given up now says nothing about a file."""
        self._told = lambda file, why: None

    def add(self, file: str, version: Version, error: Exception) -> None:
        """Remember that a version is refused; for ever, but for what may heal by itself."""
        known = isinstance(error, CertshelfError)
        why = str(error) if known else f"unforeseen {type(error).__name__}"
        seconds = _SECONDS if not known or isinstance(error, _HEALS) else math.inf
        before = self._by_file.get(file)
        if len(self._by_file) > _MAX:
            self._by_file.clear()
        self._by_file[file] = _Refusal(version, why, self._monotonic() + seconds)
        if before is None or (before.version, before.why) != (version, why):
            self._told(file, why)

    def holds(self, file: str, version: Version | None) -> bool:
        """Whether this very version is refused, and not to be asked about again yet."""
        refusal = self._by_file.get(file)
        if refusal is None or version is None or refusal.version != version:
            return False
        return self._monotonic() < refusal.until

    def drop(self, file: str) -> None:
        """A version of it is served."""
        self._by_file.pop(file, None)

    def due_again(self) -> list[str]:
        """Files that time or a new record may have made good."""
        now = self._monotonic()
        return [file for file, refusal in list(self._by_file.items()) if refusal.until <= now]

    def reasons(self) -> dict[str, str]:
        """Why the newest bytes of each file are not served."""
        return {file: refusal.why for file, refusal in list(self._by_file.items())}
