"""The resolver of this moment, which a reader swaps under its servers when settings change."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import suppress

from certshelf.names import HostName
from certshelf.resolve.loading import Served
from certshelf.resolve.resolver import Resolver
from certshelf.serve.source import Listener


class LiveSource:
    """A BundleSource that stays while the resolver behind it is replaced by one assignment."""

    def __init__(self, resolver: Resolver) -> None:
        self._resolver = resolver
        self._listeners: list[Listener] = []
        self._unsubscribe = resolver.subscribe(self._tell)

    @property
    def resolver(self) -> Resolver:
        """The one that answers now."""
        return self._resolver

    def swap(self, resolver: Resolver) -> Resolver:
        """Answer from another resolver from now on, and have everybody look at all; the old one."""
        old, end_old = self._resolver, self._unsubscribe
        self._unsubscribe = resolver.subscribe(self._tell)
        self._resolver = resolver
        end_old()
        self._tell(frozenset())
        return old

    def find(self, sni: str) -> Served | None:
        """See BundleSource."""
        return self._resolver.find(sni)

    def exact(self, host: HostName) -> Served | None:
        """See BundleSource."""
        return self._resolver.exact(host)

    def holds(self, host: HostName) -> bool:
        """See BundleSource."""
        return self._resolver.holds(host)

    def known(self, sni: str) -> bool:
        """See BundleSource."""
        return self._resolver.known(sni)

    def coming(self, sni: str) -> bool:
        """See BundleSource."""
        return self._resolver.coming(sni)

    def hosts(self) -> Iterator[HostName]:
        """See BundleSource."""
        return self._resolver.hosts()

    def wait_ready(self, timeout_s: float) -> bool:
        """See BundleSource."""
        return self._resolver.wait_ready(timeout_s)

    def subscribe(self, listener: Listener) -> Callable[[], None]:
        """See BundleSource."""
        self._listeners.append(listener)

        def unsubscribe() -> None:
            with suppress(ValueError):
                self._listeners.remove(listener)

        return unsubscribe

    def _tell(self, names: frozenset[str]) -> None:
        for listener in tuple(self._listeners):
            listener(names)
