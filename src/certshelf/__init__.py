"""certshelf: one shelf of certificates that every web server of a farm reads at its handshakes.

Names are loaded when first used (PEP 562), so that `import certshelf` costs nothing on a server.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from certshelf.bundle.model import Bundle
    from certshelf.names import HostName
    from certshelf.opening import open_shelf
    from certshelf.secret import Secret
    from certshelf.shelf.shelf import Shelf

__version__ = "0.1.0"
__all__ = ["Bundle", "HostName", "Secret", "Shelf", "__version__", "open_shelf"]

_HOMES = {
    "Bundle": "certshelf.bundle.model",
    "HostName": "certshelf.names",
    "Secret": "certshelf.secret",
    "Shelf": "certshelf.shelf.shelf",
    "open_shelf": "certshelf.opening",
}


def __getattr__(name: str) -> object:
    if name not in _HOMES:
        raise AttributeError(f"module 'certshelf' has no attribute {name!r}")
    import importlib

    return getattr(importlib.import_module(_HOMES[name]), name)
