"""A CA that is down, hangs, breaks off or refuses every nonce, met by the whole pipeline."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from datetime import timedelta
from pathlib import Path

import pytest

from certshelf.errors import CertshelfError, HeldBack, IssuerUnreachable
from certshelf.manage.certificates import add_certificate
from certshelf.manage.issuers import AcmeWish, add_acme
from certshelf.manage.model import State
from certshelf.manage.pipeline import Ask, Run, advance_all
from certshelf.manage.runner import ask_windows, one_pass
from tests.acme.test_pipeline_faults import FARM, Story, tell
from tests.support.records import certificate
from tests.support.scripted_ca import ScriptedCa

pytestmark = [pytest.mark.slow, pytest.mark.timeout(120)]
WHERE = ("dir", "nonce", "new-account", "new-order", "authz", "chall", "order", "finalize", "cert")
DAY = timedelta(days=1)


def add(story: Story, issuer: str, count: int, **wish: object) -> list[str]:
    names = [f"{issuer}{i}" for i in range(count)]
    for name in names:
        one = certificate(name, f"{name}.test", issuer=issuer, challenges=FARM, **wish)
        add_certificate(story.manager, one)
    return names


async def until(condition: Callable[[], bool]) -> None:
    async with asyncio.timeout(90):
        while not condition():
            await asyncio.sleep(0.02)


async def recover(story: Story) -> Run:
    """What comes of it once its own back-off is over, and that of its CA."""
    run = Run("not asked")
    for _ in range(2):
        status = story.status()
        assert status.retry_at
        story.clock.advance((status.retry_at - story.clock.now()).total_seconds() + 1)
        run = await story.ask()
        if not isinstance(run.error, HeldBack):
            break
    return run


@pytest.mark.parametrize("kind", ["hang", "status", "half", "lost", "html"])
@pytest.mark.parametrize("where", WHERE)
def test_a_fault_at_any_request_costs_no_second_certificate(
    tmp_path: Path, where: str, kind: str
) -> None:
    async def tale(story: Story) -> None:
        ca = story.cas["a"]
        story.timeout("a", 1.0)
        story.add("web")
        ca.fault(where, kind=kind, status=503)
        run = await story.ask()
        if run.error is not None:
            assert isinstance(run.error, IssuerUnreachable), run.error
            assert story.status().state is State.FAILED
            run = await recover(story)
        assert run.error is None
        # an answer to newOrder that was lost leaves an order that nobody pays for
        lost = (where, kind) == ("new-order", "lost")
        assert (len(ca.orders), len(ca.issued)) == (2 if lost else 1, 1)
        assert story.status().failures == 0
        assert len(ca.accounts) == 1

    tell(tmp_path, tale)


def test_in_an_outage_of_a_day_the_ca_is_asked_rarely_also_after_restarts(tmp_path: Path) -> None:
    async def tale(story: Story) -> None:
        ca = story.cas["a"]
        names = add(story, "a", 50)
        ca.fault("new-order", times=10_000, status=503)
        for _ in range(144):
            async with story.start() as engine:  # a new process each time
                await one_pass(engine, lambda name, run: None)
            story.clock.advance(600)
        assert ca.counts["new-order"] < 10 * 32  # those in flight, at each of five to seven tries
        assert len(ca.orders) == 0
        ca.mend()
        ends: dict[str, Run] = {}
        while len(ca.issued) < len(names):
            async with story.start() as engine:
                await one_pass(engine, ends.__setitem__)
            story.clock.advance(3600)
            assert story.clock.now() < story.begun + 3 * DAY
        assert (len(ca.orders), len(ca.issued)) == (50, 50)

    tell(tmp_path, tale)


@pytest.mark.parametrize("where", ["dir", "new-order", "finalize"])
def test_a_ca_that_hangs_holds_up_no_certificate_of_another(tmp_path: Path, where: str) -> None:
    async def tale(story: Story) -> None:
        bad, good = story.cas["a"], story.cas["b"]
        bad.fault(where, times=10_000, kind="hang")
        names = add(story, "a", 40) + add(story, "b", 40)
        ends: dict[str, Run] = {}
        async with story.start() as engine:
            work = asyncio.create_task(advance_all(engine, names, Ask(), ends.__setitem__))
            await until(lambda: sum(name.startswith("b") for name in ends) == 40)
            assert all(run.ok for run in ends.values())
            assert not any(name.startswith("a") for name in ends)
            assert not work.done()
            await bad.break_off()
            await work
        assert len(good.issued) == 40
        errors = [ends[name].error for name in names[:40]]
        assert all(isinstance(error, (IssuerUnreachable, HeldBack)) for error in errors)

    tell(tmp_path, tale, "a", "b")


def test_a_directory_that_hangs_is_waited_for_once_by_all(tmp_path: Path) -> None:
    async def tale(story: Story) -> None:
        ca = story.cas["a"]
        story.timeout("a", 1.0)
        names = add(story, "a", 60)
        ca.fault("dir", times=10_000, kind="hang")
        ends: dict[str, Run] = {}
        async with story.start() as engine:
            await advance_all(engine, names, Ask(), ends.__setitem__)
        assert ca.counts["dir"] == 1
        assert all(run.error for run in ends.values())

    tell(tmp_path, tale)


def test_a_certificate_goes_to_the_fallback_when_its_ca_hangs(tmp_path: Path) -> None:
    async def tale(story: Story) -> None:
        story.timeout("a", 1.0)
        story.cas["a"].fault("new-order", times=10_000, kind="hang")
        names = add(story, "a", 20, fallbacks=("b",))
        ends: dict[str, Run] = {}
        async with story.start() as engine:
            await advance_all(engine, names, Ask(), ends.__setitem__)
        assert {name for name, run in ends.items() if run.ok} == set(names)
        assert len(story.cas["b"].issued) == 20

    tell(tmp_path, tale, "a", "b")


def test_windows_of_a_ca_that_hangs_do_not_keep_renewals_waiting(tmp_path: Path) -> None:
    async def tale(story: Story) -> None:
        ca = story.cas["a"]
        story.timeout("a", 1.0)
        names = add(story, "a", 100)
        async with story.start() as engine:
            await advance_all(engine, names, Ask(), lambda name, run: None)
        assert len(ca.issued) == 100
        story.clock.advance(6 * 3600)
        ca.fault("renewal", times=10_000, kind="hang")
        async with story.start() as engine:
            assert await ask_windows(engine) == 100
            assert ca.counts["renewal"] <= 32
            assert await ask_windows(engine) == 0  # asked again later, not at once
        ca.mend()
        story.clock.advance(1800)
        async with story.start() as engine:
            assert await ask_windows(engine) == 100
        assert ca.counts["renewal"] >= 100

    tell(tmp_path, tale)


def test_a_ca_that_takes_refused_nonces_only_still_issues_for_a_batch(tmp_path: Path) -> None:
    async def tale(story: Story) -> None:
        ca = story.cas["a"]
        names = add(story, "a", 60)
        ca.distrust = True
        ends: dict[str, Run] = {}
        async with story.start() as engine:
            await advance_all(engine, names, Ask(), ends.__setitem__)
        assert [run.error for run in ends.values()] == [None] * 60
        assert (len(ca.orders), len(ca.issued)) == (60, 60)

    tell(tmp_path, tale)


@pytest.mark.parametrize("where", ["new-order", "finalize", "cert"])
def test_a_storm_of_refused_nonces_backs_off_and_goes_on_with_the_same_order(
    tmp_path: Path, where: str
) -> None:
    async def tale(story: Story) -> None:
        ca = story.cas["a"]
        story.add("web")
        ca.fault(where, times=10_000, status=400, type="badNonce")
        run = await story.ask()
        assert isinstance(run.error, IssuerUnreachable)
        assert ca.counts[where] <= 10
        ca.mend()
        assert (await recover(story)).error is None
        assert (len(ca.orders), len(ca.issued)) == (1, 1)

    tell(tmp_path, tale)


@pytest.mark.parametrize("ahead", [DAY, 365 * DAY, -DAY, -365 * DAY])
def test_with_a_wrong_clock_nothing_is_ordered_at_all(tmp_path: Path, ahead: timedelta) -> None:
    async def tale(story: Story) -> None:
        ca = story.cas["a"]
        story.add("web")
        ca.ahead = ahead  # of the CA before ours
        for _ in range(3):
            run = await story.ask()
            assert isinstance(run.error, HeldBack)
            assert "clock" in str(run.error)
            story.clock.advance(3600)
        assert (len(ca.orders), story.events("clock.wrong")) == (0, 3)  # one a process
        ca.ahead = timedelta(0)
        assert (await story.ask()).error is None

    tell(tmp_path, tale)


def test_a_clock_that_went_back_renews_nothing_and_the_order_goes_on_later(tmp_path: Path) -> None:
    async def tale(story: Story) -> None:
        ca = story.cas["a"]
        story.add("web")
        assert (await story.ask()).error is None
        ca.ahead = DAY
        run = await story.ask(force=True)
        assert isinstance(run.error, HeldBack)
        assert (len(ca.orders), story.status().state) == (1, State.VALID)
        ca.ahead = timedelta(0)
        story.clock.advance(3600)
        assert (await story.ask()).error is None
        assert len(ca.orders) == 2

    tell(tmp_path, tale)


def test_a_limit_of_one_account_does_not_stop_that_of_another_ca(tmp_path: Path) -> None:
    async def tale(story: Story) -> None:
        story.cas["a"].fault("new-order", status=429, type="rateLimited", retry_after="86400")
        names = add(story, "a", 40) + add(story, "b", 40)
        ends: dict[str, Run] = {}
        async with story.start() as engine:
            await advance_all(engine, names[:1], Ask(), ends.__setitem__)
            await advance_all(engine, names[1:], Ask(), ends.__setitem__)
        assert story.cas["a"].counts["new-order"] == 1
        assert len(story.cas["b"].issued) == 40
        story.clock.advance(86300)
        async with story.start() as engine:  # a restart forgets no limit
            await one_pass(engine, lambda name, run: None)
            assert story.cas["a"].counts["new-order"] == 1
            story.clock.advance(200)
            await one_pass(engine, lambda name, run: None)
        assert len(story.cas["a"].issued) == 40

    tell(tmp_path, tale, "a", "b")


def test_nothing_that_a_person_reads_about_an_outage_is_empty(tmp_path: Path) -> None:
    async def tale(story: Story) -> None:
        ca: ScriptedCa = story.cas["a"]
        story.add("web")
        ca.fault("new-order", kind="half")
        error = (await story.ask()).error
        assert isinstance(error, CertshelfError)
        assert ca.directory_url.rpartition("/")[0] in str(error)
        assert story.status().last_error == str(error)
        assert story.events("certificate.failed") == 1

    tell(tmp_path, tale)


def test_two_accounts_at_one_ca_share_its_connections_and_its_rate(tmp_path: Path) -> None:
    async def tale(story: Story) -> None:
        with story.manager.database.write() as records:
            add_acme(records, "twin", AcmeWish(story.cas["a"].directory_url), story.clock)
        async with story.start() as engine:
            one, two = await engine.acme("a"), await engine.acme("twin")
            assert one.client is two.client
            assert one.account.url != two.account.url
            assert one.client.gate(one.account.signer) is not two.client.gate(two.account.signer)

    tell(tmp_path, tale)
