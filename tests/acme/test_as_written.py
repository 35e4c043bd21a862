"""The commands exactly as the pages write them, against a real Pebble and a real BIND."""

from __future__ import annotations

import json
import shlex
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from cryptography import x509
from cryptography.x509.oid import NameOID

from certshelf.cli.main import run
from certshelf.issue.acme.certificate import ends_in
from tests.support.bind import KEY_NAME, Bind, bind
from tests.support.homes import make_home
from tests.support.pebble import EAB_KEY, EAB_KID, Pebble, pebble

pytestmark = [pytest.mark.slow, pytest.mark.timeout(120)]
Say = Callable[..., str]


@pytest.fixture(scope="module")
def dns(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Bind]:
    with bind(tmp_path_factory.mktemp("bind"), {"example.test": ""}) as running:
        yield running


@pytest.fixture(scope="module")
def ca(tmp_path_factory: pytest.TempPathFactory, dns: Bind) -> Iterator[Pebble]:
    folder, server = tmp_path_factory.mktemp("pebble"), f"127.0.0.1:{dns.port}"
    with pebble(folder, eab=True, alternate_roots=2, dns_server=server) as running:
        yield running


@pytest.fixture
def say(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> Say:
    home = make_home(tmp_path)

    def say(line: str, status: int = 0) -> str:
        capsys.readouterr()
        ended = run(["--home", str(home.path), *shlex.split(line)])
        told = capsys.readouterr()
        assert ended == status, told.err
        return told.out + (told.err if status else "")

    return say


@pytest.fixture
def pebble_issuer(say: Say, ca: Pebble, tmp_path: Path) -> None:
    (tmp_path / "F").write_text(EAB_KEY + "\n")
    say(
        f"issuer add pebble --acme {ca.directory_url} --ca-file {ca.ca_file} "
        f"--email a@example.test --eab-kid {EAB_KID} --eab-key-file {tmp_path / 'F'} "
        "--fallback local --poll-interval 0.1"
    )


def test_every_command_of_an_issuer_speaks_json(
    say: Say, pebble_issuer: None, ca: Pebble, tmp_path: Path
) -> None:
    assert {one["name"] for one in json.loads(say("issuer ls --json"))} == {"local", "pebble"}
    shown = json.loads(say("issuer show pebble --json"))
    assert (shown["email"], shown["fallbacks"]) == ("a@example.test", ["local"])
    answer = json.loads(say("issuer test pebble --json"))
    assert answer["account"].startswith("https://")
    rolled = json.loads(say("issuer rollover-key pebble --json"))
    assert rolled["thumbprint"] == json.loads(say("issuer show pebble --json"))["thumbprint"]
    assert rolled["thumbprint"] != answer["thumbprint"]
    spare = json.loads(
        say(
            f"issuer add spare --acme {ca.directory_url} --ca-file {ca.ca_file} --profile P "
            f"--preferred-chain NAME --timeout 20 --eab-kid {EAB_KID} "
            f"--eab-key-file {tmp_path / 'F'} --json"
        )
    )
    assert (spare["profile"], spare["preferred_chain"], spare["timeout"]) == ("P", "NAME", 20.0)
    assert json.loads(say("issuer add-local lab --permit lab.test --json"))["kind"] == "local"
    closed = json.loads(say("issuer deactivate pebble --yes --json"))
    assert closed == {"name": "pebble", "status": "deactivated"}
    assert json.loads(say("issuer rm pebble --json")) == {"name": "pebble", "removed": True}
    say("issuer rm spare --json")
    assert {one["name"] for one in json.loads(say("issuer ls --json"))} == {"local", "lab"}


def test_http_01_and_dns_01_by_rfc_2136_and_a_revocation(
    say: Say, pebble_issuer: None, ca: Pebble, dns: Bind, tmp_path: Path
) -> None:
    (tmp_path / "tsig").write_text(dns.tsig_secret.reveal())
    secret = f"--password-file {tmp_path / 'tsig'}"
    say(f"credential set tsig-key --kind tsig --username {KEY_NAME} {secret}")
    http = f"--challenge http-01 --http-port {ca.http_port}"
    say(f"cert add www.example.test --issuer pebble {http}")
    by_dns = (
        f"--challenge dns-01 --dns rfc2136 --dns-server 127.0.0.1:{dns.port} "
        "--dns-zone example.test --dns-credential tsig-key"
    )
    say(f"cert add *.example.test --name wild --issuer pebble {by_dns}")
    for name in ("www.example.test", "wild"):
        told = json.loads(say(f"cert request {name} --json"))
        assert (told["outcome"], told["error"]) == ("issued", None)
    revoked = json.loads(say("cert revoke www.example.test --reason keyCompromise --json"))
    assert revoked["reason"] == "keyCompromise"
    assert json.loads(say("cert show www.example.test --json"))["state"] == "revoked"


def test_a_certificate_is_revoked_by_its_own_key_when_the_account_is_closed(
    say: Say, pebble_issuer: None, ca: Pebble
) -> None:
    say(f"cert add www.example.test --issuer pebble --challenge http-01 --http-port {ca.http_port}")
    serial = json.loads(say("cert request www.example.test --json"))["serial"]
    say("issuer deactivate pebble --yes")
    assert "deactivated" in say("cert revoke www.example.test", status=1)
    told = json.loads(say("cert revoke www.example.test --by-key --json"))
    assert told["serial"] == serial


def test_the_chain_ends_in_the_preferred_root(say: Say, pebble_issuer: None, ca: Pebble) -> None:
    for number, pem in enumerate(ca.roots()):
        subject = x509.load_pem_x509_certificate(pem).subject
        root = str(subject.get_attributes_for_oid(NameOID.COMMON_NAME)[0].value)
        name = f"n{number}.example.test"
        say(
            f"cert add {name} --issuer pebble --challenge http-01 --http-port {ca.http_port} "
            f"--preferred-chain '{root}'"
        )
        say(f"cert request {name}")
        chain = x509.load_pem_x509_certificates(say(f"cert chain {name}").encode())
        assert ends_in(tuple(chain), root)
