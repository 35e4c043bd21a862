"""Farm mode and a fallback CA: one rule answers for both accounts once they have one key."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from pathlib import Path

import pytest

from certshelf.errors import ChallengeFailed, ConfigError, RecordError
from certshelf.farm import Kind, Member
from certshelf.finding import Finding
from certshelf.issue.solve.http01 import Http01Responder
from certshelf.manage import doctor, fallbacks
from certshelf.manage.certificates import add_certificate
from certshelf.manage.issuers import AcmeWish, account_thumbprint, add_acme
from certshelf.manage.manager import Manager
from certshelf.manage.model import ChallengeChoice
from certshelf.manage.pipeline import Run, request_certificate
from certshelf.manage.preview import preview_certificate
from certshelf.manage.trial import ask_issuer, change_account_key, try_certificate
from tests.support.homes import manager_in
from tests.support.pebble import Pebble, pebble
from tests.support.ports import free_port
from tests.support.reader import ReaderProcess, ShelfFolder
from tests.support.records import certificate
from tests.support.scripted_ca import scripted_ca

pytestmark = [pytest.mark.slow, pytest.mark.timeout(90)]
FARM = (ChallengeChoice("http-01", settings={"farm": "yes"}),)


@pytest.fixture(scope="module")
def ca(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Pebble]:
    with pebble(tmp_path_factory.mktemp("pebble")) as running:
        yield running


@pytest.fixture
def manager(tmp_path: Path, ca: Pebble) -> Iterator[Manager]:
    """An issuer `down` that does not answer, with a real Pebble as its fallback `spare`."""
    with manager_in(tmp_path) as manager:
        with manager.database.write() as records:
            spare = AcmeWish(ca.directory_url, ca.ca_file, poll_interval=0.1)
            add_acme(records, "spare", spare, manager.clock)
            down = AcmeWish(f"https://127.0.0.1:{free_port()}/dir", fallbacks=("spare",))
            add_acme(records, "down", down, manager.clock)
        add_certificate(manager, certificate("web", issuer="down", challenges=FARM))
        yield manager


async def ask_of_members(manager: Manager, ca: Pebble) -> Run:
    with manager.database.read() as records:
        rule = account_thumbprint(records, "down")
    async with Http01Responder("127.0.0.1", ca.http_port, thumbprint=rule):
        return await request_certificate(manager, "web")


def told(manager: Manager) -> list[str]:
    with manager.database.read() as records:
        found = fallbacks.findings(records, records.certificates.get("web"))
    return [finding.do for finding in found]


def test_the_fallbacks_account_takes_the_key_that_members_answer_for(
    manager: Manager, ca: Pebble
) -> None:
    way_out = "certshelf issuer rollover-key spare --like down"
    assert told(manager) == [way_out]
    assert [f.do for f in preview_certificate(manager, "web").issuer.findings] == [way_out]
    (warned,) = doctor.run_doctor(manager, only=["http01-fallback"])
    assert (warned.subject, warned.do) == ("web", way_out)
    assert isinstance(asyncio.run(ask_of_members(manager, ca)).error, ChallengeFailed)

    for _ in range(2):  # twice is safe
        asyncio.run(change_account_key(manager, "spare", "down"))
    assert told(manager) == []
    run = asyncio.run(ask_of_members(manager, ca))
    assert run.ok, run.error
    with manager.database.read() as records:
        newest = records.issued.newest(records.certificates.get("web").id)
    assert newest
    assert newest.issuer == "spare"


def test_a_reader_beside_a_server_answers_for_the_account(
    manager: Manager, ca: Pebble, tmp_path: Path
) -> None:
    add_certificate(manager, certificate("own", issuer="spare", challenges=FARM))
    with manager.database.read() as records:
        thumbprint = account_thumbprint(records, "spare")
    shelf = ShelfFolder(tmp_path / "of the reader")
    flags = ["--challenges", f"127.0.0.1:{ca.http_port}", "--challenge-thumbprint", thumbprint]
    reader = ReaderProcess(tmp_path / "reader", shelf, flags)
    try:
        run = asyncio.run(request_certificate(manager, "own"))
    finally:
        reader.stop()
    assert run.ok, run.error


def test_each_member_is_asked_for_its_own_answer(manager: Manager, ca: Pebble) -> None:
    """127.0.0.1 has the rule of our account, 127.0.0.2 that of another one, 127.0.0.3 none."""
    port = str(ca.http_port)
    farm = (ChallengeChoice("http-01", settings={"farm": "yes", "port": port}),)
    add_certificate(manager, certificate("own", issuer="spare", challenges=farm))
    ca.dns_set("add-a", host="own.example.test", addresses=["127.0.0.1"])
    with manager.database.write() as records:
        rule = account_thumbprint(records, "spare")
        for number in (1, 2, 3):
            host = "localhost" if number == 1 else f"127.0.0.{number}"
            records.members.add(Member(f"web{number}", Kind.NGINX, host, 443))

    async def story() -> list[Finding]:
        async with (
            Http01Responder("127.0.0.1", ca.http_port, thumbprint=rule),
            Http01Responder("127.0.0.2", ca.http_port, thumbprint="x" * 43),
        ):
            return await try_certificate(manager, "own")

    found = [one for one in asyncio.run(story()) if "member" in one.what]
    assert [(f.id, f.severity.value) for f in found] == [
        ("http01-wrong-answer", "error"),
        ("http01-unreachable", "warning"),
    ]
    assert [f.what.split()[1] for f in found] == ["web2", "web3"]


def test_two_accounts_at_one_ca_cannot_have_one_key(manager: Manager, ca: Pebble) -> None:
    with manager.database.write() as records:
        twin = AcmeWish(ca.directory_url, ca.ca_file)
        add_acme(records, "twin", twin, manager.clock)
    with pytest.raises(ConfigError, match="the same CA"):
        asyncio.run(change_account_key(manager, "twin", "spare"))
    with pytest.raises(RecordError):
        asyncio.run(change_account_key(manager, "spare", "nobody"))


def test_a_key_of_another_account_at_the_same_ca_is_not_taken(tmp_path: Path) -> None:
    with scripted_ca() as scripted, manager_in(tmp_path) as manager:
        with manager.database.write() as records:
            for name, end in (("one", ""), ("two", "?the-same")):
                wish = AcmeWish(scripted.directory_url + end)
                add_acme(records, name, wish, manager.clock)
        for name in ("one", "two"):
            asyncio.run(ask_issuer(manager, name))
        with manager.database.read() as records:
            before = account_thumbprint(records, "two")
        with pytest.raises(ConfigError, match="another account"):
            asyncio.run(change_account_key(manager, "two", "one"))
        with manager.database.read() as records:
            assert account_thumbprint(records, "two") == before


def test_a_webroot_above_the_shelf_is_found_by_the_doctor(manager: Manager, tmp_path: Path) -> None:
    choice = ChallengeChoice("http-01", settings={"webroot": str(tmp_path)})
    add_certificate(manager, certificate("bad", challenges=(choice,)))
    (found,) = doctor.run_doctor(manager, only=["shelf-published"])
    assert (found.subject, found.severity.value) == ("bad", "error")
