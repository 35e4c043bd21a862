"""The pipeline and a CA that fails on demand: outages, limits, wrong clocks, early windows."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable, Coroutine
from contextlib import asynccontextmanager
from dataclasses import replace
from datetime import timedelta
from pathlib import Path

import pytest

from certshelf.errors import HeldBack, IssuerUnreachable, RateLimited
from certshelf.manage.certificates import add_certificate
from certshelf.manage.claims import leases
from certshelf.manage.engine import Engine
from certshelf.manage.issuers import AcmeWish, add_acme
from certshelf.manage.manager import Manager
from certshelf.manage.model import CertificateStatus, ChallengeChoice, State
from certshelf.manage.pipeline import Ask, Run, advance_all, request
from certshelf.manage.runner import ask_windows, one_pass
from tests.support.clock import FakeClock
from tests.support.homes import manager_in
from tests.support.limiter import Limiter
from tests.support.records import certificate
from tests.support.scripted_ca import ScriptedCa

pytestmark = pytest.mark.slow
FARM = (ChallengeChoice("http-01", settings={"farm": "yes"}),)


class Story:
    """One manager, its CAs and a clock moved by hand; start() is what a restart does."""

    def __init__(self, manager: Manager, clock: FakeClock, cas: dict[str, ScriptedCa]) -> None:
        self.manager = manager
        self.clock = clock
        self.cas = cas
        self.begun = clock.now()

    def timeout(self, issuer: str, seconds: float) -> None:
        """How long the CA is waited for, in real time."""
        with self.manager.database.write() as records:
            record = records.issuers.get(issuer)
            settings = {**record.settings, "timeout": seconds}
            records.issuers.edit(replace(record, settings=settings))

    @asynccontextmanager
    async def start(self) -> AsyncIterator[Engine]:
        async def sleep(seconds: float) -> None:
            self.clock.advance(seconds)

        async with Engine(self.manager, sleep=sleep) as engine:
            yield engine

    async def ask(self, name: str = "web", **ask: bool) -> Run:
        async with self.start() as engine, leases(engine) as held:
            return await request(engine, name, Ask(**ask), held)

    def status(self, name: str = "web") -> CertificateStatus:
        with self.manager.database.read() as records:
            return records.certificates.get(name).status

    def events(self, kind: str) -> int:
        with self.manager.database.read() as records:
            return len(records.events.latest(1000, kind=kind))

    def add(self, *names: str, **wish: object) -> None:
        for name in names:
            add_certificate(self.manager, certificate(name, issuer="a", challenges=FARM, **wish))


def tell(folder: Path, tale: Callable[[Story], Coroutine[None, None, None]], *issuers: str) -> None:
    async def story() -> None:
        clock = FakeClock()
        with manager_in(folder, clock) as manager:
            cas: dict[str, ScriptedCa] = {}
            try:
                for name in issuers or ("a",):
                    cas[name] = await ScriptedCa(clock=clock).__aenter__()
                    wish = AcmeWish(cas[name].directory_url, poll_interval=0.1)
                    with manager.database.write() as records:
                        add_acme(records, name, wish, clock)
                await tale(Story(manager, clock, cas))
            finally:
                for ca in cas.values():
                    await ca.__aexit__()

    asyncio.run(story())


def test_after_an_outage_the_same_order_goes_on(tmp_path: Path) -> None:
    async def tale(story: Story) -> None:
        ca = story.cas["a"]
        story.add("web")
        ca.fault("finalize", status=503)
        run = await story.ask()
        assert isinstance(run.error, IssuerUnreachable)
        assert story.status().state is State.FAILED
        story.clock.advance(120)
        run = await story.ask()
        assert run.error is None
        assert len(ca.orders) == 1
        assert story.status().failures == 0

    tell(tmp_path, tale)


@pytest.mark.parametrize("kind", ["half", "lost", "html", "huge"])
def test_a_broken_answer_costs_no_second_certificate(tmp_path: Path, kind: str) -> None:
    async def tale(story: Story) -> None:
        ca = story.cas["a"]
        story.add("web")
        ca.fault("finalize", kind=kind)
        assert (await story.ask()).error is not None
        story.clock.advance(120)
        assert (await story.ask()).error is None
        assert (len(ca.orders), len(ca.issued)) == (1, 1)

    tell(tmp_path, tale)


@pytest.mark.parametrize("form", ["seconds", "date"])
def test_a_rate_limit_is_obeyed_across_a_restart_and_by_hand(tmp_path: Path, form: str) -> None:
    async def tale(story: Story) -> None:
        ca = story.cas["a"]
        story.add("web", "other")
        until = story.clock.now() + timedelta(hours=2)
        retry_after = "7200" if form == "seconds" else f"{until:%a, %d %b %Y %H:%M:%S} GMT"
        ca.fault("new-order", status=429, type="rateLimited", retry_after=retry_after)
        run = await story.ask()
        assert isinstance(run.error, RateLimited)
        assert story.status().retry_at == until
        asked = ca.counts["new-order"]
        story.clock.advance(7100)
        for name in ("web", "other"):
            run = await story.ask(name, by_hand=True)
            assert isinstance(run.error, HeldBack)
        assert ca.counts["new-order"] == asked
        story.clock.advance(101)
        assert (await story.ask()).error is None
        assert (await story.ask("other")).error is None

    tell(tmp_path, tale)


def test_another_ca_goes_on_while_the_first_is_limited_or_down(tmp_path: Path) -> None:
    async def tale(story: Story) -> None:
        story.add("web", "next", fallbacks=("b",))
        story.cas["a"].fault("new-order", status=429, type="rateLimited", retry_after="7200")
        assert (await story.ask()).error is None
        assert (await story.ask("next")).error is None
        assert (len(story.cas["a"].issued), len(story.cas["b"].issued)) == (0, 2)
        assert story.cas["a"].counts["new-order"] == 1
        assert story.events("certificate.fallback") == 1
        story.clock.advance(7201)
        story.add("third", fallbacks=("b",))
        assert (await story.ask("third")).error is None
        assert len(story.cas["a"].issued) == 1

    tell(tmp_path, tale, "a", "b")


def test_an_order_that_may_be_paid_for_is_not_left_at_once(tmp_path: Path) -> None:
    async def tale(story: Story) -> None:
        story.add("web", fallbacks=("b",))
        story.cas["a"].fault("finalize", kind="lost")
        assert isinstance((await story.ask()).error, IssuerUnreachable)
        story.clock.advance(120)
        assert (await story.ask()).error is None
        assert (len(story.cas["a"].issued), len(story.cas["b"].orders)) == (1, 0)

    tell(tmp_path, tale, "a", "b")


def test_a_batch_during_an_outage_writes_few_events_and_asks_little(tmp_path: Path) -> None:
    async def tale(story: Story) -> None:
        ca = story.cas["a"]
        names = [f"n{i}" for i in range(100)]
        story.add(*names)
        ca.fault("new-order", times=1000, status=503)
        ends: dict[str, Run] = {}
        async with story.start() as engine:
            await advance_all(engine, names, Ask(), ends.__setitem__)
        assert all(run.error for run in ends.values())
        assert ca.counts["new-order"] <= 64
        assert story.events("certificate.failed") <= 64
        assert story.status("n99").state is State.NEW or story.status("n99").failures == 1

    tell(tmp_path, tale)


def test_a_clock_that_jumped_renews_nothing_and_says_so_once(tmp_path: Path) -> None:
    async def tale(story: Story) -> None:
        ca = story.cas["a"]
        story.add("web", "shop")
        for name in ("web", "shop"):
            assert (await story.ask(name)).error is None
        story.clock.advance(86400 * 365)
        ca.ahead = -timedelta(days=365)
        async with story.start() as engine:
            for _ in range(3):
                await one_pass(engine, lambda name, run: None)
                story.clock.advance(3600)
        assert len(ca.orders) == 2
        assert story.events("clock.wrong") == 1
        assert story.status().state is State.VALID
        ca.ahead = timedelta(0)
        async with story.start() as engine:
            await one_pass(engine, lambda name, run: None)
        assert len(ca.orders) == 4

    tell(tmp_path, tale)


def test_a_window_pulled_to_now_renews_now_and_names_the_predecessor(tmp_path: Path) -> None:
    async def tale(story: Story) -> None:
        ca, ends = story.cas["a"], dict[str, Run]()
        story.add("web")
        assert (await story.ask()).error is None
        first = story.status()
        story.clock.advance(6 * 3600)
        now = story.clock.now()
        ca.window = now - timedelta(days=2), now - timedelta(days=1)
        async with story.start() as engine:
            await one_pass(engine, ends.__setitem__)
        assert ends["web"].outcome == "issued"
        assert ca.orders[2].replaces == first.ari_id
        assert story.events("certificate.window") == 1

    tell(tmp_path, tale)


def test_a_window_is_asked_again_at_retry_after_and_a_chosen_moment_stays(tmp_path: Path) -> None:
    async def tale(story: Story) -> None:
        ca = story.cas["a"]
        story.add("web")
        assert (await story.ask()).error is None
        story.clock.advance(6 * 3600)
        ca.ari_retry_after = "43200"
        now = story.clock.now()
        ca.window = now + timedelta(days=50), now + timedelta(days=52)
        async with story.start() as engine:
            assert await ask_windows(engine) == 1
            chosen = story.status()
            assert chosen.ari_next_at == now + timedelta(hours=12)
            assert chosen.renew_at
            assert ca.window[0] <= chosen.renew_at <= ca.window[1]
            story.clock.advance(12 * 3600 - 1)
            assert await ask_windows(engine) == 0
            story.clock.advance(1)
            assert await ask_windows(engine) == 1
        assert story.status().renew_at == chosen.renew_at

    tell(tmp_path, tale)


def test_a_failed_validation_backs_off_that_name_alone(tmp_path: Path) -> None:
    async def tale(story: Story) -> None:
        ca = story.cas["a"]
        story.add("web", "shop")
        ca.validation = "invalid"
        assert (await story.ask()).error is not None
        retry_at = story.status().retry_at
        assert retry_at
        assert retry_at >= story.clock.now() + timedelta(minutes=14)
        ca.validation = "valid"
        assert (await story.ask("shop")).error is None
        story.clock.advance(1200)
        assert (await story.ask()).error is None
        assert len(ca.orders) == 3

    tell(tmp_path, tale)


def test_a_ca_that_forgot_the_account_gets_it_again_with_the_same_key(tmp_path: Path) -> None:
    async def tale(story: Story) -> None:
        ca = story.cas["a"]
        story.add("web")
        async with story.start() as engine:
            await engine.signer("a")
        ca.accounts.clear()
        assert (await story.ask()).error is None
        assert len(ca.accounts) == 1

    tell(tmp_path, tale)


def test_lets_encrypts_limits_are_never_met_by_a_batch(tmp_path: Path) -> None:
    async def tale(story: Story) -> None:
        ca = story.cas["a"]
        with story.manager.database.write() as records:
            record = records.issuers.get("a")
            settings = {**record.settings, "limits": "letsencrypt"}
            records.issuers.edit(replace(record, settings=settings))
        ca.limiter = Limiter()
        names = [f"n{i}" for i in range(310)]
        for name in names:
            wish = certificate(name, f"{name}.test", issuer="a", challenges=FARM)
            add_certificate(story.manager, wish)
        ends: dict[str, Run] = {}
        async with story.start() as engine:
            await advance_all(engine, names, Ask(), ends.__setitem__)
            put_off = [name for name, run in ends.items() if run.error]
            assert len(ca.orders) == 310 - len(put_off)
            assert 0 < len(put_off) <= 10
            assert all(isinstance(ends[name].error, HeldBack) for name in put_off)
            times = sorted(story.status(name).retry_at for name in put_off)  # type: ignore[type-var]
            assert len(set(times)) == len(times)
            story.clock.advance(3600)
            await one_pass(engine, ends.__setitem__)
        assert not [name for name, run in ends.items() if run.error]
        assert (ca.limiter.allowed, ca.limiter.refused) == (310, [])

    tell(tmp_path, tale)
