"""HAProxy, which the reader pushes to."""

from __future__ import annotations

from certshelf.serve.haproxy import haproxy_cfg
from certshelf.serve.setup import Setup
from tests.support.rig import Rig
from tests.support.server_process import tool


class Haproxy(Rig):
    kind = "haproxy"

    @staticmethod
    def missing() -> str:
        return "" if tool("haproxy") else "haproxy"

    def reader_flags(self) -> list[str]:
        socket = f"unix:{self.work / 'haproxy.sock'}"
        return ["--mirror", str(self.work / "mirror"), "--haproxy", socket]

    def command(self, setup: Setup) -> list[str]:
        conf = self.work / "haproxy.cfg"
        conf.write_text(haproxy_cfg(setup))
        return [tool("haproxy"), "-db", "-f", str(conf)]
