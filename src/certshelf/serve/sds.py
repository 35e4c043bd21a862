"""What one Envoy holds and what it must be told: the rules of delta secret discovery, without I/O.

A removal breaks a name in Envoy at once. So it is said only when the complete index of names has
no such name, never because a store is silent; a name on its way is answered when it is there.
Source: "xDS REST and gRPC protocol", incremental xDS (envoyproxy.io).
"""

from __future__ import annotations

import time
from collections import OrderedDict
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field

from certshelf.serve.pems import Pem, PemCache
from certshelf.serve.source import BundleSource, Found

MAX_ABSENT = 10_000
"""Names that Envoy asked for in vain and that it is told about when they appear."""
MAX_PENDING = 1_000
"""Names that are looked for again 10 times a second; while there is no index, any name is one."""
PENDING_SECONDS = 2.5
"""Less than the transport_socket_connect_timeout that we configure: an alert beats a hang."""


@dataclass(slots=True)
class Answer:
    """What to send: secrets by name, and names that there are no secrets for."""

    secrets: list[tuple[str, Found, Pem]] = field(default_factory=list)
    removed: list[str] = field(default_factory=list)

    def __bool__(self) -> bool:
        return bool(self.secrets or self.removed)

    def add(self, later: Answer) -> None:
        """Say this too; of a name that both speak of, the later word holds."""
        if self and later:
            said = {name for name, _, _ in later.secrets}.union(later.removed)
            self.secrets = [secret for secret in self.secrets if secret[0] not in said]
            self.removed = [name for name in self.removed if name not in said]
        self.secrets += later.secrets
        self.removed += later.removed


class Subscriber:
    """One stream's names. Not thread-safe: one event loop uses it."""

    def __init__(
        self,
        source: BundleSource,
        pems: PemCache,
        monotonic: Callable[[], float] = time.monotonic,
    ) -> None:
        self._monotonic = monotonic
        self._source = source
        self._pems = pems
        self._sent: dict[str, str] = {}
        self._below: dict[str, set[str]] = {}
        self._absent: OrderedDict[str, None] = OrderedDict()
        self.pending: dict[str, float] = {}
        """Names that Envoy does not have and whose bundle is not there yet, and until when."""

    def ask(
        self, subscribe: Iterable[str], unsubscribe: Iterable[str], held: Mapping[str, str]
    ) -> Answer:
        """Answer a request. held: the versions that a reconnected Envoy still has."""
        for name in unsubscribe:
            self._drop(name)
            self._absent.pop(name, None)
        answer = Answer()
        for name in subscribe:
            version = held.get(name, "")
            self._absent.pop(name, None)
            self._look(name, version, answer)
            if name not in self._absent and name not in self._sent:
                self._add(name, version)
        return answer

    def changed(self, names: frozenset[str]) -> Answer:
        """Answer a change of host names (`*.x` for a wildcard); an empty set means all."""
        answer = Answer()
        for name in self._affected(names):
            self._look(name, self._sent.get(name, ""), answer)
        return answer

    def again(self) -> Answer:
        """Look again at what is pending."""
        answer = Answer()
        for name in tuple(self.pending):
            self._look(name, self._sent.get(name, ""), answer)
        return answer

    def _affected(self, names: frozenset[str]) -> list[str]:
        if not names:
            return [*self._sent, *self._absent]
        affected = [name for name in names if name in self._sent or name in self._absent]
        for name in names:
            if name.startswith("*."):
                affected += self._below.get(name[2:], ())
        if self._absent and any(name.startswith("*.") for name in names):
            affected += [name for name in self._absent if "*." + _parent(name) in names]
        return affected

    def _wait(self, name: str, answer: Answer) -> None:
        """Keep a name that Envoy does not have pending for a while, then let its client go."""
        now = self._monotonic()
        is_full = len(self.pending) >= MAX_PENDING and name not in self.pending
        if is_full or now >= self.pending.setdefault(name, now + PENDING_SECONDS):
            self._refuse(name, answer)

    def _refuse(self, name: str, answer: Answer) -> None:
        if name not in self._absent:
            answer.removed.append(name)
        self._drop(name)
        self._absent[name] = None
        if len(self._absent) > MAX_ABSENT:
            self._absent.popitem(last=False)

    def _look(self, name: str, version: str, answer: Answer) -> None:
        found = self._source.find(name)
        if found is not None:
            pem = self._pems.of(found.bundle)
            self.pending.pop(name, None)
            if pem.version != version:
                self._add(name, pem.version)
                answer.secrets.append((name, found, pem))
        elif self._source.wait_ready(0.0) and not self._source.known(name):
            self._refuse(name, answer)
        elif not version:
            self._wait(name, answer)

    def _add(self, name: str, version: str) -> None:
        self._absent.pop(name, None)
        self._sent[name] = version
        self._below.setdefault(_parent(name), set()).add(name)

    def _drop(self, name: str) -> None:
        self.pending.pop(name, None)
        if self._sent.pop(name, None) is None:
            return
        below = self._below.get(_parent(name), set())
        below.discard(name)
        if not below:
            self._below.pop(_parent(name), None)


def _parent(name: str) -> str:
    return name.partition(".")[2]
