"""Somebody else's CSR against a real Pebble, from the command to the PEM file."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from cryptography import x509
from cryptography.hazmat.primitives.asymmetric import ec

from certshelf.cli.main import run
from tests.support.csrs import make_csr
from tests.support.homes import make_home
from tests.support.pebble import Pebble, pebble

pytestmark = [pytest.mark.slow, pytest.mark.timeout(90)]
Say = Callable[..., str]
KEY = ec.generate_private_key(ec.SECP256R1())


@pytest.fixture(scope="module")
def ca(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Pebble]:
    with pebble(tmp_path_factory.mktemp("pebble")) as running:
        yield running


@pytest.fixture
def say(tmp_path: Path, ca: Pebble, capsys: pytest.CaptureFixture[str]) -> Say:
    home = make_home(tmp_path)

    def say(*words: str, status: int = 0) -> str:
        capsys.readouterr()
        ended = run(["--home", str(home.path), *words])
        told = capsys.readouterr()
        assert ended == status, told.err
        return told.out + (told.err if status else "")

    options = ["--ca-file", str(ca.ca_file), "--poll-interval", "0.1"]
    say("issuer", "add", "pebble", "--acme", ca.directory_url, *options)
    return say


def test_a_csr_becomes_a_chain_in_pem_and_renewals_use_it_again(
    say: Say, ca: Pebble, tmp_path: Path
) -> None:
    file, out = tmp_path / "box.csr", tmp_path / "box.pem"
    file.write_bytes(make_csr("box.test", "www.box.test", key=KEY))
    how = ("--issuer", "pebble", "--challenge", "http-01", "--http-port", str(ca.http_port))
    say("cert", "add", "--csr", str(file), *how)
    told = json.loads(say("cert", "request", "box.test", "--json"))
    assert (told["outcome"], told["files"]) == ("issued", [])
    say("cert", "chain", "box.test", "--out", str(out))
    leaf, *chain = x509.load_pem_x509_certificates(out.read_bytes())
    assert leaf.public_key() == KEY.public_key()
    assert chain
    assert b"PRIVATE KEY" not in out.read_bytes()
    again = json.loads(say("cert", "request", "box.test", "--force", "--json"))
    assert again["serial"] != told["serial"]
    shown = json.loads(say("cert", "show", "box.test", "--json"))
    assert shown["hosts"] == ["box.test", "www.box.test"]
    assert shown["csr"].startswith("-----BEGIN CERTIFICATE REQUEST-----")
    say("cert", "revoke", "box.test", "--reason", "superseded")
    assert not list((tmp_path / "shelf").glob("*.pfx"))


@pytest.mark.parametrize("bad", ["signature", "junk", "no-sans", "missing"])
def test_a_bad_csr_is_refused_in_one_line_and_nothing_is_added(
    say: Say, tmp_path: Path, bad: str
) -> None:
    file = tmp_path / "bad.csr"
    if bad == "signature":
        file.write_bytes(make_csr("a.test").replace(b"MI", b"MA", 1))
    elif bad == "junk":
        file.write_bytes(bytes(range(256)))
    elif bad == "no-sans":
        file.write_bytes(make_csr(common_name="a.test"))
    told = say("cert", "add", "--csr", str(file), status=1)
    assert "CSR" in told or "cannot read" in told
    assert json.loads(say("cert", "ls", "--json")) == []
