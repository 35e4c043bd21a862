"""`cert preview` against a real Pebble: the account is valid, every challenge can be answered."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from pathlib import Path

import pytest

from certshelf.manage.certificates import add_certificate
from certshelf.manage.issuers import AcmeWish, add_acme
from certshelf.manage.manager import Manager
from certshelf.manage.model import ChallengeChoice
from certshelf.manage.pipeline import request_certificate
from certshelf.manage.preview import preview_certificate
from tests.support.homes import manager_in
from tests.support.pebble import Pebble, pebble
from tests.support.records import certificate

pytestmark = [pytest.mark.slow, pytest.mark.timeout(90)]


@pytest.fixture(scope="module")
def ca(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Pebble]:
    with pebble(tmp_path_factory.mktemp("pebble")) as running:
        yield running


@pytest.fixture
def manager(tmp_path: Path, ca: Pebble) -> Iterator[Manager]:
    with manager_in(tmp_path) as manager:
        wish = AcmeWish(ca.directory_url, ca.ca_file, poll_interval=0.1)
        with manager.database.write() as records:
            add_acme(records, "pebble", wish, manager.clock)
        settings = {"port": str(ca.http_port), "resolver": f"127.0.0.1:{ca.dns_port}"}
        choice = ChallengeChoice("http-01", settings=settings)
        web = certificate("web", "web.example.test", issuer="pebble", challenges=(choice,))
        add_certificate(manager, web)
        yield manager


def test_before_the_first_request_no_account_is_made(manager: Manager) -> None:
    found = preview_certificate(manager, "web")
    assert found.ok, found
    assert "no account yet" in found.issuer.notes[0]
    with manager.database.read() as records:
        account = records.accounts.find("pebble")
    assert account is None or not account.kid


def test_with_an_account_each_challenge_is_tried(manager: Manager) -> None:
    asyncio.run(request_certificate(manager, "web"))
    found = preview_certificate(manager, "web")
    assert [finding.id for finding in found.issuer.findings] == ["issue-ready"], found.issuer


def test_a_ca_that_does_not_answer_is_in_the_way(manager: Manager, ca: Pebble) -> None:
    asyncio.run(request_certificate(manager, "web"))
    assert ca.process is not None
    ca.process.stop()  # the last test of this file
    found = preview_certificate(manager, "web")
    assert not found.ok
    assert found.issuer.problem
