"""What the servers' adapters ask of the resolver: bundles by SNI name, and what changed."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Protocol

from certshelf.bundle.model import Bundle
from certshelf.names import HostName

Listener = Callable[[frozenset[str]], None]
"""Called from a thread of the resolver with the host names that changed (A-labels, `*.` for a
wildcard); an empty set means: look at all."""


class Found(Protocol):
    """What a file of the shelf gives: resolve.loading.Served."""

    @property
    def file(self) -> str:
        """Its file name on the shelf."""
        ...

    @property
    def bundle(self) -> Bundle:
        """What may be served."""
        ...

    @property
    def data(self) -> bytes:
        """The PFX as it lay on the shelf."""
        ...


class BundleSource(Protocol):
    """The half of resolve.Resolver that serves; tests pass one that they fill by hand."""

    def find(self, sni: str) -> Found | None:
        """The newest good file for a name off the wire; never raises."""
        ...

    def exact(self, host: HostName) -> Found | None:
        """The newest good one of the host's own file, a wildcard's too; never raises.

        It may wait while a file is opened: not for an event loop."""
        ...

    def holds(self, host: HostName) -> bool:
        """Whether the name index holds the host's own file; costs the store nothing."""
        ...

    def known(self, sni: str) -> bool:
        """Whether the name index holds the name or its wildcard; costs the store nothing."""
        ...

    def coming(self, sni: str) -> bool:
        """Whether a name that find() has nothing for is being loaded; costs the store nothing."""
        ...

    def hosts(self) -> Iterator[HostName]:
        """Every name of the index."""
        ...

    def wait_ready(self, timeout_s: float) -> bool:
        """Whether the name index is complete, waiting for it at most that long."""
        ...

    def subscribe(self, listener: Listener) -> Callable[[], None]:
        """Hear of changes; call what it returns to hear no more."""
        ...
