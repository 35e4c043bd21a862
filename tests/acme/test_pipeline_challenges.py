"""The pipeline by DNS updates at a real BIND, by tls-alpn-01, with a binding, by two processes."""

from __future__ import annotations

import asyncio
import json
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from certshelf.clock import SYSTEM
from certshelf.manage.certificates import add_certificate
from certshelf.manage.credentials import set_credential
from certshelf.manage.issuers import AcmeWish, add_acme
from certshelf.manage.manager import Manager
from certshelf.manage.model import ChallengeChoice, Credential, CredentialKind, ManagedCertificate
from certshelf.manage.pipeline import request_certificate
from certshelf.secret import Secret
from tests.support.bind import KEY_NAME, Bind, bind
from tests.support.homes import manager_in
from tests.support.pebble import EAB_KEY, EAB_KID, Pebble, pebble
from tests.support.records import certificate

pytestmark = [pytest.mark.slow, pytest.mark.timeout(90)]


@pytest.fixture(scope="module")
def dns(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Bind]:
    with bind(tmp_path_factory.mktemp("bind"), {"example.test": "", "second.test": ""}) as running:
        yield running


@pytest.fixture(scope="module")
def ca(tmp_path_factory: pytest.TempPathFactory, dns: Bind) -> Iterator[Pebble]:
    folder = tmp_path_factory.mktemp("pebble")
    with pebble(folder, eab=True, dns_server=f"127.0.0.1:{dns.port}") as running:
        yield running


@pytest.fixture
def manager(tmp_path: Path, ca: Pebble, dns: Bind) -> Iterator[Manager]:
    with manager_in(tmp_path) as manager:
        wish = AcmeWish(
            ca.directory_url, ca.ca_file, eab=(EAB_KID, Secret(EAB_KEY)), poll_interval=0.1
        )
        with manager.database.write() as records:
            add_acme(records, "pebble", wish, manager.clock)
        tsig = Credential("tsig", CredentialKind.TSIG, KEY_NAME)
        set_credential(manager.database, tsig, dns.tsig_secret, SYSTEM)
        yield manager


def by_dns(dns: Bind, pattern: str = "*") -> ChallengeChoice:
    settings = {"dns": "rfc2136", "server": f"127.0.0.1:{dns.port}", "zone": "example.test"}
    return ChallengeChoice("dns-01", pattern, settings, "tsig")


def issue(manager: Manager, wish: ManagedCertificate) -> set[str]:
    add_certificate(manager, wish)
    run = asyncio.run(request_certificate(manager, wish.name))
    assert run.error is None
    assert run.bundle
    return {host.ascii for host in run.bundle.names}


def test_a_wildcard_and_its_domain_by_dns_updates_leave_nothing_behind(
    manager: Manager, dns: Bind
) -> None:
    hosts = ("example.test", "*.example.test")
    wish = certificate("wild", *hosts, issuer="pebble", challenges=(by_dns(dns),))
    assert issue(manager, wish) == set(hosts)
    with manager.database.read() as records:
        shown = records.challenges.of(1)
    assert [(record.host, record.cleaned) for record in shown] == [
        ("*.example.test", True),
        ("example.test", True),
    ]


def test_each_name_is_proved_by_the_challenge_that_its_pattern_says(
    manager: Manager, dns: Bind, ca: Pebble
) -> None:
    http = ChallengeChoice("http-01", "www.example.test", {"port": str(ca.http_port)})
    alpn = ChallengeChoice("tls-alpn-01", "tls.example.test", {"port": str(ca.tls_port)})
    hosts = ("www.example.test", "tls.example.test", "*.x.example.test")
    choices = (http, alpn, by_dns(dns, "*.x.example.test"))
    assert issue(manager, certificate("mix", *hosts, issuer="pebble", challenges=choices)) == set(
        hosts
    )


def by_key_of(dns: Bind, zone: str, key: str) -> ChallengeChoice:
    settings = {"dns": "rfc2136", "server": f"127.0.0.1:{dns.port}", "zone": zone}
    return ChallengeChoice("dns-01", f"*.{zone}", settings, key)


def test_two_zones_of_one_certificate_are_written_with_a_key_each(
    manager: Manager, dns: Bind
) -> None:
    for zone, secret in dns.zone_secrets.items():
        key = Credential(zone, CredentialKind.TSIG, f"{zone}.")
        set_credential(manager.database, key, secret, SYSTEM)
    hosts = ("www.example.test", "second.test", "*.second.test")
    swapped = (
        by_key_of(dns, "example.test", "example.test"),
        by_key_of(dns, "second.test", "example.test"),
    )
    wrong = certificate("wrong", *hosts, issuer="pebble", challenges=swapped)
    add_certificate(manager, wrong)
    failed = asyncio.run(request_certificate(manager, "wrong"))
    assert "second.test" in str(failed.error), "a key opens its own zone only"
    right = (swapped[0], by_key_of(dns, "second.test", "second.test"))
    assert issue(manager, certificate("both", *hosts, issuer="pebble", challenges=right)) == set(
        hosts
    )


def test_two_processes_make_one_account(manager: Manager, ca: Pebble) -> None:
    code = "import sys; from certshelf.__main__ import main; sys.exit(main())"
    argv = [sys.executable, "-c", code, "--home", str(manager.home.path)]
    running = [
        subprocess.Popen(
            [*argv, "issuer", "test", "pebble", "--json"], stdout=subprocess.PIPE, env=os.environ
        )
        for _ in range(2)
    ]
    accounts = {json.loads(process.communicate(timeout=60)[0])["account"] for process in running}
    assert len(accounts) == 1
