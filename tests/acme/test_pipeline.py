"""The whole pipeline against a real Pebble: from a wish to a PFX that was read back."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from pathlib import Path

import pytest

from certshelf.errors import IssuerUnreachable
from certshelf.manage.certificates import add_certificate
from certshelf.manage.issuers import AcmeWish, add_acme
from certshelf.manage.manager import Manager
from certshelf.manage.model import ChallengeChoice, State
from certshelf.manage.pipeline import Run, request_certificate, request_many
from tests.support.homes import manager_in
from tests.support.pebble import Pebble, pebble
from tests.support.records import certificate

pytestmark = [pytest.mark.slow, pytest.mark.timeout(60)]


@pytest.fixture(scope="module")
def ca(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Pebble]:
    with pebble(tmp_path_factory.mktemp("pebble"), nonce_reject=20) as running:
        yield running


@pytest.fixture
def manager(tmp_path: Path, ca: Pebble) -> Iterator[Manager]:
    with manager_in(tmp_path) as manager:
        wish = AcmeWish(ca.directory_url, ca.ca_file, poll_interval=0.1)
        with manager.database.write() as records:
            add_acme(records, "pebble", wish, manager.clock)
        yield manager


def add(manager: Manager, ca: Pebble, *names: str) -> None:
    for name in names:
        choice = ChallengeChoice("http-01", settings={"port": str(ca.http_port)})
        wish = certificate(name, f"{name}.example.test", issuer="pebble", challenges=(choice,))
        add_certificate(manager, wish)


def test_a_wish_becomes_a_pfx_on_the_shelf(manager: Manager, ca: Pebble) -> None:
    add(manager, ca, "one")
    told: list[str] = []
    run = asyncio.run(request_certificate(manager, "one", progress=told.append))
    assert run.ok, run.error
    assert [r.file for r in run.results] == ["one.example.test.pfx"]
    assert told == [
        *("new", "ordered", "authorized", "key-sealed", "finalized"),
        *("downloaded", "verified"),
    ]
    with manager.database.read() as records:
        status = records.certificates.get("one").status
    assert status.state is State.VALID
    assert status.ari_id
    assert asyncio.run(request_certificate(manager, "one")).outcome == "not due"


def test_many_names_use_one_account_and_few_transactions(manager: Manager, ca: Pebble) -> None:
    names = [f"n{i}" for i in range(6)]
    add(manager, ca, *names)
    ends: dict[str, Run] = {}
    asyncio.run(request_many(manager, names, ends.__setitem__))
    if any(isinstance(run.error, IssuerUnreachable) for run in ends.values()):
        pytest.skip("Pebble locked up (letsencrypt/pebble#554) or refused one nonce after another")
    assert {name: run.error for name, run in ends.items()} == dict.fromkeys(names)
    with manager.database.read() as records:
        account = records.accounts.find("pebble")
        records.events.verify()
    assert account is not None
    assert account.kid
