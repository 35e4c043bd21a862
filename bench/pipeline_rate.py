"""Certificates a minute and CPU each: certshelf, the acme library, certbot and lego, one Pebble.

    python bench/pipeline_rate.py [--n 400] [--library 200] [--certbot 20] [--lego 30]
                                  [--memory 500,5000]

All sides ask the same Pebble in the same run, http-01, looking at orders every 100 ms. certshelf
does the whole pipeline: order, key sealed, records, PFX written, published and read back. The
library runs in 32 threads and writes the same PFX with the same rounds. certbot runs as users run
it, one process a certificate, and so does lego. A side that is not installed is left out. 0 leaves
a side out. Memory is measured with the local CA, each number of orders in a process of its own.
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import os
import resource
import shutil
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import ClassVar

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from tests.support.homes import manager_in
from tests.support.pebble import Pebble, pebble
from tests.support.records import certificate

from certshelf.bundle.chain import assemble
from certshelf.bundle.keys import generate
from certshelf.bundle.model import Bundle, PfxProfile
from certshelf.manage import publishing, steps
from certshelf.manage.certificates import add_certificate
from certshelf.manage.desk import Desk
from certshelf.manage.issuers import AcmeWish, add_acme, add_local_ca
from certshelf.manage.manager import Manager
from certshelf.manage.model import ChallengeChoice
from certshelf.manage.pipeline import Run, request_many
from certshelf.secret import Secret


@dataclass
class Side:
    name: str
    made: int
    seconds: float
    cpu_s: float
    requests: int

    @property
    def per_minute(self) -> float:
        return self.made / self.seconds * 60

    @property
    def cpu_ms(self) -> float:
        return self.cpu_s / self.made * 1000


@contextlib.contextmanager
def measured(name: str, made: int, ca: Pebble, sides: list[Side]) -> Iterator[None]:
    requests, start, cpu = asked(ca), time.perf_counter(), cpu_now()
    yield
    seconds, used = time.perf_counter() - start, cpu_now() - cpu
    sides.append(Side(name, made, seconds, used, asked(ca) - requests))


def cpu_now() -> float:
    own, children = (
        resource.getrusage(w) for w in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN)
    )
    return own.ru_utime + own.ru_stime + children.ru_utime + children.ru_stime


def asked(ca: Pebble) -> int:
    return ca.log.count("-> calling handler")


# --- certshelf


def certshelf(folder: Path, ca: Pebble, n: int, sides: list[Side]) -> dict[str, float]:
    spent: dict[str, float] = {}
    with manager_in(folder) as manager:
        prepare(manager, ca, n)
        names = [f"n{i}" for i in range(n)]
        errors: list[str] = []

        def done(name: str, run: Run) -> None:
            if run.error:
                errors.append(f"{name}: {run.error}")

        with timed_stages(spent), measured("certshelf", n, ca, sides):
            asyncio.run(request_many(manager, names, done))
        if errors:
            raise SystemExit(f"{len(errors)} failed, the first: {errors[0]}")
    return spent


def prepare(manager: Manager, ca: Pebble, n: int) -> None:
    wish = AcmeWish(ca.directory_url, ca.ca_file, poll_interval=0.1, requests_per_second=0)
    with manager.database.write() as records:
        add_acme(records, "pebble", wish, manager.clock)
    choice = ChallengeChoice("http-01", settings={"port": str(ca.http_port)})
    for i in range(n):
        wish_ = certificate(f"n{i}", f"n{i}.example.test", issuer="pebble", challenges=(choice,))
        add_certificate(manager, wish_)


@contextlib.contextmanager
def timed_stages(spent: dict[str, float]) -> Iterator[None]:
    """CPU of the threads that publish and that write records; the rest is the event loop."""
    lock = threading.Lock()

    def timed(name: str, call):  # type: ignore[no-untyped-def]
        def run(*args, **kwargs):  # type: ignore[no-untyped-def]
            start = time.thread_time()
            try:
                return call(*args, **kwargs)
            finally:
                with lock:
                    spent[name] = spent.get(name, 0.0) + time.thread_time() - start

        return run

    commit, publish = Desk.commit, publishing.put_on_shelves
    make, read = Bundle.to_pfx, Bundle.from_pfx
    Desk.commit = timed("records", commit)  # type: ignore[method-assign]
    steps.put_on_shelves = timed("publish with PFX", publish)  # type: ignore[attr-defined]
    Bundle.to_pfx = timed("PFX written", make)  # type: ignore[method-assign]
    Bundle.from_pfx = staticmethod(timed("PFX read", read))  # type: ignore[method-assign]
    try:
        yield
    finally:
        Desk.commit, steps.put_on_shelves = commit, publish  # type: ignore[method-assign,attr-defined]
        Bundle.to_pfx, Bundle.from_pfx = make, staticmethod(read)  # type: ignore[method-assign]


# --- certbot's library in 32 threads


class _Answers(BaseHTTPRequestHandler):
    answers: ClassVar[dict[str, str]] = {}
    protocol_version = "HTTP/1.1"

    def do_GET(self) -> None:
        text = self.answers.get(self.path.rpartition("/")[2], "").encode()
        self.send_response(200 if text else 404)
        self.send_header("Content-Length", str(len(text)))
        self.end_headers()
        self.wfile.write(text)

    def log_message(self, *args: object) -> None:
        pass


class _Server(ThreadingHTTPServer):
    request_queue_size = 256


def library(folder: Path, ca: Pebble, n: int, sides: list[Side]) -> None:
    import josepy
    import requests
    from cryptography import x509
    from cryptography.hazmat.primitives.asymmetric import ec

    from acme import client, messages

    os.environ["REQUESTS_CA_BUNDLE"] = str(ca.ca_file)
    key = josepy.jwk.JWKEC(key=ec.generate_private_key(ec.SECP256R1()))
    net = client.ClientNetwork(key, alg=josepy.jwa.ES256, user_agent="bench")
    adapter = requests.adapters.HTTPAdapter(pool_maxsize=32)
    net.session.mount("https://", adapter)
    directory = client.ClientV2.get_directory(ca.directory_url, net)
    acme = client.ClientV2(directory, net)
    acme.new_account(messages.NewRegistration(terms_of_service_agreed=True))
    password = Secret("bench")

    def one(i: int) -> None:
        from certshelf.issue.acme.csr import build
        from certshelf.issue.acme.identifiers import identifiers
        from certshelf.names import HostName

        host = HostName.parse(f"l{i}.example.test")
        own = generate("ecdsa-p256")
        csr = x509.load_der_x509_csr(build(own, identifiers([host.ascii])))
        from cryptography.hazmat.primitives.serialization import Encoding

        order = acme.new_order(csr.public_bytes(Encoding.PEM))
        body = order.authorizations[0].body
        challenge = next(c for c in body.challenges if c.chall.typ == "http-01")
        response, validation = challenge.response_and_validation(key)
        _Answers.answers[challenge.chall.encode("token")] = validation
        acme.answer_challenge(challenge, response)
        url = order.uri
        while True:
            time.sleep(0.1)
            now = acme._post_as_get(url).json()
            if now["status"] not in ("pending", "processing"):
                break
        acme._post(order.body.finalize, messages.CertificateRequest(csr=csr))
        while True:
            time.sleep(0.1)
            now = acme._post_as_get(url).json()
            if now["status"] == "valid":
                break
        chain = x509.load_pem_x509_certificates(acme._post_as_get(now["certificate"]).content)
        bundle = assemble(own, chain)
        path = folder / f"{host.ascii}.pfx"
        path.write_bytes(bundle.to_pfx(password, PfxProfile.MODERN))
        assert Bundle.from_pfx(path.read_bytes(), password) == bundle

    server = _Server(("127.0.0.1", ca.http_port), _Answers)
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    try:
        with measured("acme library, 32 threads", n, ca, sides), ThreadPoolExecutor(32) as pool:
            list(pool.map(one, range(n)))
    finally:
        server.shutdown()
        server.server_close()


# --- certbot as users run it


def certbot(folder: Path, ca: Pebble, n: int, sides: list[Side]) -> None:
    program = shutil.which("certbot", path=str(Path(sys.executable).parent)) or shutil.which(
        "certbot"
    )
    if program is None:
        print("certbot is not installed: left out (pip install certbot)")
        return
    env = {**os.environ, "REQUESTS_CA_BUNDLE": str(ca.ca_file)}
    folders = [f"--{what}-dir={folder / 'certbot' / what}" for what in ("config", "work", "logs")]
    argv = [program, "certonly", "--standalone", "--non-interactive", "--agree-tos", "--quiet"]
    argv += ["--register-unsafely-without-email", "--server", ca.directory_url, *folders]
    argv += ["--http-01-port", str(ca.http_port), "--key-type", "ecdsa"]
    subprocess.run([*argv, "-d", "warm.example.test"], env=env, check=True)
    with measured("certbot, one process each", n, ca, sides):
        for i in range(n):
            subprocess.run([*argv, "-d", f"c{i}.example.test"], env=env, check=True)


# --- lego, one process each


def lego(folder: Path, ca: Pebble, n: int, sides: list[Side]) -> None:
    program = shutil.which("lego")
    if program is None:
        print("lego is not installed: left out (apt install lego)")
        return
    env = {**os.environ, "LEGO_CA_CERTIFICATES": str(ca.ca_file)}
    argv = [program, "--accept-tos", "--server", ca.directory_url, "--path", str(folder / "lego")]
    argv += ["--email", "bench@example.test", "--key-type", "ec256"]
    argv += ["--http", f"--http.port=:{ca.http_port}"]

    def run(name: str) -> None:
        subprocess.run([*argv, "--domains", name, "run"], env=env, check=True, capture_output=True)

    run("warm-lego.example.test")
    with measured("lego, one process each", n, ca, sides):
        for i in range(n):
            run(f"g{i}.example.test")


# --- memory


def memory_of(n: int) -> int:
    """Peak resident memory, in kB, of a process that issues n certificates by the local CA."""
    out = subprocess.run(
        [sys.executable, __file__, "--orders", str(n)], check=True, capture_output=True, text=True
    )
    return int(out.stdout)


def issue_locally(n: int) -> int:
    """Issue and publish n certificates; this process's peak resident memory in kB (Linux)."""
    errors: list[str] = []

    def done(name: str, run: Run) -> None:
        if run.error:
            errors.append(f"{name}: {run.error}")

    with tempfile.TemporaryDirectory() as folder, manager_in(Path(folder)) as manager:
        with manager.database.write() as records:
            add_local_ca(records, "local", manager.clock)
        for i in range(n):
            add_certificate(manager, certificate(f"n{i}", f"n{i}.example.test", issuer="local"))
        asyncio.run(request_many(manager, [f"n{i}" for i in range(n)], done))
    if errors:
        raise SystemExit(f"{len(errors)} failed, the first: {errors[0]}")
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--n", type=int, default=400)
    parser.add_argument("--library", type=int, default=200)
    parser.add_argument("--certbot", type=int, default=20)
    parser.add_argument("--lego", type=int, default=30)
    parser.add_argument("--memory", default="500,5000", help="orders, or nothing")
    parser.add_argument("--orders", type=int, default=0, help=argparse.SUPPRESS)
    given = parser.parse_args()
    if given.orders:
        print(issue_locally(given.orders))
        return 0
    sides: list[Side] = []
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        with pebble(folder / "pebble") as ca:
            certshelf(folder / "warm", ca, 5, [])
            spent = certshelf(folder / "own", ca, given.n, sides)
            if given.library:
                library(folder, ca, given.library, sides)
            if given.certbot:
                certbot(folder, ca, given.certbot, sides)
            if given.lego:
                lego(folder, ca, given.lego, sides)
    print(f"{'side':<28}{'n':>6}{'a minute':>12}{'CPU ms each':>14}{'requests each':>16}")
    for side in sides:
        print(
            f"{side.name:<28}{side.made:>6}{side.per_minute:>12.0f}{side.cpu_ms:>14.1f}"
            f"{side.requests / side.made:>16.1f}"
        )
    own = sides[0]
    print("\ncertshelf's CPU by stage, ms a certificate")
    for stage, seconds in sorted(spent.items()):
        print(f"  {stage:<26}{seconds / own.made * 1000:>8.2f}")
    outside = spent.get("records", 0) + spent.get("publish with PFX", 0)
    print(f"  {'ACME, keys and the loop':<26}{(own.cpu_s - outside) / own.made * 1000:>8.2f}")
    for other in sides[1:]:
        rate, cpu = own.per_minute / other.per_minute, other.cpu_ms / own.cpu_ms
        print(
            f"certshelf against {other.name}: {rate:.1f} times the rate, {cpu:.1f} times less CPU"
        )
    for n in map(int, filter(None, given.memory.split(","))):
        print(f"peak memory of {n} orders: {memory_of(n) / 1024:.0f} MiB")
    return 0


if __name__ == "__main__":
    sys.exit(main())
