"""Publishing one certificate under many names on a share that is a slow network away.

    python bench/share_delay.py [--names 100] [--round-trip-ms 0 2 20]

A real Samba (root and Debian's `samba` needed) behind a proxy that holds back what passes. The
floor is what the round trips alone would cost if eight writers overlapped perfectly.
"""

from __future__ import annotations

import argparse
import subprocess
import sys
import time
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

import rig
from tests.support.samba import Samba, running_samba

from certshelf.secret import Secret, generate_password
from certshelf.shelf.publish import REMOTE_WRITERS
from certshelf.shelf.shelf import Shelf
from certshelf.store.base import StoreCredentials
from certshelf.store.smb import SmbStore

ROUND_TRIPS = 17
"""Of one file that is replaced; tests/faults/test_share_writers.py counts them."""


def measure(samba: Samba, names: list[str], round_trip_s: float) -> None:
    script = str(Path(__file__).with_name("_delay_proxy.py"))
    proxy = subprocess.Popen(
        [sys.executable, script, str(samba.port), str(round_trip_s / 2)],
        stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True,
    )  # fmt: skip
    assert proxy.stdout
    port = proxy.stdout.readline().strip()
    url = samba.url(samba.new_folder()).replace(f":{samba.port}/", f":{port}/")
    account = samba.writer
    store = SmbStore.from_url(url, StoreCredentials(account.name, Secret(account.password)))
    shelf = Shelf(store, generate_password(), owner="bench")
    took = {}
    for what in ("new", "replaced"):
        bundle = rig.make_bundle(*names)
        began, cpu = time.perf_counter(), time.process_time()
        assert shelf.publish(bundle).ok
        took[what] = time.perf_counter() - began
        cpu = time.process_time() - cpu
    store.close()
    proxy.communicate()
    floor = ROUND_TRIPS * round_trip_s * len(names) / REMOTE_WRITERS
    print(f"{round_trip_s * 1000:4.0f} ms: {len(names)} names new {took['new']:6.2f} s, replaced"
          f" {took['replaced']:6.2f} s (floor {floor:.2f} s, CPU {cpu:.2f} s)")  # fmt: skip


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--names", type=int, default=100)
    parser.add_argument("--round-trip-ms", type=float, nargs="*", default=[0, 2, 20])
    options = parser.parse_args()
    names = [rig.host(number) for number in range(options.names)]
    with running_samba() as samba:
        for milliseconds in options.round_trip_ms:
            measure(samba, names, milliseconds / 1000)


if __name__ == "__main__":
    main()
