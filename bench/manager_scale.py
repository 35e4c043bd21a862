"""A manager with many certificates: what commands, a tick and an idle service cost, and renewals.

    python bench/manager_scale.py [--n 10000] [--due 1000] [--shared 400]

--due: so many are issued by `certshelf run` from one Pebble and then, all due, renewed; SQLite.
--shared: first issues on PostgreSQL by one manager and by two, 16 orders in flight each, behind a
proxy that adds 200 ms to each request of the CA, and without it. 0 leaves a part out.
"""

from __future__ import annotations

import argparse
import contextlib
import os
import resource
import signal
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from sqlalchemy import update
from tests.support.minted import loopback_server
from tests.support.pebble import Pebble, pebble
from tests.support.postgres import postgres
from tests.support.records import certificate
from tests.support.service import Running, running

from certshelf.clock import SYSTEM
from certshelf.manage.credentials import set_credential
from certshelf.manage.db.tables import certificate as certificates
from certshelf.manage.home import find_home
from certshelf.manage.issuers import AcmeWish, add_acme
from certshelf.manage.manager import Manager, open_manager
from certshelf.manage.model import (
    CertificateStatus,
    ChallengeChoice,
    Credential,
    ManagedCertificate,
    State,
)
from certshelf.manage.opening import create_home
from certshelf.manage.service.run import Service
from certshelf.secret import generate_password

WARM_UP = 32
"""Certificates before the clock runs: the account, connections, and code that is loaded late."""


def make_home(folder: Path, **settings: str | int) -> Path:
    folder.mkdir(parents=True, exist_ok=True)
    home = find_home(folder / "home", {})
    (folder / "shelf").mkdir()
    (folder / "webroot").mkdir()
    chosen: dict[str, str | int | bool] = {
        "shelf.store": str(folder / "shelf"),
        "shelf.owner": "bench",
        "service.listen": "127.0.0.1:0",
        "service.tick_seconds": 1,
        "service.doctor_minutes": 0,
        "service.events_to": "none",
        **{key.replace("__", "."): value for key, value in settings.items()},
    }
    create_home(home, chosen)
    with open_manager(home.path) as manager:
        name = manager.settings.shelf.password_credential
        set_credential(manager.database, Credential(name), generate_password(), SYSTEM)
    return home.path


def add(
    home: Path,
    count: int,
    issuer: str = "local",
    *,
    valid: bool,
    http_port: int = 0,
    first: int = 0,
) -> None:
    """http_port: of a responder of the manager's own; without it, answers are files."""
    now = datetime.now(UTC)
    status = CertificateStatus()
    if valid:
        status = CertificateStatus(
            State.VALID,
            1,
            not_before=now,
            not_after=now + timedelta(days=90),
            renew_at=now + timedelta(days=60),
        )
    folder = {"webroot": str(home.parent / "webroot")}
    settings = {"port": str(http_port)} if http_port else folder
    choice = ChallengeChoice("http-01", settings=settings)
    with open_manager(home) as manager, manager.database.write() as records:
        for i in range(first, first + count):
            wish = certificate(f"n{i:06}", issuer=issuer, challenges=(choice,), tags=("bench",))
            found: ManagedCertificate = records.certificates.add(wish)
            records.certificates.set_status(found.id, status)


def timed(*arguments: str) -> str:
    """How long a whole command takes, the best of three, and how much of it is CPU.

    Byte code is kept, as where it is installed, whatever this process was told.
    """
    best = []
    environ = {k: v for k, v in os.environ.items() if k != "PYTHONDONTWRITEBYTECODE"}
    for _ in range(4):
        start, before = time.perf_counter(), resource.getrusage(resource.RUSAGE_CHILDREN)
        subprocess.run(
            [sys.executable, "-m", "certshelf", *arguments],
            check=True,
            stdout=subprocess.DEVNULL,
            env=environ,
        )
        after = resource.getrusage(resource.RUSAGE_CHILDREN)
        cpu = after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime
        best.append((time.perf_counter() - start, cpu))
    seconds, cpu = min(best)
    return f"{seconds:.2f} s, {cpu:.2f} s of it CPU (goal: under 1)"


def rss_mb(pid: int) -> float:
    lines = Path(f"/proc/{pid}/status").read_text().splitlines()
    return int(next(line for line in lines if line.startswith("VmRSS")).split()[1]) / 1024


def cpu_s(pid: int) -> float:
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def tick(manager: Manager) -> float:
    """Seconds that the scheduler needs to see what is due, the median of five."""
    service = Service(manager)
    took = []
    for _ in range(5):
        start = time.perf_counter()
        service.plan()
        took.append(time.perf_counter() - start)
    return statistics.median(took)


def scale(folder: Path, count: int) -> None:
    home = make_home(folder)
    start = time.perf_counter()
    add(home, count, valid=True)
    print(f"{count:,} certificates, added in {time.perf_counter() - start:.1f} s, SQLite")
    filters: tuple[list[str], ...] = (
        [],
        ["--json"],
        ["--tag", "bench"],
        ["--expires-within", "100"],
        ["--state", "new"],
    )
    for options in (["ls", *more] for more in filters):
        what = " ".join(options)
        print(f"  cert {what:<26}{timed('--home', str(home), 'cert', *options)}")
    shown = timed("--home", str(home), "cert", "show", f"n{count // 2:06}")
    print(f"  cert show                      {shown}")
    with open_manager(home) as manager:
        print(f"  a tick, nothing due            {tick(manager):.4f} s (goal: under 1)")
        with manager.database.write() as records:
            records.connection.execute(update(certificates).values(renew_at=datetime.now(UTC)))
        print(f"  a tick, all due                {tick(manager):.4f} s (goal: under 1)")
        with manager.database.write() as records:
            later = datetime.now(UTC) + timedelta(days=60)
            records.connection.execute(update(certificates).values(renew_at=later))
    with running(home) as one:
        one.says("certshelf is ready")
        time.sleep(5)
        before = cpu_s(one.process.pid)
        time.sleep(10)
        used = cpu_s(one.process.pid) - before
        print(f"  certshelf run, idle            {rss_mb(one.process.pid):.0f} MB,")
        print(f"                                 {used / 10:.1%} of a core with a tick each second")
        start = time.perf_counter()
        one.get("/metrics")
        print(f"  /metrics                       {time.perf_counter() - start:.3f} s")
        one.stop()


def wait_for(services: list[Running], count: int) -> tuple[float, list[int]]:
    """Seconds until so many are issued, with a line of progress; how many each manager did."""
    start, said = time.perf_counter(), 0.0
    before = [issued_by(service) for service in services]
    while True:
        shares = [issued_by(one) - old for one, old in zip(services, before, strict=True)]
        passed = time.perf_counter() - start
        if sum(shares) >= count or passed > 1200:
            return passed, shares
        if passed - said > 5:
            said = passed
            print(f"    {passed:5.0f} s  {sum(shares):,} of {count:,}", file=sys.stderr)
        time.sleep(0.2)


def issued_by(service: Running) -> int:
    return service.metric('runs_total{outcome="issued"}')


def renewals(folder: Path, count: int) -> None:
    """Issue so many, let all be due, and renew them: each name proved by http-01 both times."""
    with pebble(folder / "pebble") as ca:
        ca.dns_set("set-default-ipv4", ip="127.0.0.1")
        home = make_home(folder / "one")
        acme(home, ca.directory_url, ca.ca_file)
        add(home, count, "pebble", valid=False, http_port=ca.http_port)
        print(f"{count:,} certificates, one Pebble that validates http-01, SQLite")
        for what in ("first issues", "renewals"):
            begun = ca.orders_made
            with running(home, log=what.replace(" ", "-")) as one:
                one.says("certshelf is ready")
                seconds, _ = wait_for([one], count)
                used = cpu_s(one.process.pid)
                memory = rss_mb(one.process.pid)
                one.stop()
            print(
                f"  {what:<13} {seconds:.0f} s: {count / seconds:.1f} a second,"
                f" {used / count * 1000:.0f} ms of CPU each, {memory:.0f} MB;"
                f" finalised at the CA: {ca.orders_made - begun:,}"
            )
            all_due(home)


def all_due(home: Path) -> None:
    """As if their time had come; the CA's own windows are not asked for meanwhile."""
    now = datetime.now(UTC)
    values = {"renew_at": now, "ari_next_at": now + timedelta(days=1)}
    with open_manager(home) as manager, manager.database.write() as records:
        records.connection.execute(update(certificates).values(values))


def acme(home: Path, url: str, ca_file: Path) -> None:
    with open_manager(home) as manager, manager.database.write() as records:
        add_acme(records, "pebble", AcmeWish(url, ca_file, poll_interval=0.1), manager.clock)


@contextlib.contextmanager
def slow_ca(folder: Path, ca: Pebble) -> Iterator[tuple[str, Path]]:
    """The same CA behind 200 ms: its directory and the file that vouches for the proxy."""
    folder.mkdir()
    ca_file, own, key = loopback_server(folder)
    upstream = ca.directory_url.removesuffix("/dir")
    script = Path(__file__).with_name("_slow_ca.py")
    process = subprocess.Popen(
        [sys.executable, script, upstream, ca.ca_file, own, key], stdout=subprocess.PIPE, text=True
    )
    try:
        assert process.stdout
        port = int(process.stdout.readline())
        yield f"https://localhost:{port}/dir", ca_file
    finally:
        process.send_signal(signal.SIGTERM)
        process.wait(10)


def shared(folder: Path, count: int) -> None:
    for delay in (True, False):
        rates = {}
        for managers in (1, 2):
            place = folder / f"{managers}-{delay}"
            rates[managers] = with_managers(place, count, managers, delay=delay)
        what = "200 ms a request" if delay else "no delay"
        print(f"  {what}: two managers make {rates[2] / rates[1]:.2f} times the rate of one")


def with_managers(folder: Path, count: int, managers: int, *, delay: bool) -> float:
    folder.mkdir(parents=True)
    with (
        postgres() as url,
        pebble(folder / "pebble", always_valid=True) as ca,
        contextlib.ExitStack() as services,
    ):
        home = make_home(folder, database__url=url.replace("postgresql+psycopg", "postgresql"))
        where = ca.directory_url, ca.ca_file
        if delay:
            where = services.enter_context(slow_ca(folder / "slow", ca))
        acme(home, *where)
        found = [services.enter_context(running(home, log=f"m{i}")) for i in range(managers)]
        for service in found:
            service.says("certshelf is ready")
        add(home, WARM_UP, "pebble", valid=False)
        wait_for(found, WARM_UP)
        assert ca.process
        before = [cpu_s(service.process.pid) for service in found]
        others = -cpu_s(ca.process.pid)
        add(home, count, "pebble", valid=False, first=WARM_UP)
        seconds, shares = wait_for(found, count)
        after = [cpu_s(service.process.pid) for service in found]
        used = [late - early for late, early in zip(after, before, strict=True)]
        others += cpu_s(ca.process.pid)
        for service in found:
            service.stop()
        assert ca.orders_made == count + WARM_UP, ca.orders_made
    what = "200 ms" if delay else "no delay"
    cpu = " and ".join(f"{one:.1f}" for one in used)
    print(
        f"  {managers} managers, {what}: {count / seconds:.1f} a second, shares {shares},"
        f" CPU {cpu} s, Pebble's {others:.1f} s"
    )
    return count / seconds


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--n", type=int, default=10_000)
    parser.add_argument("--due", type=int, default=1000)
    parser.add_argument("--shared", type=int, default=1_000)
    chosen = parser.parse_args()
    with tempfile.TemporaryDirectory() as text:
        folder = Path(text)
        if chosen.n:
            scale(folder / "scale", chosen.n)
        if chosen.due:
            renewals(folder / "due", chosen.due)
        if chosen.shared:
            print(f"{chosen.shared} certificates on PostgreSQL, 16 in flight a manager")
            shared(folder / "shared", chosen.shared)


if __name__ == "__main__":
    main()
