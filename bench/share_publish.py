"""Replacing one file on an SMB share under three readers: ours against what others do.

    python bench/share_publish.py [--writes 300]

One real Samba (root and Debian's `samba` needed), one run, the same bodies. Readers are three
processes: "naive" opens the file once per read as IIS does, "certshelf" is SmbStore.get.
Writers: SmbStore.put; temp + flush + rename by smbprotocol alone; copying in place, which is what
Certify and win-acme do; and a whole Shelf.publish with its signed record.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Callable
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

import rig
import smbclient
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from smbprotocol.exceptions import EndOfFile
from tests.support.samba import Samba, running_samba
from tests.support.share_writer import KEY, body, is_whole

from certshelf.secret import Secret, generate_password
from certshelf.shelf.shelf import Shelf
from certshelf.store.base import ANY, StoreCredentials
from certshelf.store.smb import SmbStore

READERS = 3


def read_for_ever(order: dict[str, str]) -> None:
    """One reading process: counts what it sees until stdin ends."""
    credentials = StoreCredentials(order["user"], Secret(order["password"]))
    store = SmbStore.from_url(order["url"], credentials)
    seen: Counter[str] = Counter()
    print("ready", flush=True)
    import select

    while not select.select([sys.stdin], [], [], 0)[0]:
        seen[naive_look(order) if order["reader"] == "naive" else our_look(store)] += 1
    print(json.dumps(seen), flush=True)


def our_look(store: SmbStore) -> str:
    blob = store.get(KEY)
    return "missing" if blob is None else kind_of(blob.data)


def naive_look(order: dict[str, str]) -> str:
    try:
        with smbclient.open_file(order["unc"], "rb", share_access="rwd", **login(order)) as file:
            return kind_of(file.read())
    except EndOfFile:  # it shrank between open and read
        return "torn"
    except OSError as error:
        codes = {0xC0000034: "missing", 0xC0000043: "busy", 0xC0000022: "busy"}
        return codes.get(getattr(error, "ntstatus", 0), "other")


def kind_of(data: bytes) -> str:
    return "whole" if is_whole(data) else "torn" if data else "empty"


def login(order: dict[str, str]) -> dict[str, object]:
    return {
        "username": order["user"], "password": order["password"],
        "port": int(order["port"]), "encrypt": True,
    }  # fmt: skip


def bare_rename(order: dict[str, str], data: bytes, number: int) -> None:
    temp = f"{order['unc']}.{number}.tmp"
    with smbclient.open_file(temp, "xb", **login(order)) as file:
        file.write(data)
        file.flush()
    smbclient.replace(temp, order["unc"], **login(order))


def in_place(order: dict[str, str], data: bytes, number: int) -> None:
    with smbclient.open_file(order["unc"], "wb", share_access="rwd", **login(order)) as file:
        file.write(data)


def order_for(samba: Samba, folder: str) -> dict[str, str]:
    return {
        "url": samba.url(folder), "user": samba.writer.name, "password": samba.writer.password,
        "port": str(samba.port), "unc": rf"\\127.0.0.1\certs\{folder}\{KEY}",
    }  # fmt: skip


def run(
    samba: Samba, reader: str, write: Callable[[SmbStore, dict[str, str], int], None], writes: int
) -> tuple[list[float], Counter[str]]:
    """Milliseconds of each write, and what the readers saw meanwhile."""
    folder = samba.new_folder()
    order = {**order_for(samba, folder), "reader": reader}
    store = samba.store(folder)
    write(store, order, 0)
    processes = [
        subprocess.Popen(
            [sys.executable, __file__, "--read"],
            stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True,
        )
        for _ in range(READERS)
    ]  # fmt: skip
    for process in processes:
        assert process.stdin
        assert process.stdout
        process.stdin.write(json.dumps(order) + "\n")
        process.stdin.flush()
        process.stdout.readline()
    times = []
    for number in range(1, writes + 1):
        began = time.perf_counter()
        write(store, order, number)
        times.append((time.perf_counter() - began) * 1000)
    seen: Counter[str] = Counter()
    for process in processes:
        out, _ = process.communicate()
        seen.update(json.loads(out))
    store.close()
    return times, seen


def publisher() -> Callable[[SmbStore, dict[str, str], int], None]:
    """A whole publish: signed record, PFX, read-back."""
    password, key = generate_password(), Ed25519PrivateKey.generate()

    def publish(store: SmbStore, order: dict[str, str], number: int) -> None:
        shelf = Shelf(store, password, owner="bench", signing_key=key)
        assert shelf.publish(rig.make_bundle("www.example.com")).ok

    return publish


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--writes", type=int, default=300)
    parser.add_argument("--read", action="store_true", help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.read:
        read_for_ever(json.loads(sys.stdin.readline()))
        return
    put = "certshelf put"

    def ours(store: SmbStore, _: dict[str, str], number: int) -> None:
        store.put(KEY, body(number), ANY)

    rows: list[tuple[str, str, Callable[[SmbStore, dict[str, str], int], None]]] = [
        (put, "certshelf", ours),
        (put, "naive", ours),
        ("bare temp+rename", "naive", lambda _, order, n: bare_rename(order, body(n), n)),
        ("copy in place", "naive", lambda _, order, n: in_place(order, body(n), n)),
    ]
    p50: dict[tuple[str, str], float] = {}
    with running_samba() as samba:
        for name, reader, write in rows:
            times, seen = run(samba, reader, write, options.writes)
            p50[name, reader] = rig.percentile(times, 0.5)
            total = sum(seen.values())
            bad = {kind: count for kind, count in seen.items() if kind != "whole"}
            print(f"{name:<17} {reader:<9} p50 {p50[name, reader]:6.1f} ms"
                  f"  p99 {rig.percentile(times, 0.99):6.1f} ms"
                  f"  reads {total:6}  bad {sum(bad.values()):6} {bad or ''}")  # fmt: skip
        alone = {name: [0.0] for name in ("put", "bare", "publish")}
        folder, publish = samba.new_folder(), publisher()
        store, order = samba.store(folder), order_for(samba, folder)
        other = samba.store(samba.new_folder())
        for number in range(options.writes):  # interleaved, so that all see the same machine
            for what, act in (
                ("put", lambda n=number: store.put(KEY, body(n), ANY)),
                ("bare", lambda n=number: bare_rename(order, body(n), n)),
                ("publish", lambda n=number: publish(other, order, n)),
            ):
                began = time.perf_counter()
                act()
                alone[what].append((time.perf_counter() - began) * 1000)
        store.close()
        other.close()
    bare = rig.percentile(alone["bare"][1:], 0.5)
    for what, limit in (("put", 2), ("publish", 5)):
        middle = rig.percentile(alone[what][1:], 0.5)
        ratio = f"{middle / bare:.2f} x bare temp+rename (goal <= {limit})"
        print(f"{what} without readers: p50 {middle:.1f} ms = {ratio}")
    print("goal: 0 bad reads with certshelf on both sides")


if __name__ == "__main__":
    main()
