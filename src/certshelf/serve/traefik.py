"""Traefik reads certificates from a dynamic file only: the reader writes that file anew.

Traefik chooses by the names inside the certificates, not by file name, reads them all each time,
and shows its own default certificate until it has. Source: doc.traefik.io, file provider, TLS.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

from certshelf.clock import Clock
from certshelf.serve.log import ReaderLog
from certshelf.serve.mirror_files import MirrorFolder
from certshelf.serve.pinned import Pinned
from certshelf.serve.setup import Setup, joined, split_address

PAUSE_SECONDS = 1.0
DYNAMIC_FILE = "certshelf.yml"


class TraefikFile:
    """The dynamic file with one entry per file of the mirror.

    It lies in a folder of its own, which Traefik watches: a folder with other files is another's.
    """

    def __init__(
        self,
        file: Path,
        mirror: MirrorFolder,
        held: Callable[[], set[str]],
        log: ReaderLog,
        clock: Clock,
    ) -> None:
        self._folder = MirrorFolder(file.parent, mirror.rights)
        self._name = file.name
        self._pinned = Pinned(mirror, "traefik")
        self._held = held
        self._log = log
        self._clock = clock

    def prepare(self) -> None:
        """Make its folder and the file as it is now; ConfigError when the folder cannot be used."""
        self._folder.prepare()
        self._pinned.prepare()
        self.write()

    def write(self) -> bool:
        """Write the whole file; False when that failed and is to be tried again."""
        try:
            self._folder.write(self._name, self.text().encode("ascii"))
        except OSError as error:
            self._log.event("traefik-failed", reason=str(error.strerror))
            return False
        return True

    def text(self) -> str:
        """JSON strings are YAML strings. The moment makes each writing a change for Traefik."""
        lines = [f"# written by certshelf-reader at {self._clock.now().isoformat()}", "tls:"]
        lines += ["  options: {default: {sniStrict: true, minVersion: VersionTLS12}}"]
        paths = self._pinned.paths(sorted(self._held()))
        lines += ["  certificates:"] if paths else []
        for file in paths.values():
            path = json.dumps(str(file))
            lines.append(f"  - {{certFile: {path}, keyFile: {path}}}")
        return "\n".join(lines) + "\n"


def static_and_routes(setup: Setup) -> str:
    """Two files as one text: traefik.yml, and a dynamic file with the user's own routes."""
    folder = setup.mirror.parent / "traefik"
    host, port = split_address(setup.listen)
    return f"""\
# traefik.yml. The reader runs with:
#   --mirror {setup.mirror} --traefik {folder}/{DYNAMIC_FILE}
entryPoints:
  https:
    address: "{joined(host, port)}"
    http: {{tls: {{}}}}
providers:
  file: {{directory: "{folder}", watch: true}}
global: {{checkNewVersion: false, sendAnonymousUsage: false}}

# {folder}/routes.yml, beside the file that the reader writes:
#
# http:
#   routers:
#     all: {{rule: "PathPrefix(`/`)", service: upstream, entryPoints: [https], tls: {{}}}}
#   services:
#     upstream: {{loadBalancer: {{servers: [{{url: "http://{setup.upstream}"}}]}}}}
"""
