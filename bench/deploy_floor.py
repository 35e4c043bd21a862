"""What several targets at once cost on this machine when no interpreter's lock is in the way.

    python bench/deploy_floor.py [--names 100]

One real Samba (root and Debian's `samba` and `smbclient` needed), one run. Replaces all names on
one, two and three folders of its share at once, each by a process of its own that has started
before: Samba's own client in C (three temps and renames a name, nothing read or proved), and
certshelf's whole publish. What is slower together than alone is then the machine's cores, which
hold the file server too.
"""

from __future__ import annotations

import argparse
import json
import resource
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Protocol

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

import rig
from _procfs import all_cpu_s
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from tests.support.samba import Samba, running_samba

from certshelf.names import HostName
from certshelf.secret import Secret, generate_password
from certshelf.shelf.shelf import Shelf
from certshelf.store.base import StoreCredentials
from certshelf.store.smb import SmbStore

TURNS = 3
DONE = "=done="


class Worker(Protocol):
    """Replaces all names of one target, each time it is told to."""

    process: subprocess.Popen[str]

    def begin(self) -> None:
        """Start replacing."""

    def finish(self) -> None:
        """Return when it is done."""


class InC:
    """smbclient, which starts in some 30 ms and so does it for each turn."""

    def __init__(self, samba: Samba, work: Path, names: int) -> None:
        folder = samba.new_folder()
        login, body, self._lines = work / "login", work / "body", work / folder
        login.touch(mode=0o600)
        login.write_text(f"username={samba.writer.name}\npassword={samba.writer.password}\n")
        body.write_bytes(bytes(3000))
        lines = [f"lcd {work}", f"cd {folder}"]
        for number in range(names):
            for kind in ("record", "pfx", "narrowed"):
                lines += [f"put body {number}.tmp", f"rename {number}.tmp {number}.{kind} -f"]
        self._lines.write_text("\n".join([*lines, ""]))
        self._command = [
            *("smbclient", "//127.0.0.1/certs", "-p", str(samba.port), "-A", str(login), "-E"),
            "--client-protection=encrypt",
        ]
        self.begin()
        self.finish()

    def begin(self) -> None:
        """See Worker."""
        with self._lines.open() as lines:
            self.process = subprocess.Popen(
                self._command, stdin=lines, stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
                text=True,
            )  # fmt: skip

    def finish(self) -> None:
        """See Worker."""
        said, _ = self.process.communicate()
        assert self.process.returncode == 0, said
        assert "NT_STATUS" not in said, said


class Ours:
    """certshelf in a process of its own. started: seconds until it could begin."""

    def __init__(self, samba: Samba, names: int) -> None:
        began = time.perf_counter()
        self.process = subprocess.Popen(
            [sys.executable, __file__, "--child"],
            stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True,
        )  # fmt: skip
        order = {
            "url": samba.url(samba.new_folder()), "user": samba.writer.name,
            "password": samba.writer.password, "names": names,
        }  # fmt: skip
        assert self.process.stdin
        self.process.stdin.write(json.dumps(order) + "\n")
        self.process.stdin.flush()
        self.finish()
        self.started = time.perf_counter() - began
        self.begin()
        self.finish()

    def begin(self) -> None:
        """See Worker."""
        assert self.process.stdin
        self.process.stdin.write("\n")
        self.process.stdin.flush()

    def finish(self) -> None:
        """See Worker."""
        assert self.process.stdout
        assert self.process.stdout.readline().strip() == DONE


def child() -> None:
    """One of Ours: a publish for each line on standard input."""
    order = json.loads(sys.stdin.readline())
    credentials = StoreCredentials(order["user"], Secret(order["password"]))
    store = SmbStore.from_url(order["url"], credentials)
    store.check_login()
    hosts = [HostName.parse(f"h{number:03}.bench.test") for number in range(order["names"])]
    shelf = Shelf(
        store, generate_password(), owner="bench", signing_key=Ed25519PrivateKey.generate()
    )
    print(DONE, flush=True)
    for _ in sys.stdin:
        bundle = rig.make_bundle(*(host.ascii for host in hosts))
        assert shelf.publish(bundle, hosts).ok
        print(DONE, flush=True)
    store.close()


def measure(samba: Samba, what: str, workers: list[Worker]) -> None:
    """One, two and all of them at once; the best of three."""
    alone = 0.0
    for count in range(1, len(workers) + 1):
        best = 1e9, ""
        for _ in range(TURNS):
            ours, server, began = clients_cpu(workers), all_cpu_s(samba.pid), time.perf_counter()
            for worker in workers[:count]:
                worker.begin()
            for worker in workers[:count]:
                worker.finish()
            wall = time.perf_counter() - began
            time.sleep(0.3)  # processes of the server that end tell their CPU then
            ours, server = clients_cpu(workers) - ours, all_cpu_s(samba.pid) - server
            best = min(best, (wall, f"CPU: clients {ours:.2f}, the file server's {server:.2f}"))
        alone = alone or best[0]
        print(f"   {what}, {count} at once: {best[0]:.2f} s = {best[0] / alone:.2f} ({best[1]})")
    for worker in workers:
        if worker.process.stdin:
            worker.process.stdin.close()
        worker.process.wait(10)


def clients_cpu(workers: list[Worker]) -> float:
    """CPU seconds of these and of those that this process waited for."""
    ended = resource.getrusage(resource.RUSAGE_CHILDREN)
    living = [worker.process.pid for worker in workers if worker.process.returncode is None]
    return ended.ru_utime + ended.ru_stime + all_cpu_s(*living)


def main() -> None:
    """Run it all."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--names", type=int, default=100)
    parser.add_argument("--child", action="store_true", help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.child:
        child()
        return
    kinds: list[tuple[str, Callable[[Samba, Path], Worker]]] = [
        ("smbclient", lambda samba, work: InC(samba, work, options.names)),
        ("certshelf, a process each", lambda samba, work: Ours(samba, options.names)),
    ]
    with running_samba() as samba, tempfile.TemporaryDirectory() as name:
        for what, make in kinds:
            workers = [make(samba, Path(name)) for _ in range(3)]
            starts = [worker.started for worker in workers if isinstance(worker, Ours)]
            if starts:
                print(f"   a process of ours takes {min(starts):.2f} s until it can begin")
            measure(samba, what, workers)


if __name__ == "__main__":
    main()
