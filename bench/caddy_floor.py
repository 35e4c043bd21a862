"""How cheap a Caddy that asks at each handshake can be: nginx answers it with one constant file.

    python bench/caddy_floor.py [--rounds 7]

Caddy keeps nothing that `get_certificate http` gave: each handshake is a request, and the PEM is
parsed again. The ratio to Caddy's own static configuration is what no endpoint can go below.
"""

from __future__ import annotations

import argparse
import os
import sys
import tempfile
from dataclasses import replace
from pathlib import Path

import _running as running
import _static_servers as static_servers
import rig
from _flood import ask_unknown

sys.path.insert(0, str(Path(__file__).parent.parent))

from tests.support.caddy import Caddy
from tests.support.ports import free_port
from tests.support.server_process import Process, tool

from certshelf.serve.caddy import caddyfile
from certshelf.serve.setup import Setup


class ConstantCaddy(Caddy):
    """Caddy with our configuration and another endpoint."""

    def __init__(self, work: Path, endpoint: int) -> None:
        super().__init__(work)
        self._endpoint = endpoint

    def command(self, setup: Setup) -> list[str]:
        text = caddyfile(replace(setup, http_url=f"http://127.0.0.1:{self._endpoint}"))
        conf = self.work / "Caddyfile"
        store = f"    storage file_system {self.work}/caddy\n"
        conf.write_text(text.replace("    admin off\n", "    admin off\n" + store))
        return [tool("caddy"), "run", "--config", str(conf), "--adapter", "caddyfile"]


def endpoint(work: Path, pem: Path) -> tuple[Process, int]:
    """nginx that answers /cert with one file, whatever is asked."""
    port = free_port()
    user = "user root;" if os.geteuid() == 0 else ""
    conf = work / "nginx.conf"
    conf.write_text(
        f"{user} worker_processes 1; daemon off; pid {work}/pid; error_log {work}/error.log;"
        f" events {{}} http {{ access_log off; server {{ listen 127.0.0.1:{port};"
        f" location = /cert {{ if ($arg_server_name ~ flood.test$) {{ return 404; }}"
        f" alias {pem}; }} }} }}"
    )
    command = [tool("nginx"), "-p", str(work), "-c", str(conf), "-e", f"{work}/e.log"]
    process = Process(command, work / "out.log", cwd=work)
    process.wait_port(port)
    return process, port


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--rounds", type=int, default=7)
    parser.add_argument("--handshakes", type=int, default=300)
    options = parser.parse_args()
    rig.pin_loader()
    with tempfile.TemporaryDirectory(prefix="cs-bench-") as temp:
        work = Path(temp)
        rig.fill_pems(work / "pems", 1)
        (work / "nginx").mkdir()
        with rig.beside_loader():
            source, port = endpoint(work / "nginx", work / "pems" / f"{rig.host(0)}.pem")
            caddy = ConstantCaddy(work / "asks", port)
            caddy.start(())
        kind = next(kind for kind in running.KINDS if kind.rig is Caddy)
        assert kind.static is static_servers.caddy
        try:
            with running.static(kind, work / "static", work / "pems", 1) as static:
                compare(static, running.Running(caddy.port, caddy.process.pid), source, options)
        finally:
            caddy.close()
            source.stop()


def compare(
    static: running.Running, asking: running.Running, source: Process, options: argparse.Namespace
) -> None:
    """Alternating halves, as bench/servers.py does."""
    names = [rig.host(0)] * options.handshakes
    endpoint_cpu = running.Running(0, source.pid)
    ratios = []
    before = 0.0
    for number in range(options.rounds + 1):
        order = [static, asking][:: 1 if number % 2 else -1]
        cpu = {server.port: running.handshakes(server, names) for server in order}
        if number:  # the first round warms up
            ratios.append(cpu[asking.port] / cpu[static.port])
        else:
            before = endpoint_cpu.server_cpu_s()
    each = (endpoint_cpu.server_cpu_s() - before) / (options.rounds * options.handshakes) * 1e6
    print(f"Caddy that asks a constant endpoint, over static: {rig.spread(ratios)}; "
          f"the endpoint itself {each:.0f} us a handshake")  # fmt: skip
    before, misses = endpoint_cpu.server_cpu_s(), 3000
    ask_unknown(asking.port, misses, "floor")
    each = (endpoint_cpu.server_cpu_s() - before) / misses * 1e6
    print(f"in a flood of unknown names its 404 costs {each:.0f} us")


if __name__ == "__main__":
    main()
