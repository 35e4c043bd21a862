"""Each seeded fault is found by its own check, and nothing else turns red."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from datetime import timedelta
from typing import Any

import pytest
from cryptography.hazmat.primitives.asymmetric import ed25519
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat
from cryptography.x509.oid import ExtendedKeyUsageOID

from certshelf.bundle.model import Bundle, PrivateKey
from certshelf.doctor.base import examine
from certshelf.doctor.causes import TEXTS, Cause
from certshelf.doctor.checks import CHECKS
from certshelf.doctor.context import Context, FileFacts
from certshelf.doctor.served import Verdict
from certshelf.finding import Finding, Severity
from certshelf.secret import Secret
from certshelf.shelf.files import examine as examine_file
from certshelf.shelf.manifest import Record, State, sha256
from tests.doctor.farm import broken, context, load
from tests.support import asn1
from tests.support.certificates import INSIDE, bundle, key

HEALTHY = load("healthy.yaml")
TABLES = load("faults.yaml")
FAULTS = TABLES["faults"]
FILE_FAULTS = TABLES["file_faults"]
QUIET = (Severity.OK,)


def remarks(found: tuple[Finding, ...]) -> list[tuple[str, str]]:
    """Everything that is not green, as (id, severity)."""
    return [(f.id, f.severity.value) for f in found if f.severity not in QUIET]


def test_the_healthy_farm_is_green_and_every_check_was_asked() -> None:
    found = examine(context(HEALTHY), CHECKS)
    assert remarks(found) == []
    assert {f.id for f in found} >= {c.id for c in CHECKS if c.id != "served"}


@pytest.mark.parametrize("fault", FAULTS, ids=[f["what"] for f in FAULTS])
def test_a_seeded_fault_is_found_by_its_own_check_and_by_no_other(fault: dict[str, Any]) -> None:
    broken_farm = context(broken(HEALTHY, fault))
    found = examine(broken_farm, CHECKS)
    also = {tuple(text.split()) for text in fault.get("also", ())}
    assert set(remarks(found)) == {(fault["finds"], fault.get("severity", "error")), *also}
    if "cause" in fault:
        causes = [s.cause for s in broken_farm.served or () if s.cause]
        assert causes == [Cause(fault["cause"])]


@pytest.mark.parametrize("fault", FAULTS, ids=[f["what"] for f in FAULTS])
def test_what_is_found_says_why_and_what_to_do(fault: dict[str, Any]) -> None:
    for finding in examine(context(broken(HEALTHY, fault)), CHECKS, [fault["finds"]]):
        told = finding.severity is not Severity.OK and not fault.get("unasked")
        if told and not finding.id.startswith("iis-"):
            assert finding.what
            assert finding.why
            assert finding.do
            assert finding.subject
        if finding.severity is not Severity.OK and finding.subject:
            assert finding.source == f"docs/reference/findings.md#{finding.id}"


def test_every_cause_has_a_seeded_fault() -> None:
    seeded = {fault["cause"] for fault in FAULTS if "cause" in fault}
    assert seeded == {cause.value for cause in Cause}
    assert set(TEXTS) == set(Cause)


def test_every_verdict_but_current_has_a_seeded_fault() -> None:
    seeded = {fault["finds"] for fault in FAULTS if "cause" in fault}
    assert seeded == {f"served-{verdict}" for verdict in Verdict if verdict is not Verdict.CURRENT}


def test_every_finding_has_a_seeded_fault() -> None:
    seeded = {
        fault["finds"] for fault in (*FAULTS, *FILE_FAULTS, *load("farm_faults.yaml")["faults"])
    }
    together = {"share-rights", "shelf-files", "iis-servers", "served", "served-current"}
    every = {id for check in CHECKS for id in check.finding_ids}
    assert every - seeded - together == {"signature-weak"}  # nothing signs by SHA-1 any more


def test_there_are_enough_seeded_faults() -> None:
    assert len(FAULTS) + len(FILE_FAULTS) >= 60


# --- files with real bytes

PASSWORD, OLDER = Secret("of the shelf"), Secret("of last year")
HOST_FILE = "www.example.com.pfx"
NOW = INSIDE
ROUNDS = 1000


def good(**more: Any) -> Bundle:
    return bundle("www.example.com", **more)


def encoded(what: Bundle, password: Secret = PASSWORD) -> bytes:
    return what.to_pfx(password, rounds=ROUNDS)


def pkcs8(private: PrivateKey | ed25519.Ed25519PrivateKey) -> bytes:
    return private.private_bytes(Encoding.DER, PrivateFormat.PKCS8, NoEncryption())


def leaf_bag() -> bytes:
    return asn1.cert_bag(good().leaf.public_bytes(Encoding.DER))


def raw(*bags: bytes) -> bytes:
    """A PFX of these bags, as other tools may write it."""
    return asn1.pfx([asn1.data(bags)], PASSWORD.reveal().encode())


ED25519 = ed25519.Ed25519PrivateKey.generate()
SEEDS: dict[str, Callable[[], bytes]] = {
    "good": lambda: encoded(good()),
    "truncated": lambda: encoded(good())[:700],
    "empty": lambda: b"",
    "html": lambda: b"<html><body>404</body></html>",
    "other_password": lambda: encoded(good(), Secret("of somebody else")),
    "old_password": lambda: encoded(good(), OLDER),
    "expired": lambda: encoded(
        good(not_before=NOW - timedelta(days=90), not_after=NOW - timedelta(days=1))
    ),
    "future": lambda: encoded(
        good(not_before=NOW + timedelta(days=1), not_after=NOW + timedelta(days=90))
    ),
    "other_name": lambda: encoded(bundle("other.example.com")),
    "no_server_auth": lambda: encoded(good(usages=(ExtendedKeyUsageOID.EMAIL_PROTECTION,))),
    "changed": lambda: encoded(good()),
    "foreign": lambda: encoded(good()),
    "retired": lambda: encoded(good()),
    "scrypt": lambda: raw(asn1.scrypt_bag(pkcs8(good().key)), leaf_bag()),
    "no_key": lambda: raw(leaf_bag()),
    "two_keys": lambda: raw(*(asn1.key_bag(pkcs8(key(number=n))) for n in (0, 1)), leaf_bag()),
    "ed25519": lambda: raw(asn1.key_bag(pkcs8(ED25519)), leaf_bag()),
}


def record_of(data: bytes) -> Record:
    return Record(
        file=HOST_FILE,
        owner="test",
        generation=1,
        sha256=sha256(data),
        previous_sha256="",
        thumbprint="",
        serial="",
        not_before=NOW,
        not_after=NOW,
        written_at=NOW,
    )


def seeded(seed: str) -> Context:
    """The healthy farm with one file of real bytes."""
    data = SEEDS[seed]()
    record = record_of(b"what was there" if seed == "changed" else data)
    if seed == "retired":
        record = replace(record, state=State.RETIRED)
    vouched = None if seed == "foreign" else record
    file = examine_file(HOST_FILE, data, vouched, (PASSWORD, OLDER), NOW)
    farm = context(HEALTHY)
    others = (farm.files or ())[1:]
    return replace(farm, files=(FileFacts.of(file), *others))


def test_a_good_file_is_green() -> None:
    assert remarks(examine(seeded("good"), CHECKS)) == []


@pytest.mark.parametrize("fault", FILE_FAULTS, ids=[f["what"] for f in FILE_FAULTS])
def test_a_bad_file_is_found_by_its_own_check(fault: dict[str, Any]) -> None:
    found = examine(seeded(fault["seed"]), CHECKS)
    assert remarks(found) == [(fault["finds"], fault.get("severity", "error"))]


def test_a_leaf_that_names_its_issuers_place_needs_its_chain() -> None:
    assert FileFacts.of(examine_file(HOST_FILE, encoded(good()), None, (PASSWORD,), NOW)).file
