"""Paths of mirror files whose content never changes, for servers that read one file twice.

Apache and Traefik read the certificate and then the key from one path. A file that is replaced in
between is a key that does not fit: Apache ends ("Configuration Failed, exiting", seen with 2.4.71
at a graceful reload), Traefik leaves the certificate out. So their configuration names hard links
to the files as they were when it was written.
"""

from __future__ import annotations

import os
from collections.abc import Iterable
from pathlib import Path

from certshelf.names import HostName
from certshelf.serve.mirror_files import PEM, MirrorFolder, pem_name


class Pinned:
    """A folder of links inside a mirror. Only one thread uses it at a time.

    A link stays until it was left out twice: the server may still read the list before the last.
    """

    def __init__(self, mirror: MirrorFolder, label: str) -> None:
        self._mirror = mirror
        self._links = MirrorFolder(mirror.path / f"pinned-{label}", mirror.rights)
        self._there: set[str] = set()
        self._before: set[str] = set()

    def prepare(self) -> None:
        """Make the folder; ConfigError when it cannot be used."""
        self._links.prepare()
        self._there = {path.name for path in self._links.path.glob("*" + PEM)}
        self._before = self._there.copy()

    def paths(self, names: Iterable[str]) -> dict[str, Path]:
        """A path for each host name that has a file now. Raises OSError."""
        links = {}
        for name in names:
            link = self._link(self._mirror.path / pem_name(HostName.parse(name)))
            if link:
                links[name] = link
        now = set(links.values())
        for old in self._there - now - self._before:
            (self._links.path / old).unlink(missing_ok=True)
        self._there, self._before = now | (self._there & self._before), now
        return {name: self._links.path / link for name, link in links.items()}

    def _link(self, file: Path) -> str:
        """The name of the link to a file as it is now; "" when there is none."""
        try:
            found = file.lstat()
            link = f"{file.name.removesuffix(PEM)}.{found.st_mtime_ns:x}.{found.st_ino:x}{PEM}"
            if link not in self._there:
                os.link(file, self._links.path / link, follow_symlinks=False)
        except FileExistsError:
            pass
        except FileNotFoundError:
            return ""
        return link
