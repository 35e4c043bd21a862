"""Certificates for IP addresses (RFC 8738) against a real Pebble, from the command to the files."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from cryptography import x509

from certshelf.cli.main import run
from tests.support.homes import make_home
from tests.support.pebble import Pebble, pebble

pytestmark = [pytest.mark.slow, pytest.mark.timeout(90)]
Say = Callable[..., str]


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


def addresses_of(file: Path) -> set[str]:
    leaf = x509.load_pem_x509_certificate(file.read_bytes())
    san = leaf.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
    return set(map(str, san.get_values_for_type(x509.IPAddress)))


@pytest.mark.parametrize("kind", ["http-01", "tls-alpn-01"])
def test_an_address_is_proved_and_exported_and_has_no_file_on_the_shelf(
    say: Say, ca: Pebble, tmp_path: Path, kind: str
) -> None:
    port = str(ca.http_port if kind == "http-01" else ca.tls_port)
    option = "--http-port" if kind == "http-01" else "--tls-port"
    say("cert", "add", "127.0.0.1", "--issuer", "pebble", "--challenge", kind, option, port)
    out = tmp_path / "out"
    out.mkdir()
    settings = ("--set", f"to={out}", "--set", "format=fullchain")
    say("task", "add", "127.0.0.1", "export", *settings)
    assert json.loads(say("cert", "test", "127.0.0.1", "--json"))[0]["id"] == "issue-ready"
    told = json.loads(say("cert", "request", "127.0.0.1", "--json"))
    assert (told["outcome"], told["files"]) == ("issued", [])
    assert addresses_of(out / "127.0.0.1.fullchain.pem") == {"127.0.0.1"}
    assert json.loads(say("cert", "show", "127.0.0.1", "--json"))["hosts"] == ["127.0.0.1"]
    assert not list((tmp_path / "shelf").glob("*.pfx"))


def test_a_host_and_an_address_in_one_certificate(say: Say, ca: Pebble, tmp_path: Path) -> None:
    how = ("--issuer", "pebble", "--challenge", "http-01", "--http-port", str(ca.http_port))
    say("cert", "add", "a.test", "127.0.0.1", *how)
    told = json.loads(say("cert", "request", "a.test", "--json"))
    assert [file["file"] for file in told["files"]] == ["a.test.pfx"]


def test_dns_01_and_a_wildcard_are_refused_for_an_address_with_the_way_out(say: Say) -> None:
    dns = ("--challenge", "dns-01", "--dns", "exec", "--dns-command", "/bin/true")
    told = say("cert", "add", "192.0.2.7", "--issuer", "pebble", *dns, status=1)
    assert "dns-01 cannot prove the address 192.0.2.7" in told
    assert "--challenge http-01" in told
    assert "it is an IP address" in say("cert", "add", "*.192.0.2.7", status=1)
