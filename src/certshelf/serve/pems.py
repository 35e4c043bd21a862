"""The PEM text of a bundle, made once per bundle: encoding a key costs more than a handshake."""

from __future__ import annotations

from collections import OrderedDict
from dataclasses import dataclass, field
from threading import Lock

from certshelf.bundle.model import Bundle

_CERTIFICATE = b"-----BEGIN CERTIFICATE-----"


@dataclass(frozen=True, slots=True)
class Pem:
    """A bundle as text. combined: key, leaf, chain; version: SHA-256 of the leaf in hex."""

    combined: bytes = field(repr=False)
    version: str

    @property
    def key(self) -> bytes:
        """The private key alone."""
        return self.combined[: self.combined.index(_CERTIFICATE)]

    @property
    def certificates(self) -> bytes:
        """Leaf and chain, without the key."""
        return self.combined[self.combined.index(_CERTIFICATE) :]


class PemCache:
    """The texts of the bundles used last. Safe from several threads.

    An entry holds its bundle, so that its id stays its own. size: entries, about 4 KB each.
    """

    def __init__(self, size: int = 4096) -> None:
        self._size = size
        self._entries: OrderedDict[int, tuple[Bundle, Pem]] = OrderedDict()
        self._lock = Lock()

    def of(self, bundle: Bundle) -> Pem:
        """The bundle's text, from the cache when it is the same bundle object."""
        with self._lock:
            entry = self._entries.get(id(bundle))
            if entry is not None:
                self._entries.move_to_end(id(bundle))
                return entry[1]
        pem = Pem(bundle.to_pem(), bundle.sha256)
        with self._lock:
            self._entries[id(bundle)] = (bundle, pem)
            while len(self._entries) > self._size:
                self._entries.popitem(last=False)
        return pem
