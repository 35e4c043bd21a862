"""acme2certifier as a second real CA for tests: it has ARI and profiles, which Pebble 2.4 lacks.

It is GPL-3.0 and nothing here imports it: it runs as a server of its own. Its challenge checks are
off: Pebble does those.
"""

from __future__ import annotations

import contextlib
import json
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from importlib.util import find_spec
from pathlib import Path

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import rsa
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat
from cryptography.x509.oid import NameOID

from tests.support.minted import loopback_server
from tests.support.ports import free_port
from tests.support.processes import Process, listens

PROFILES = {"classic": "https://ca.test/classic", "shortlived": "https://ca.test/shortlived"}


@dataclass
class A2c:
    port: int
    ca_file: Path

    @property
    def directory_url(self) -> str:
        return f"https://localhost:{self.port}/directory"


@contextlib.contextmanager
def a2c(folder: Path) -> Iterator[A2c]:
    """A running acme2certifier with its openssl handler, on a free loopback port."""
    gunicorn = Path(sys.executable).parent / "gunicorn"
    if find_spec("acme2certifier") is None or not gunicorn.exists():
        pytest.skip("acme2certifier and gunicorn are not installed")
    folder.mkdir(parents=True, exist_ok=True)
    ca_file, certificate, key = loopback_server(folder)
    _issuing_ca(folder)
    (folder / "acme_srv.cfg").write_text(_config(folder))
    port = free_port()
    argv = [str(gunicorn), "-b", f"127.0.0.1:{port}", "-w", "2"]
    argv += ["--certfile", str(certificate), "--keyfile", str(key)]
    process = Process(
        [*argv, "acme2certifier.share.acme2certifier_wsgi:application"],
        folder / "a2c.log",
        env={
            "ACME_SRV_CONFIGFILE": str(folder / "acme_srv.cfg"),
            "ACME2CERTIFIER_I_KNOW_THE_RISK": "1",
        },
        cwd=folder,
    )
    try:
        process.ready(lambda: listens(port), "acme2certifier")
        yield A2c(port, ca_file)
    finally:
        process.stop()


def _issuing_ca(folder: Path) -> None:
    key = rsa.generate_private_key(65537, 2048)
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "a2c issuing CA")])
    now = datetime.now(UTC)
    identifier = x509.SubjectKeyIdentifier.from_public_key(key.public_key())
    ca = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(key.public_key())
        .serial_number(5)
        .not_valid_before(now - timedelta(days=1))
        .not_valid_after(now + timedelta(days=900))
        .add_extension(x509.BasicConstraints(ca=True, path_length=None), critical=True)
        .add_extension(identifier, critical=False)
        .sign(key, hashes.SHA256())
    )
    crl = x509.CertificateRevocationListBuilder().issuer_name(name).last_update(now)
    signed = crl.next_update(now + timedelta(days=30)).sign(key, hashes.SHA256())
    (folder / "ca.pem").write_bytes(ca.public_bytes(Encoding.PEM))
    (folder / "ca.crl").write_bytes(signed.public_bytes(Encoding.PEM))
    (folder / "ca.key").write_bytes(
        key.private_bytes(Encoding.PEM, PrivateFormat.TraditionalOpenSSL, NoEncryption())
    )
    (folder / "certs").mkdir()


def _config(folder: Path) -> str:
    return f"""\
[DEFAULT]
debug: False
[Nonce]
nonce_check_disable: False
[CAhandler]
handler_module: acme2certifier.cahandlers.openssl_ca_handler
issuing_ca_key: {folder}/ca.key
issuing_ca_cert: {folder}/ca.pem
issuing_ca_crl: {folder}/ca.crl
ca_cert_chain_list: []
cert_validity_days: 90
cert_save_path: {folder}/certs
[DBhandler]
handler_module: acme2certifier.dbhandlers.wsgi_handler
dbfile: {folder}/acme_srv.db
[Challenge]
challenge_validation_disable: True
[Order]
tnauthlist_support: False
profiles: {json.dumps(PROFILES)}
[Directory]
url_prefix:
[Renewalinfo]
renewalthreshold_pctg: 66
"""
