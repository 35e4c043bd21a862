"""A BundleSource that tests fill by hand."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, field

from certshelf.bundle.model import Bundle
from certshelf.errors import NameInvalid
from certshelf.names import HostName
from certshelf.serve.source import Listener


@dataclass
class FakeFound:
    file: str
    bundle: Bundle
    data: bytes = b"pfx"


@dataclass
class FakeSource:
    """files: what is served. index: what the shelf holds, though it may not be readable yet.
    arriving: files that are being loaded."""

    files: dict[str, FakeFound] = field(default_factory=dict)
    index: set[str] = field(default_factory=set)
    arriving: set[str] = field(default_factory=set)
    is_ready: bool = True
    listeners: list[Listener] = field(default_factory=list)

    def put(self, name: str, bundle: Bundle) -> None:
        file = HostName.parse(name).file_name()
        self.files[file] = FakeFound(file, bundle, bundle.sha256.encode())
        self.index.add(file)

    def drop(self, name: str) -> None:
        file = HostName.parse(name).file_name()
        self.files.pop(file, None)
        self.index.discard(file)

    def tell(self, *names: str) -> None:
        for listener in self.listeners:
            listener(frozenset(names))

    def find(self, sni: str) -> FakeFound | None:
        return next((self.files[f] for f in self._files(sni) if f in self.files), None)

    def exact(self, host: HostName) -> FakeFound | None:
        return self.files.get(host.file_name())

    def holds(self, host: HostName) -> bool:
        return host.file_name() in self.index

    def known(self, sni: str) -> bool:
        return any(file in self.index for file in self._files(sni))

    def coming(self, sni: str) -> bool:
        return any(file in self.arriving for file in self._files(sni))

    def hosts(self) -> Iterator[HostName]:
        return iter([HostName.from_file_name(file) for file in self.index])

    def wait_ready(self, timeout_s: float) -> bool:
        return self.is_ready

    def subscribe(self, listener: Listener) -> Callable[[], None]:
        self.listeners.append(listener)
        return lambda: self.listeners.remove(listener)

    def _files(self, sni: str) -> list[str]:
        try:
            return [host.file_name() for host in HostName.parse(sni).candidates()]
        except NameInvalid:
            return []
