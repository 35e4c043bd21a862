"""The local CA: what it signs is accepted by OpenSSL, Python's ssl and x509.verification."""

from __future__ import annotations

import asyncio
import shutil
import ssl
import subprocess
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from cryptography import x509
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import Encoding
from cryptography.x509.oid import ExtendedKeyUsageOID
from cryptography.x509.verification import PolicyBuilder, Store, VerificationError
from tests.support.clock import FakeClock

from certshelf.bundle.check import check
from certshelf.bundle.model import Bundle
from certshelf.errors import IssueError, KeyMismatch, KeyUnsupported, NameInvalid, PemUnreadable
from certshelf.issue.issuer import IssueRequest
from certshelf.issue.local_ca import LocalCa, LocalCaMaterial
from certshelf.names import HostName
from certshelf.secret import Secret

NOW = datetime(2030, 1, 1, tzinfo=UTC)
HOUR = timedelta(hours=1)


def _ca(*permitted: str, lifetime: timedelta = timedelta(days=3652)) -> LocalCa:
    return LocalCa.create(
        "Example Farm CA", FakeClock(NOW), permitted_names=permitted, lifetime=lifetime
    )


def _issue(
    ca: LocalCa, *names: str, key_type: str = "ecdsa-p256", days: float | None = None
) -> Bundle:
    request = IssueRequest(tuple(HostName.parse(n) for n in names), key_type, days)
    return asyncio.run(ca.issue(request, lambda line: None))


def _verified(ca: LocalCa, bundle: Bundle, host: str) -> bool:
    verifier = (
        PolicyBuilder().store(Store([ca.root])).time(NOW).build_server_verifier(x509.DNSName(host))
    )
    try:
        verifier.verify(bundle.leaf, list(bundle.chain))
    except VerificationError:
        return False
    return True


def test_a_leaf_is_sound_for_each_of_its_names() -> None:
    ca = _ca()
    bundle = _issue(ca, "www.example.test", "*.shop.example.test", "bücher.example.test")
    assert [n.ascii for n in bundle.names] == [
        "www.example.test",
        "*.shop.example.test",
        "xn--bcher-kva.example.test",
    ]
    for host in ("www.example.test", "a.shop.example.test", "xn--bcher-kva.example.test"):
        assert check(bundle, HostName.parse(host), NOW) is None
        assert _verified(ca, bundle, host)
    assert not _verified(ca, bundle, "a.b.shop.example.test")


@pytest.mark.parametrize("key_type", ["ecdsa-p384", "rsa-2048"])
def test_a_leaf_has_the_key_type_that_was_asked_for(key_type: str) -> None:
    ca = _ca()
    bundle = _issue(ca, "www.example.test", key_type=key_type)
    assert bundle.key_type == key_type
    assert _verified(ca, bundle, "www.example.test")


def test_another_key_type_is_refused() -> None:
    with pytest.raises(KeyUnsupported):
        _issue(_ca(), "www.example.test", key_type="ed25519")


def test_a_leaf_lives_seven_days_and_is_backdated_by_an_hour() -> None:
    clock_moved = _ca()
    assert isinstance(clock_moved.clock, FakeClock)
    clock_moved.clock.advance(7200)
    bundle = _issue(clock_moved, "www.example.test")
    assert bundle.not_before == NOW + HOUR
    assert bundle.not_after == NOW + 2 * HOUR + timedelta(days=7)


def test_a_leaf_never_outlives_its_ca_nor_is_older() -> None:
    ca = _ca(lifetime=timedelta(days=30))
    for days in (90, 1e300, float("inf")):
        bundle = _issue(ca, "www.example.test", days=days)
        assert bundle.not_after == ca.issuing.not_valid_after_utc == NOW + timedelta(days=30)
        assert bundle.not_before >= ca.issuing.not_valid_before_utc


@pytest.mark.parametrize("days", [0, -1, float("nan")])
def test_a_lifetime_that_is_none_is_refused(days: float) -> None:
    with pytest.raises(IssueError, match="a lifetime of"):
        _issue(_ca(), "www.example.test", days=days)


def test_an_expired_ca_signs_nothing() -> None:
    ca = _ca(lifetime=timedelta(days=1))
    assert isinstance(ca.clock, FakeClock)
    ca.clock.advance(86_400)
    with pytest.raises(IssueError, match="not valid now"):
        _issue(ca, "www.example.test")


def test_names_are_one_to_a_hundred() -> None:
    with pytest.raises(IssueError, match="0 names"):
        _issue(_ca())
    with pytest.raises(IssueError, match="101 names"):
        _issue(_ca(), *(f"h{n}.example.test" for n in range(101)))


def test_a_name_too_long_for_a_common_name_stands_in_the_san_only() -> None:
    ca = _ca()
    long = "a" * 60 + ".example.test"
    bundle = _issue(ca, long)
    assert not list(bundle.leaf.subject)
    assert _verified(ca, bundle, long)


def test_serials_are_random_and_positive() -> None:
    ca = _ca()
    serials = {_issue(ca, "www.example.test").leaf.serial_number for _ in range(5)}
    assert len(serials) == 5
    assert all(0 < serial < 1 << 128 for serial in serials)


def test_a_leaf_is_for_tls_servers_and_no_ca() -> None:
    extensions = _issue(_ca(), "www.example.test").leaf.extensions
    usages = extensions.get_extension_for_class(x509.ExtendedKeyUsage).value
    assert list(usages) == [ExtendedKeyUsageOID.SERVER_AUTH]
    assert not extensions.get_extension_for_class(x509.BasicConstraints).value.ca
    usage = extensions.get_extension_for_class(x509.KeyUsage).value
    assert (usage.digital_signature, usage.key_cert_sign, usage.key_encipherment) == (
        True,
        False,
        False,
    )


def test_a_permitted_domain_is_signed_and_no_other() -> None:
    ca = _ca("example.test", "*.farm.test")
    for name in ("example.test", "www.example.test", "*.example.test", "a.b.farm.test"):
        assert _verified(ca, _issue(ca, name), name.replace("*", "x"))
    for name in ("example.org", "notexample.test", "test"):
        with pytest.raises(IssueError, match="may not sign"):
            _issue(ca, name)


def test_a_stolen_key_cannot_sign_beyond_the_permitted_domain() -> None:
    ca = _ca("example.test")
    free = _ca()
    forged_by = LocalCa(ca.root, ca.issuing, ca.clock, ca.key)
    constraints = ca.issuing.extensions.get_extension_for_class(x509.NameConstraints)
    assert constraints.critical
    outside = _issue(free, "www.example.org")
    forged = (
        x509.CertificateBuilder(extensions=[*_unbound(outside.leaf)])
        .subject_name(outside.leaf.subject)
        .issuer_name(ca.issuing.subject)
        .public_key(outside.key.public_key())
        .serial_number(1)
        .not_valid_before(NOW)
        .not_valid_after(NOW + HOUR)
        .add_extension(_authority_of(forged_by), critical=False)
        .sign(forged_by.key, outside.leaf.signature_hash_algorithm)  # type: ignore[arg-type]
    )
    bundle = Bundle(outside.key, forged, (ca.issuing,))
    assert not _verified(ca, bundle, "www.example.org")


def _unbound(leaf: x509.Certificate) -> list[x509.Extension[x509.ExtensionType]]:
    kept = (x509.AuthorityKeyIdentifier,)
    return [e for e in leaf.extensions if not isinstance(e.value, kept)]


def _authority_of(ca: LocalCa) -> x509.AuthorityKeyIdentifier:
    return x509.AuthorityKeyIdentifier.from_issuer_public_key(ca.key.public_key())


def test_what_is_exported_signs_on_below_the_same_root() -> None:
    ca = _ca("example.test")
    again = LocalCa.load(ca.export(), FakeClock(NOW))
    assert _verified(ca, _issue(again, "www.example.test"), "www.example.test")
    assert again.root_pem() == ca.root_pem()
    with pytest.raises(IssueError):
        _issue(again, "www.example.org")


def test_damaged_material_is_refused() -> None:
    mine, other = _ca().export(), _ca().export()
    clock = FakeClock(NOW)
    with pytest.raises(PemUnreadable, match="root does not belong"):
        LocalCa.load(LocalCaMaterial(other.root_pem, mine.issuing_pem, mine.key), clock)
    with pytest.raises(KeyMismatch):
        LocalCa.load(LocalCaMaterial(mine.root_pem, mine.issuing_pem, other.key), clock)
    for broken in (
        LocalCaMaterial(b"", mine.issuing_pem, mine.key),
        LocalCaMaterial(mine.root_pem, b"", mine.key),
        LocalCaMaterial(mine.root_pem, mine.issuing_pem, Secret("")),
    ):
        with pytest.raises(PemUnreadable):
            LocalCa.load(broken, clock)


@pytest.mark.parametrize("name", ["", "x" * 57])
def test_a_ca_needs_a_name_that_fits(name: str) -> None:
    with pytest.raises(IssueError, match="1 to 56"):
        LocalCa.create(name, FakeClock(NOW))
    with pytest.raises(NameInvalid):
        _ca("no domain")


def test_its_repr_shows_no_key() -> None:
    ca = _ca()
    assert isinstance(ca.key, ec.EllipticCurvePrivateKey)
    assert "key" not in repr(ca).lower()
    assert "PRIVATE" not in repr(ca.export())


def test_progress_tells_each_step() -> None:
    lines: list[str] = []
    request = IssueRequest((HostName.parse("www.example.test"),), "ecdsa-p256")
    asyncio.run(_ca().issue(request, lines.append))
    assert lines == [
        "making a key of type ecdsa-p256",
        "signed by Example Farm CA Issuing, until 2030-01-08T00:00:00Z",
    ]


def test_openssl_accepts_leaf_and_chain(tmp_path: Path) -> None:
    if not shutil.which("openssl"):
        pytest.skip("no openssl command here")
    ca = _ca("example.test")
    bundle = _issue(ca, "www.example.test")
    files = {"root": ca.root_pem(), "leaf": bundle.leaf.public_bytes(Encoding.PEM)}
    files["chain"] = b"".join(c.public_bytes(Encoding.PEM) for c in bundle.chain)
    for name, text in files.items():
        (tmp_path / name).write_bytes(text)
    command = ["openssl", "verify", "-x509_strict", "-CAfile", "root", "-untrusted", "chain"]
    command += ["-purpose", "sslserver", "-verify_hostname", "www.example.test"]
    command += ["-attime", str(int(NOW.timestamp())), "leaf"]
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, check=False)
    assert (done.returncode, done.stdout) == (0, "leaf: OK\n"), done.stderr


def test_a_python_client_that_trusts_the_root_completes_a_handshake(tmp_path: Path) -> None:
    class Today:
        def now(self) -> datetime:
            return datetime.now(UTC)

        def timestamp(self) -> float:
            return self.now().timestamp()

        def monotonic(self) -> float:
            return 0.0

        def sleep(self, seconds: float) -> None:
            raise AssertionError

    ca = LocalCa.create("Example Farm CA", Today(), permitted_names=("example.test",))
    bundle = _issue(ca, "www.example.test")
    (tmp_path / "bundle.pem").write_bytes(bundle.to_pem())
    server_side = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    server_side.load_cert_chain(tmp_path / "bundle.pem")
    client_side = ssl.create_default_context(cadata=ca.root_pem().decode())
    client_side.verify_flags |= ssl.VERIFY_X509_STRICT
    client, server = _handshake(client_side, server_side, "www.example.test")
    assert client.getpeercert() is not None
    assert server.version() == "TLSv1.3"
    with pytest.raises(ssl.SSLCertVerificationError):
        _handshake(client_side, server_side, "other.example.test")


def _handshake(
    client_side: ssl.SSLContext, server_side: ssl.SSLContext, host: str
) -> tuple[ssl.SSLObject, ssl.SSLObject]:
    """A handshake through memory."""
    up, down = ssl.MemoryBIO(), ssl.MemoryBIO()
    client = client_side.wrap_bio(down, up, server_hostname=host)
    server = server_side.wrap_bio(up, down, server_side=True)
    for _ in range(4):
        for side in (client, server):
            try:
                side.do_handshake()
            except ssl.SSLWantReadError:
                continue
    return client, server
