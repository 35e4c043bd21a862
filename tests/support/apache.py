"""Apache, which the reader tells to reload gracefully."""

from __future__ import annotations

import os
from pathlib import Path

from certshelf.serve.apache import macro
from certshelf.serve.setup import Setup
from tests.support.rig import Rig
from tests.support.server_process import tool

_MODULES = Path("/usr/lib/apache2/modules")
_NEEDED = ("mpm_event", "authz_core", "ssl", "macro", "proxy", "proxy_http", "socache_shmcb")


class Apache(Rig):
    kind = "apache"
    miss_is_default = True
    wildcard_is_deep = True
    seconds = 40.0

    @staticmethod
    def missing() -> str:
        if not tool("apache2"):
            return "apache2"
        there = all((_MODULES / f"mod_{name}.so").exists() for name in _NEEDED)
        return "" if there else "apache2's modules"

    def _conf(self) -> Path:
        return self.work / "apache.conf"

    def reader_flags(self) -> list[str]:
        # What `apache2 -k graceful` does, but for its starting an Apache that does not run.
        reload = f"sh -c 'kill -USR1 $(cat {self.work}/apache.pid)'"
        return ["--mirror", str(self.work / "mirror"), "--apache-reload", reload]

    def command(self, setup: Setup) -> list[str]:
        load = "\n".join(f"LoadModule {n}_module {_MODULES}/mod_{n}.so" for n in _NEEDED)
        user = "User www-data\nGroup www-data" if os.geteuid() == 0 else ""
        self._conf().write_text(
            f"ServerRoot {self.work}\nPidFile {self.work}/apache.pid\n"
            f"ErrorLog {self.work}/error.log\nMutex file:{self.work}\nServerName localhost\n"
            f"{load}\n{user}\nStartServers 1\nThreadsPerChild 25\n"
            f"SSLSessionCache none\n{macro(setup)}"
        )
        return [tool("apache2"), "-f", str(self._conf()), "-D", "FOREGROUND"]

    def output(self) -> str:
        log = self.work / "error.log"
        return super().output() + (log.read_text()[-1500:] if log.exists() else "")
