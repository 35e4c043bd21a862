"""A real ACME CA for tests: Pebble, with its challenge test server as the DNS that it asks.

Start one for each test module: Pebble can lock up under concurrent polling
(letsencrypt/pebble#554), and a hang of Pebble's is no fault of ours; restart() helps.
"""

from __future__ import annotations

import contextlib
import json
import shutil
import ssl
import urllib.error
import urllib.request
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

import pytest

from tests.support.minted import loopback_server
from tests.support.ports import free_port
from tests.support.processes import Process, free_dns_port, listens

EAB_KID = "kid-1"
EAB_KEY = "zWNDZM6eQGHWpSRTPal5eIUYFTu7EajVIoguysqZ9wG44nMEtx3MUAsUDkMTQ12W"


@dataclass
class Pebble:
    """One running Pebble; the ports are where it looks for http-01 and tls-alpn-01 answers."""

    folder: Path
    ca_file: Path
    port: int
    management_port: int
    http_port: int
    tls_port: int
    dns_port: int
    test_port: int
    options: dict[str, str] = field(default_factory=dict)
    dns_server: str = ""
    process: Process | None = None
    dns: Process | None = None

    @property
    def directory_url(self) -> str:
        return f"https://localhost:{self.port}/dir"

    @property
    def log(self) -> str:
        return (self.folder / "pebble.log").read_text(errors="replace")

    @property
    def orders_made(self) -> int:
        """How many orders were finalised since the start, as Pebble's log has them."""
        return self.log.count("Issued certificate serial")

    def roots(self) -> list[bytes]:
        """The PEM root of each chain that it offers; the first is the default."""
        found = []
        with contextlib.suppress(urllib.error.HTTPError):
            for n in range(10):
                found.append(self._management(f"roots/{n}"))
        return found

    def start(self) -> None:
        self.dns = self.dns or self._start_dns()
        self.process = Process(
            [
                "pebble",
                "-config",
                str(self.folder / "pebble.json"),
                "-dnsserver",
                self.dns_server or f"127.0.0.1:{self.dns_port}",
            ],
            self.folder / "pebble.log",
            env=self.options,
        )
        self.process.ready(lambda: listens(self.port), "pebble")

    def stop(self) -> None:
        for process in (self.process, self.dns):
            if process is not None:
                process.stop()
        self.process = self.dns = None

    def restart(self) -> None:
        """Forget all accounts and orders: Pebble keeps them in memory."""
        self.stop()
        self.start()

    def dns_set(self, what: str, **values: object) -> None:
        """Tell the test DNS: dns_set("add-a", host="a.test", addresses=["127.0.0.1"])."""
        request = urllib.request.Request(
            f"http://127.0.0.1:{self.test_port}/{what}", data=json.dumps(values).encode()
        )
        with urllib.request.urlopen(request, timeout=5) as answer:
            assert answer.status == 200

    def _start_dns(self) -> Process:
        argv = ["pebble-challtestsrv", "-http01", "", "-https01", "", "-tlsalpn01", ""]
        argv += ["-dns01", f"127.0.0.1:{self.dns_port}", "-defaultIPv6", ""]
        argv += ["-management", f"127.0.0.1:{self.test_port}"]
        process = Process(argv, self.folder / "challtestsrv.log")
        process.ready(lambda: listens(self.test_port), "pebble-challtestsrv")
        return process

    def _management(self, path: str) -> bytes:
        context = ssl.create_default_context(cafile=str(self.ca_file))
        url = f"https://localhost:{self.management_port}/{path}"
        with urllib.request.urlopen(url, context=context, timeout=5) as answer:
            body: bytes = answer.read()
            return body


@contextlib.contextmanager
def pebble(
    folder: Path,
    *,
    nonce_reject: int = 0,
    authz_reuse: int = 0,
    always_valid: bool = False,
    eab: bool = False,
    alternate_roots: int = 0,
    dns_server: str = "",
) -> Iterator[Pebble]:
    """A Pebble on free loopback ports. nonce_reject, authz_reuse: percent.

    dns_server: HOST:PORT that it asks instead of the challenge test server.
    """
    if not shutil.which("pebble") or not shutil.which("pebble-challtestsrv"):
        pytest.skip("pebble is not installed")
    folder.mkdir(parents=True, exist_ok=True)
    ca_file, certificate, key = loopback_server(folder)
    ports = [free_port() for _ in range(5)]
    running = Pebble(folder, ca_file, *ports[:4], free_dns_port(), ports[4], dns_server=dns_server)
    running.options = {
        "PEBBLE_WFE_NONCEREJECT": str(nonce_reject),
        "PEBBLE_AUTHZREUSE": str(authz_reuse),
        "PEBBLE_ALTERNATE_ROOTS": str(alternate_roots),
        "PEBBLE_VA_NOSLEEP": "1",
    }
    if always_valid:
        running.options["PEBBLE_VA_ALWAYS_VALID"] = "1"
    config = {
        "listenAddress": f"127.0.0.1:{running.port}",
        "managementListenAddress": f"127.0.0.1:{running.management_port}",
        "certificate": str(certificate),
        "privateKey": str(key),
        "httpPort": running.http_port,
        "tlsPort": running.tls_port,
        "ocspResponderURL": "",
        "externalAccountBindingRequired": eab,
        "externalAccountMACKeys": {EAB_KID: EAB_KEY},
    }
    (folder / "pebble.json").write_text(json.dumps({"pebble": config}))
    try:
        running.start()
        yield running
    finally:
        running.stop()
