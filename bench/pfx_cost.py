"""What a PFX costs in CPU, by rounds, profile and key type: python bench/pfx_cost.py

Each figure is the median of the process's own CPU time, and its ratio to the first row: an ECDSA
bundle in the modern profile with 2,048 rounds, read. No server runs and nothing is timed in tests.
"""

from __future__ import annotations

import sys
import time
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path
from statistics import median

from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.x509.oid import NameOID

from certshelf.bundle import inspect, pfx
from certshelf.bundle.guarded import decode_guarded
from certshelf.bundle.keys import generate
from certshelf.bundle.model import Bundle, PfxProfile
from certshelf.errors import PfxHostile
from certshelf.secret import generate_password

PASSWORD = generate_password()
ROUNDS = (1, 2_048, 20_000, 100_000, 300_000)
GOLDEN = Path(__file__).parents[1] / "tests" / "golden" / "pfx"


def main() -> None:
    """Print the table."""
    bundles = {k: _bundle(k) for k in ("ecdsa-p256", "rsa-2048", "rsa-4096")}
    small = bundles["ecdsa-p256"]
    data = small.to_pfx(PASSWORD)
    unit = _cpu(lambda: pfx.decode(data, PASSWORD))
    print(f"{'what':42} {'rounds':>13} {'ms':>8} {'ratio':>7}")

    def row(what: str, rounds: int, seconds: float) -> None:
        print(f"{what:42} {rounds:13,} {seconds * 1000:8.2f} {seconds / unit:7.2f}")

    for profile in PfxProfile:
        for rounds in ROUNDS:
            row(f"decode ecdsa-p256 {profile}", rounds, _decode(small, profile, rounds))
    for key_type, bundle in bundles.items():
        row(f"decode {key_type} modern", 2_048, _decode(bundle, PfxProfile.MODERN, 2_048))
    for rounds in ROUNDS:
        row("encode ecdsa-p256 modern", rounds, _encode(small, rounds))
    row("guard alone", 2_048, _cpu(lambda: inspect.guard(data)))
    bomb = (GOLDEN / "bomb-mac.pfx").read_bytes()
    row("guard refuses 2^31-1 rounds", 2**31 - 1, _cpu(lambda: _refused(bomb)))
    wall = _wall(lambda: decode_guarded(data, PASSWORD))
    row("decode in a child (wall time)", 2_048, wall)


def _decode(bundle: Bundle, profile: PfxProfile, rounds: int) -> float:
    data = bundle.to_pfx(PASSWORD, profile, rounds)
    return _cpu(lambda: pfx.decode(data, PASSWORD))


def _encode(bundle: Bundle, rounds: int) -> float:
    return _cpu(lambda: bundle.to_pfx(PASSWORD, PfxProfile.MODERN, rounds))


def _refused(data: bytes) -> None:
    try:
        inspect.guard(data)
    except PfxHostile:
        return
    sys.exit("the guard let a hostile file through")


def _bundle(key_type: str) -> Bundle:
    key = generate(key_type)
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "bench.example.test")])
    now = datetime.now(UTC)
    builder = x509.CertificateBuilder().subject_name(name).issuer_name(name)
    builder = builder.public_key(key.public_key()).serial_number(x509.random_serial_number())
    builder = builder.not_valid_before(now).not_valid_after(now + timedelta(days=1))
    return Bundle(key, builder.sign(key, hashes.SHA256()))


def _cpu(work: Callable[[], object]) -> float:
    return _measure(work, time.process_time)


def _wall(work: Callable[[], object]) -> float:
    return _measure(work, time.perf_counter)


def _measure(work: Callable[[], object], clock: Callable[[], float]) -> float:
    """Seconds for one call: the median of at least 7, for about a third of a second."""
    spent: list[float] = []
    while len(spent) < 7 or (sum(spent) < 0.3 and len(spent) < 2_000):
        start = clock()
        work()
        spent.append(clock() - start)
    return median(spent)


if __name__ == "__main__":
    main()
