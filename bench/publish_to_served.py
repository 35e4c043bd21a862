"""From publish() returning to the first handshake that shows the new certificate.

    python bench/publish_to_served.py [--rounds 200]

One asyncio server on a local folder. After each publish handshakes go on until the new serial is
served, and some more after it: none of those may fail or show an old one.
"""

from __future__ import annotations

import argparse
import tempfile
import time
from pathlib import Path

import rig

from certshelf import open_shelf
from certshelf.secret import generate_password


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--rounds", type=int, default=200)
    rounds = parser.parse_args().rounds
    password = generate_password()
    times: list[float] = []
    late = failed = 0
    with tempfile.TemporaryDirectory() as temp:
        shelf = open_shelf(temp, password=password, owner="bench")
        name = rig.host(0)
        shelf.publish(rig.make_bundle(name))
        with rig.a_server("shelf", Path(temp), password) as server:
            rig.handshake(server.port, name)
            for _ in range(rounds):
                bundle = rig.make_bundle(name)
                assert shelf.publish(bundle).ok
                began = time.perf_counter()
                seen = False
                for _ in range(20):
                    try:
                        new = rig.handshake(server.port, name) == bundle.leaf_der
                    except OSError:
                        failed += 1
                        continue
                    if new and not seen:
                        seen = True
                        times.append((time.perf_counter() - began) * 1000)
                    late += seen and not new
    print(f"publish to served: p50 {rig.percentile(times, 0.5):.1f} ms, "
          f"p99 {rig.percentile(times, 0.99):.1f} ms, {len(times)} of {rounds} rounds")  # fmt: skip
    print(f"failed handshakes {failed}, old serials after the new one {late}")
    print("goal: p50 <= 10 ms, p99 <= 50 ms, 0 failed, 0 old")


if __name__ == "__main__":
    main()
