"""Known names and an open connection while the share hangs: p50 and p99, beside those before.

    python bench/hung_share.py [--seconds 15]

A real Samba on loopback, stopped by SIGSTOP; a reader over it; each server. Needs root and Samba.
"""

from __future__ import annotations

import argparse
import ssl
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parent.parent))

import rig
from tests.faults.test_reader_on_share import NAMES, ShareFarm, ask
from tests.support.caddy import Caddy
from tests.support.envoy import Envoy
from tests.support.nginx import LuaNginx, PlainNginx
from tests.support.samba import running_samba
from tests.support.tls_probe import connect

PAUSE_SECONDS = 0.05
"""Servers end a connection after a number of requests, nginx after 1,000."""


def timed(call: Callable[[], object]) -> float:
    began = time.perf_counter()
    call()
    return (time.perf_counter() - began) * 1000


def watch(farm: ShareFarm, connection: ssl.SSLSocket, seconds: float) -> str:
    """Handshakes and requests in turn; their percentiles."""
    shakes, requests, end = [], [], time.perf_counter() + seconds
    while time.perf_counter() < end:
        shakes.append(timed(lambda: connect(farm.rig.port, NAMES[0]).close()))
        requests.append(timed(lambda: ask(connection)))
        time.sleep(PAUSE_SECONDS)
    return "; ".join(
        f"{what} p50 {rig.percentile(times, 0.5):.1f} p99 {rig.percentile(times, 0.99):.1f} ms"
        for what, times in (("handshake", shakes), ("open connection", requests))
    )


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--seconds", type=float, default=15.0)
    seconds = parser.parse_args().seconds
    for kind in (PlainNginx, LuaNginx, Caddy, Envoy):
        if kind.missing():
            print(f"{kind.kind}: unmeasured, not installed: {kind.missing()}")
            continue
        with running_samba() as samba, tempfile.TemporaryDirectory(prefix="cs-") as work:
            farm = ShareFarm(samba, Path(work), kind)
            try:
                farm.serve_all()
                with connect(farm.rig.port, NAMES[1]) as connection:
                    print(f"{kind.kind}, share up:   {watch(farm, connection, seconds / 3)}")
                    samba.freeze()
                    try:
                        print(f"{kind.kind}, share hung: {watch(farm, connection, seconds)}")
                    finally:
                        samba.thaw()
            finally:
                farm.close()
    print("goal: p99 < 100 ms while the share hangs")


if __name__ == "__main__":
    main()
