"""What bounds the cost of strangers' questions: a token bucket and a small set that forgets."""

from __future__ import annotations

from collections.abc import Callable


class TokenBucket:
    """At most `burst` at once and `rate` a second. Races between threads cost a token, no more."""

    def __init__(self, rate: float, burst: float, monotonic: Callable[[], float]) -> None:
        self._rate = rate
        self._burst = burst
        self._monotonic = monotonic
        self._tokens = burst
        self._at = monotonic()

    def take(self) -> bool:
        """Take a token; False when there is none."""
        now = self._monotonic()
        self._tokens = min(self._burst, self._tokens + (now - self._at) * self._rate)
        self._at = now
        if self._tokens < 1:
            return False
        self._tokens -= 1
        return True


class Forgetful:
    """A bounded set of texts that each stay for `seconds`; the oldest goes when it is full."""

    def __init__(self, seconds: float, size: int, monotonic: Callable[[], float]) -> None:
        self._seconds = seconds
        self._size = size
        self._monotonic = monotonic
        self._until: dict[str, float] = {}

    def __contains__(self, text: str) -> bool:
        until = self._until.get(text)
        if until is None:
            return False
        if until > self._monotonic():
            return True
        self._until.pop(text, None)
        return False

    def __len__(self) -> int:
        return len(self._until)

    def add(self, text: str) -> None:
        """Remember a text from now on."""
        if len(self._until) >= self._size:
            for oldest in list(self._until)[: self._size // 10]:
                self._until.pop(oldest, None)
        self._until.pop(text, None)
        self._until[text] = self._monotonic() + self._seconds

    def discard(self, text: str) -> None:
        """Forget one text."""
        self._until.pop(text, None)

    def clear(self) -> None:
        """Forget all."""
        self._until.clear()
