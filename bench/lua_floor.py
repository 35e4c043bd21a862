"""How cheap nginx with Lua can be: a callback that sets one constant, parsed pair; and ours.

    python bench/lua_floor.py [--rounds 11]

Server CPU of a hot handshake over static, in alternating rounds. What "constant" costs above
static is lua-nginx-module itself.
"""

from __future__ import annotations

import argparse
import random
import sys
import tempfile
from pathlib import Path

import _running as running
import rig

sys.path.insert(0, str(Path(__file__).parent.parent))

from tests.support.nginx import LuaNginx
from tests.support.reader import PASSWORD

from certshelf.secret import Secret
from certshelf.serve.setup import Setup

HOSTS = 300


class ConstantLua(LuaNginx):
    """nginx whose callback sets the pair of one PEM file, parsed once."""

    kind = "nginx-lua-constant"

    def __init__(self, work: Path, pem: Path) -> None:
        super().__init__(work)
        self._pem = pem

    def text(self, setup: Setup) -> str:
        return f"""
init_by_lua_block {{
    ssl = require "ngx.ssl"
    local file = io.open("{self._pem}"); local text = file:read("*a"); file:close()
    certs, key = ssl.parse_pem_cert(text), ssl.parse_pem_priv_key(text)
}}
server {{
    listen {setup.listen} ssl default_server; server_name _; ssl_protocols TLSv1.2 TLSv1.3;
    ssl_certificate {self._pem}; ssl_certificate_key {self._pem};
    ssl_certificate_by_lua_block {{
        ssl.clear_certs(); ssl.set_cert(certs); ssl.set_priv_key(key)
    }}
    location / {{ return 200; }}
}}"""


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--rounds", type=int, default=11)
    parser.add_argument("--handshakes", type=int, default=300)
    options = parser.parse_args()
    rig.pin_loader()
    with tempfile.TemporaryDirectory(prefix="cs-bench-") as temp:
        work = Path(temp)
        pems, shelf = work / "pems", work / "shelf"
        rig.fill_pems(pems, HOSTS)
        rig.fill(shelf, HOSTS, Secret(PASSWORD))
        kind = next(kind for kind in running.KINDS if kind.rig is LuaNginx)
        constant = ConstantLua(work / "constant", pems / f"{rig.host(0)}.pem")
        with rig.beside_loader():
            constant.start(())
        try:
            with (
                running.static(kind, work / "static", pems, HOSTS) as static,
                running.on_demand(kind, work / "lazy", shelf) as lazy,
            ):
                lazy.settle()
                floor = running.Running(constant.port, constant.process.pid)
                compare({"static": static, "constant": floor, "shelf": lazy}, options)
        finally:
            constant.close()


def compare(servers: dict[str, running.Running], options: argparse.Namespace) -> None:
    """Rounds of handshakes with one name, in another order each."""
    rng, asked = random.Random(1), [rig.host(0)] * options.handshakes
    ratios: dict[str, list[float]] = {"constant": [], "shelf": []}
    for number in range(options.rounds + 1):
        order = list(servers)
        rng.shuffle(order)
        cpu = {word: running.handshakes(servers[word], asked) for word in order}
        for word, seen in ratios.items():
            if number:  # the first round warms up
                seen.append(cpu[word] / cpu["static"])
    for word, seen in ratios.items():
        print(f"{word}, over static: {rig.spread(seen)}")


if __name__ == "__main__":
    main()
