"""What the pipeline issues besides plain names: profiles, addresses, standing records, IDN."""

from __future__ import annotations

import asyncio
from datetime import timedelta
from pathlib import Path

import pytest

from certshelf.errors import AcmeProblem, ChallengeFailed
from certshelf.manage.certificates import add_certificate
from certshelf.manage.issuers import AcmeWish, add_acme
from certshelf.manage.model import ChallengeChoice
from certshelf.manage.pipeline import request_certificate
from tests.acme.test_pipeline_faults import FARM, Story, tell
from tests.support.bind import bind
from tests.support.homes import manager_in
from tests.support.ports import free_port
from tests.support.records import certificate
from tests.support.scripted_ca import ScriptedCa

pytestmark = [pytest.mark.slow, pytest.mark.timeout(90)]
SIX_DAYS = timedelta(hours=160)


def test_a_host_and_an_address_of_a_short_lived_profile_are_renewed_at_half_their_life(
    tmp_path: Path,
) -> None:
    async def tale(story: Story) -> None:
        ca = story.cas["a"]
        ca.profiles, ca.lifetime, ca.has_ari = {"shortlived": "160 hours"}, SIX_DAYS, False
        wish = certificate(
            "ip",
            "a.test",
            addresses=("192.0.2.7", "2001:db8::7"),
            issuer="a",
            profile="shortlived",
            challenges=FARM,
        )
        add_certificate(story.manager, wish)
        run = await story.ask("ip")
        assert run.error is None
        assert ca.orders[1].profile == "shortlived"
        assert ca.orders[1].identifiers == [
            {"type": "dns", "value": "a.test"},
            {"type": "ip", "value": "192.0.2.7"},
            {"type": "ip", "value": "2001:db8::7"},
        ]
        assert [result.file for result in run.results] == ["a.test.pfx"]
        status = story.status("ip")
        assert status.renew_at
        assert status.not_before
        assert 0.5 <= (status.renew_at - status.not_before) / SIX_DAYS <= 0.56

    tell(tmp_path, tale)


def test_a_profile_that_the_ca_has_not_is_refused_and_named(tmp_path: Path) -> None:
    async def tale(story: Story) -> None:
        story.add("web", profile="shortlived")
        error = (await story.ask()).error
        assert error is not None
        assert "shortlived" in str(error)
        assert not isinstance(error, AcmeProblem) or error.type == "invalidProfile"
        assert story.cas["a"].orders == {}

    tell(tmp_path, tale)


def test_an_internationalised_name_has_both_its_files(tmp_path: Path) -> None:
    async def tale(story: Story) -> None:
        wish = certificate("idn", "bücher.test", issuer="a", challenges=FARM)
        add_certificate(story.manager, wish)
        run = await story.ask("idn")
        assert run.error is None
        assert story.cas["a"].orders[1].identifiers == [
            {"type": "dns", "value": "xn--bcher-kva.test"}
        ]
        assert {r.file for r in run.results} == {"xn--bcher-kva.test.pfx", "bücher.test.pfx"}

    tell(tmp_path, tale)


@pytest.mark.parametrize("has_record", [True, False])
def test_a_standing_record_is_used_where_the_ca_offers_it(tmp_path: Path, has_record: bool) -> None:
    async def story() -> None:
        ca = ScriptedCa(port=free_port(), challenge_types=("dns-persist-01",))
        account = f"http://127.0.0.1:{ca.port}/account/1"
        host = "_validation-persist.shop" if has_record else "_validation-persist.other"
        record = f'{host} TXT "ca.test; accounturi={account}; policy=wildcard"\n'
        async with ca:
            with bind(tmp_path / "bind", {"one.test": record}) as dns, manager_in(tmp_path) as home:
                with home.database.write() as records:
                    add_acme(records, "a", AcmeWish(ca.directory_url), home.clock)
                resolver = {"resolver": f"127.0.0.1:{dns.port}"}
                choice = ChallengeChoice("dns-persist-01", settings=resolver)
                wish = certificate("web", "*.shop.one.test", issuer="a", challenges=(choice,))
                add_certificate(home, wish)
                run = await request_certificate(home, "web")
        if has_record:
            assert run.error is None
            assert len(ca.issued) == 1
        else:
            assert isinstance(run.error, ChallengeFailed)
            assert account in run.error.hint
            assert "_validation-persist.shop.one.test. IN TXT" in run.error.hint

    asyncio.run(story())
