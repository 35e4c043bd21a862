"""A text that must not be seen: it prints as *** and is opened by one named method."""

from __future__ import annotations

import hmac
import secrets


class Secret:
    """A secret text. `reveal()` is the only way to it, so a search finds every use.

    Comparison is in constant time; hashing, copying into logs and pickling give nothing away.
    """

    __slots__ = ("_text",)

    def __init__(self, text: str) -> None:
        self._text = text

    def reveal(self) -> str:
        """The text itself: call it where the secret is used, never earlier."""
        return self._text

    def reveal_bytes(self) -> bytes:
        """The text as UTF-8."""
        return self._text.encode()

    def __repr__(self) -> str:
        return "***"

    __str__ = __repr__

    def __format__(self, spec: str) -> str:
        return "***"

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, Secret):
            return NotImplemented
        return hmac.compare_digest(self._text.encode(), other._text.encode())

    __hash__ = None  # type: ignore[assignment]  # a hash would be a fingerprint of the text

    def __bool__(self) -> bool:
        return bool(self._text)

    def __reduce__(self) -> tuple[object, ...]:
        raise TypeError("a Secret is not pickled")


def generate_password() -> Secret:
    """A random password of 256 bits in 43 characters that need no quoting anywhere."""
    while True:
        text = secrets.token_urlsafe(32)
        if not text.startswith("-"):  # else it looks like an option to other programs
            return Secret(text)
