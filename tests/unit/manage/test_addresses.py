from __future__ import annotations

import asyncio
from pathlib import Path

import pytest
from cryptography import x509
from tests.support.homes import manager_in
from tests.support.records import certificate

from certshelf.errors import ConfigError, NameInvalid, RecordError
from certshelf.manage.certificates import add_certificate
from certshelf.manage.declared import Declared, parse, to_toml
from certshelf.manage.model import ChallengeChoice, ManagedCertificate
from certshelf.manage.pipeline import request_certificate
from certshelf.manage.preview import preview_certificate
from certshelf.manage.publishing import issued_bundle
from certshelf.manage.settings import CertificateSettings
from certshelf.manage.wish import sorted_out

V6 = "2001:db8::7"


def test_addresses_are_told_from_host_names_and_shortened() -> None:
    hosts, addresses = sorted_out(["a.test", "192.0.2.7", "[2001:DB8:0::0007]", "a.test"])
    assert [host.ascii for host in hosts] == ["a.test"]
    assert addresses == ("192.0.2.7", V6)


@pytest.mark.parametrize("text", ["*.192.0.2.7", "192.0.2", "fe80::1%eth0", "192.0.2.7/24", "1.2"])
def test_what_only_looks_like_an_address_is_refused(text: str) -> None:
    with pytest.raises(NameInvalid):
        sorted_out([text])


def test_addresses_are_kept_beside_the_hosts(tmp_path: Path) -> None:
    with manager_in(tmp_path) as manager:
        add_certificate(manager, certificate("web", "a.test", addresses=("192.0.2.7", V6)))
        with manager.database.read() as records:
            found = records.certificates.get("web")
    assert found.names == ("a.test", "192.0.2.7", V6)
    assert [host.ascii for host in found.hosts] == ["a.test"]


@pytest.mark.parametrize("kind", ["dns-01", "dns-persist-01"])
def test_a_dns_challenge_for_an_address_is_refused_and_nothing_is_stored(
    tmp_path: Path, kind: str
) -> None:
    settings = {"dns": "exec", "command": "/bin/true"} if kind == "dns-01" else {}
    choice = ChallengeChoice(kind, settings=settings)
    wish = ManagedCertificate("ip", (), addresses=("192.0.2.7",), challenges=(choice,))
    with manager_in(tmp_path) as manager:
        with pytest.raises(ConfigError, match=f"{kind} cannot prove the address 192.0.2.7"):
            add_certificate(manager, wish)
        with manager.database.read() as records, pytest.raises(RecordError):
            records.certificates.get("ip")


def test_an_address_of_its_own_challenge_may_stand_beside_a_wildcard(tmp_path: Path) -> None:
    dns = ChallengeChoice("dns-01", settings={"dns": "exec", "command": "/bin/true"})
    http = ChallengeChoice("http-01", "192.0.2.7")
    wish = certificate("web", "*.a.test", addresses=("192.0.2.7",), challenges=(http, dns))
    with manager_in(tmp_path) as manager:
        add_certificate(manager, wish)


def test_the_local_ca_signs_addresses_which_have_no_file_on_the_shelf(tmp_path: Path) -> None:
    with manager_in(tmp_path) as manager:
        add_certificate(manager, ManagedCertificate("ip", (), addresses=("192.0.2.7", V6)))
        assert (
            preview_certificate(manager, "ip").shelves[0].skipped == "an address has no file there"
        )
        run = asyncio.run(request_certificate(manager, "ip"))
        assert run.ok, run.error
        assert run.results == ()
        assert asyncio.run(request_certificate(manager, "ip")).outcome == "not due"
        with manager.database.read() as records:
            leaf = issued_bundle(records, records.certificates.get("ip")).leaf
        assert not list((tmp_path / "shelf").glob("*.pfx"))
    san = leaf.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
    assert set(map(str, san.get_values_for_type(x509.IPAddress))) == {"192.0.2.7", V6}


def test_hosts_beside_an_address_are_published_as_ever(tmp_path: Path) -> None:
    with manager_in(tmp_path) as manager:
        add_certificate(manager, certificate("web", "a.test", addresses=("192.0.2.7",)))
        run = asyncio.run(request_certificate(manager, "web"))
        assert run.ok, run.error
    assert [path.name for path in (tmp_path / "shelf").glob("*.pfx")] == ["a.test.pfx"]


def test_certs_toml_gives_and_takes_addresses_among_the_hosts() -> None:
    wish = certificate("web", "a.test", addresses=("192.0.2.7", V6))
    assert f'hosts = ["a.test", "192.0.2.7", "{V6}"]' in to_toml([Declared(wish)])
    (again,) = parse(to_toml([Declared(wish)]), "certs.toml", CertificateSettings())
    assert again.wish == wish
