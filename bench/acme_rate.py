"""Issuing from one Pebble: certshelf's ACME client against certbot's `acme` library, as ratios.

    python bench/acme_rate.py [--orders 200] [--concurrency 32] [--library-orders 60]

Both sides prove one name each by http-01 and keep P-256 keys in memory: no records, no PFX (the
pipeline's own bench adds them). Pebble runs on the same machine and costs CPU too, so only the
client's CPU and the ratios mean something. Needs pebble; the library side needs `acme`.
"""

from __future__ import annotations

import argparse
import asyncio
import sys
import tempfile
import time
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

from cryptography import x509
from cryptography.hazmat.primitives.serialization import Encoding

sys.path.insert(0, str(Path(__file__).parents[1]))

from tests.support.pebble import Pebble, pebble

from certshelf.bundle.keys import generate
from certshelf.issue.acme import account, csr, jws
from certshelf.issue.acme.client import AcmeClient, ClientSettings
from certshelf.issue.acme.identifiers import identifiers
from certshelf.issue.acme.issuer import AcmeIssuer
from certshelf.issue.acme.retry import Polling
from certshelf.issue.issuer import IssueRequest
from certshelf.issue.solve.http01 import FarmHttp01, Http01Responder
from certshelf.names import HostName

POLLING = Polling(first_s=0.1, interval_s=0.1, deadline_s=60)


@dataclass
class Figures:
    side: str
    orders: int
    wall_s: float
    cpu_s: float
    requests: int = 0

    @property
    def a_minute(self) -> float:
        return self.orders / self.wall_s * 60

    @property
    def cpu_ms(self) -> float:
        return self.cpu_s / self.orders * 1000

    def __str__(self) -> str:
        asked = f"{self.requests / self.orders:6.1f}" if self.requests else "     -"
        return f"{self.side:24} {self.orders:6} {self.a_minute:10.0f} {self.cpu_ms:8.2f} {asked}"


async def ours(ca: Pebble, orders: int, concurrency: int) -> Figures:
    key = generate("ecdsa-p256")
    settings = ClientSettings(ca.directory_url, ca.ca_file, in_flight=concurrency, requests=None)
    responder = Http01Responder("127.0.0.1", ca.http_port, thumbprint=jws.thumbprint(key))
    async with AcmeClient(settings) as client, responder:
        made = await account.register(client, key)
        issuer = AcmeIssuer(client, made, [FarmHttp01()], polling=POLLING)
        slots = asyncio.Semaphore(concurrency)

        async def one(number: int) -> None:
            async with slots:
                host = HostName.parse(f"h{number}.ours.example")
                await issuer.issue(IssueRequest((host,), "ecdsa-p256"), lambda _: None)

        wall, cpu, sent = time.perf_counter(), time.process_time(), client.requests_sent
        await asyncio.gather(*map(one, range(orders)))
        wall, cpu = time.perf_counter() - wall, time.process_time() - cpu
        return Figures("certshelf's client", orders, wall, cpu, client.requests_sent - sent)


async def library(ca: Pebble, orders: int, concurrency: int) -> Figures:
    key = generate("rsa-2048")
    responder = Http01Responder("127.0.0.1", ca.http_port, thumbprint=jws.thumbprint(key))
    async with responder:
        api = _library_client(ca, key)
        loop = asyncio.get_running_loop()
        wall, cpu = time.perf_counter(), time.process_time()
        with ThreadPoolExecutor(concurrency) as pool:
            calls = (loop.run_in_executor(pool, _library_one, api, n) for n in range(orders))
            await asyncio.gather(*calls)
        wall, cpu = time.perf_counter() - wall, time.process_time() - cpu
        return Figures("the acme library", orders, wall, cpu)


def _library_client(ca: Pebble, key: Any) -> Any:
    import josepy

    from acme import client, messages

    roots: Any = str(ca.ca_file)  # as requests takes them
    network = client.ClientNetwork(josepy.jwk.JWKRSA(key=key), verify_ssl=roots)
    directory = client.ClientV2.get_directory(ca.directory_url, network)
    api = client.ClientV2(directory, network)
    api.new_account(messages.NewRegistration.from_data(terms_of_service_agreed=True))
    return api


def _library_one(api: Any, number: int) -> None:
    from acme import challenges

    der = csr.build(generate("ecdsa-p256"), identifiers([f"h{number}.library.example"]))
    order = api.new_order(x509.load_der_x509_csr(der).public_bytes(Encoding.PEM))
    for found in order.authorizations:
        for body in found.body.challenges:
            if isinstance(body.chall, challenges.HTTP01):
                api.answer_challenge(body, body.response(api.net.key))
    until = datetime.now(UTC).replace(tzinfo=None) + timedelta(seconds=60)
    api.poll_and_finalize(order, until)


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--orders", type=int, default=200)
    parser.add_argument("--library-orders", type=int, default=60)
    parser.add_argument("--concurrency", type=int, default=32)
    options = parser.parse_args()
    print(f"{'side':24} {'orders':>6} {'per minute':>10} {'CPU ms':>8} {'requests':>6}")
    with tempfile.TemporaryDirectory() as folder, pebble(Path(folder)) as ca:
        mine = asyncio.run(ours(ca, options.orders, options.concurrency))
        print(mine)
        try:
            other = asyncio.run(library(ca, options.library_orders, options.concurrency))
        except ImportError:
            print("the acme library is not installed: no comparison")
            return
        print(other)
        print(f"rate: {mine.a_minute / other.a_minute:.1f} times the library's")
        print(f"CPU each: {other.cpu_ms / mine.cpu_ms:.1f} times less")


if __name__ == "__main__":
    main()
