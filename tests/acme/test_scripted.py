"""What the client does when a CA misbehaves, limits it, or speaks the newest dialects."""

from __future__ import annotations

import asyncio
import functools
import random
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, replace
from datetime import timedelta
from email.utils import format_datetime

import pytest
from cryptography.hazmat.primitives.asymmetric import ec

from certshelf.challenge import Challenge
from certshelf.errors import (
    AcmeProblem,
    ChallengeFailed,
    IssuerUnreachable,
    RateLimited,
)
from certshelf.issue.acme import account, ari, csr, order, steps
from certshelf.issue.acme.certificate import Chain
from certshelf.issue.acme.client import AcmeClient, ClientSettings
from certshelf.issue.acme.identifiers import identifiers
from certshelf.issue.acme.limits import Rate
from certshelf.issue.acme.order import Order, OrderStatus
from certshelf.issue.acme.retry import Polling
from certshelf.issue.acme.steps import Step
from tests.support.clock import FakeClock
from tests.support.scripted_ca import ScriptedCa

NAMES = identifiers(["a.test", "b.test"])


class Nothing:
    type = "http-01"

    async def present(self, challenge: Challenge) -> None: ...

    async def wait(self, challenge: Challenge) -> None: ...

    async def clean_up(self, challenge: Challenge) -> None: ...


@dataclass
class World:
    ca: ScriptedCa
    clock: FakeClock
    client: AcmeClient
    step: Step
    waits: list[float]

    async def ready(self, **how: str) -> Order:
        made = await steps.new_order(self.client, self.step.account, NAMES, **how)
        return await steps.authorize(self.step, made, [Nothing()])

    async def issue(self, **how: str) -> Chain:
        request = csr.build(ec.generate_private_key(ec.SECP256R1()), NAMES)
        valid = await steps.finalize(self.step, await self.ready(**how), request)
        return await steps.download(self.step, valid)


def world(
    story: Callable[[World], Awaitable[None]],
    *,
    orders: Rate | None = None,
    requests: Rate | None = None,
    polling: Polling | None = None,
    timeout_s: float = 30,
    **settings: object,
) -> None:
    async def whole() -> None:
        clock, waits = FakeClock(), list[float]()

        async def sleep(seconds: float) -> None:
            waits.append(round(seconds, 3))
            clock.advance(seconds)
            await asyncio.sleep(0)

        async with ScriptedCa(clock=clock, **settings) as ca:  # type: ignore[arg-type]
            how = ClientSettings(
                ca.directory_url, orders=orders, requests=requests, timeout_s=timeout_s
            )
            async with AcmeClient(how, clock=clock, sleep=sleep) as client:
                made = await account.register(client, ec.generate_private_key(ec.SECP256R1()))
                step = Step(client, made, polling or Polling())
                await story(World(ca, clock, client, step, waits))

    asyncio.run(whole())


def test_an_order_of_two_names_takes_nine_requests_and_hardly_a_nonce_of_its_own() -> None:
    async def story(w: World) -> None:
        await w.issue()
        nonces, before = w.ca.counts["nonce"], w.client.requests_sent
        await w.issue()
        # order, two authorizations and answers, one look, finalize, one look, download
        assert w.client.requests_sent - before == 9
        assert w.ca.counts["nonce"] == nonces <= 3

    world(story)


# --- limits


@pytest.mark.parametrize("form", ["seconds", "date"])
def test_a_rate_limit_is_raised_with_the_cas_own_moment(form: str) -> None:
    async def story(w: World) -> None:
        until = w.clock.now() + timedelta(seconds=120)
        header = "120" if form == "seconds" else format_datetime(until, usegmt=True)
        w.ca.fault("new-order", status=429, type="rateLimited", retry_after=header)
        with pytest.raises(RateLimited) as caught:
            await w.ready()
        assert caught.value.retry_at == until
        assert w.ca.counts["new-order"] == 1  # told once is enough
        await w.ready()

    world(story)


def test_our_own_order_rate_waits_seconds_but_defers_minutes() -> None:
    async def story(w: World) -> None:
        await steps.new_order(w.client, w.step.account, NAMES)
        with pytest.raises(RateLimited) as caught:
            await steps.new_order(w.client, w.step.account, NAMES)
        assert caught.value.retry_at is not None
        assert 35 < (caught.value.retry_at - w.clock.now()).total_seconds() < 37
        assert w.ca.counts["new-order"] == 1  # the CA never saw the second
        w.clock.advance(33)
        await steps.new_order(w.client, w.step.account, NAMES)
        assert w.waits == [pytest.approx(3, abs=0.01)]

    world(story, orders=Rate(per_second=1 / 36, burst=1))


def test_a_renewal_that_names_what_it_replaces_takes_nothing_from_the_order_rate() -> None:
    async def story(w: World) -> None:
        leaf = (await w.issue())[0]
        made = await steps.new_order(w.client, w.step.account, NAMES, replaces=ari.cert_id(leaf))
        assert w.ca.orders[2].replaces == ari.cert_id(leaf)
        assert made.status is OrderStatus.PENDING

    world(story, orders=Rate(per_second=1 / 36000, burst=1))


def test_requests_to_one_ca_are_spread_over_time() -> None:
    async def story(w: World) -> None:
        start, sent = w.clock.monotonic(), w.client.requests_sent
        await w.issue()
        passed = w.clock.monotonic() - start
        assert w.client.requests_sent - sent <= passed * 2 + 3

    world(story, requests=Rate(per_second=2, burst=3))


# --- ARI and profiles


def test_the_window_is_told_and_a_window_pulled_to_now_too() -> None:
    async def story(w: World) -> None:
        leaf = (await w.issue())[0]
        info = await ari.fetch(w.client, ari.cert_id(leaf))
        assert info is not None
        assert info.start == leaf.not_valid_before_utc + timedelta(days=60)
        assert info.ask_at == w.clock.now() + timedelta(hours=6)
        now = w.clock.now()
        w.ca.window = (now - timedelta(days=1), now)
        pulled = await ari.fetch(w.client, ari.cert_id(leaf))
        assert pulled is not None
        assert pulled.moment(random.Random(1)) < now

    world(story)


@pytest.mark.parametrize(
    ("header", "wait"),
    [("0", timedelta(minutes=1)), ("9999999", timedelta(days=1)), ("soon", timedelta(hours=6))],
)
def test_when_to_ask_for_the_window_again_is_bounded(header: str, wait: timedelta) -> None:
    async def story(w: World) -> None:
        leaf = (await w.issue())[0]
        info = await ari.fetch(w.client, ari.cert_id(leaf))
        assert info is not None
        assert info.ask_at == w.clock.now() + wait

    world(story, ari_retry_after=header)


def test_a_window_that_ends_before_it_starts_is_no_answer() -> None:
    async def story(w: World) -> None:
        leaf = (await w.issue())[0]
        now = w.clock.now()
        w.ca.window = (now, now - timedelta(days=1))
        with pytest.raises(IssuerUnreachable):
            await ari.fetch(w.client, ari.cert_id(leaf))

    world(story)


def test_a_ca_without_ari_has_no_window_and_is_told_no_predecessor() -> None:
    async def story(w: World) -> None:
        leaf = (await w.issue())[0]
        assert await ari.fetch(w.client, ari.cert_id(leaf)) is None
        await w.ready(replaces=ari.cert_id(leaf))
        assert w.ca.orders[2].replaces == ""

    world(story, has_ari=False)


def test_a_certificate_that_the_ca_does_not_know_has_no_window() -> None:
    async def story(w: World) -> None:
        assert await ari.fetch(w.client, "AAAA.BBBB") is None

    world(story)


def test_a_predecessor_that_is_replaced_already_is_left_out() -> None:
    async def story(w: World) -> None:
        leaf = (await w.issue())[0]
        await w.issue(replaces=ari.cert_id(leaf))
        await w.issue(replaces=ari.cert_id(leaf))
        assert [o.replaces for o in w.ca.orders.values()] == ["", ari.cert_id(leaf), ""]

    world(story)


def test_a_profile_is_asked_for_and_an_unknown_one_refused() -> None:
    async def story(w: World) -> None:
        made = await w.ready(profile="shortlived")
        assert made.profile == "shortlived"
        with pytest.raises(AcmeProblem, match="invalidProfile") as caught:
            await w.ready(profile="eternal")
        assert caught.value.hint

    world(story, profiles={"shortlived": "six days"})


# --- polling


def test_the_first_look_comes_after_100_ms_at_least() -> None:
    async def story(w: World) -> None:
        await w.issue()
        assert min(w.waits) >= 0.1

    world(story, polling=Polling(first_s=0, interval_s=0))


def test_the_cas_retry_after_decides_between_looks() -> None:
    async def story(w: World) -> None:
        await w.issue()
        # one look at the validation, then: the first look, and three as the CA says
        assert w.waits == [1, 1, 7, 7, 7]

    world(story, slow_looks=3, processing_retry_after="7")


def test_without_a_retry_after_the_waits_grow() -> None:
    async def story(w: World) -> None:
        await w.issue()
        assert w.waits == [1, 1, 1, 1.5, 2.25]

    world(story, slow_looks=3)


def test_an_order_that_is_made_too_slowly_is_left_for_a_later_run() -> None:
    async def story(w: World) -> None:
        ready = await w.ready()
        request = csr.build(ec.generate_private_key(ec.SECP256R1()), NAMES)
        with pytest.raises(IssuerUnreachable) as caught:
            await steps.finalize(w.step, ready, request)
        assert caught.value.retry_at is not None
        assert caught.value.retry_at > w.clock.now()
        w.ca.orders[1].looks = 0
        found = await steps.look(w.step, ready.url)
        assert found is not None
        assert found.status is OrderStatus.VALID
        assert w.ca.counts["finalize"] == 1

    world(story, slow_looks=1000, polling=Polling(deadline_s=30))


# --- faults


WHERE = ["new-order", "authz", "chall", "order", "finalize", "cert"]
KINDS: list[dict[str, object]] = [
    {"status": 302},
    {"status": 500},
    {"status": 503, "retry_after": "30"},
    {"status": 429, "retry_after": "30"},
    {"kind": "half"},
    {"kind": "lost"},
    {"kind": "html"},
    {"kind": "huge"},
    {"kind": "hang"},
]


@pytest.mark.parametrize("where", WHERE)
@pytest.mark.parametrize("what", KINDS, ids=lambda w: str(w.get("kind", w.get("status"))))
def test_a_fault_at_any_step_is_named_and_the_order_goes_on(
    where: str, what: dict[str, object]
) -> None:
    async def story(w: World) -> None:
        w.ca.fault(where, **what)  # type: ignore[arg-type]
        found: Order | None = None
        request = csr.build(ec.generate_private_key(ec.SECP256R1()), NAMES)
        failures = 0
        for _ in range(6):  # as a pipeline does: look first, then go on where the order stands
            try:
                if found is None:
                    found = await steps.new_order(w.client, w.step.account, NAMES)
                elif failures:
                    found = await steps.look(w.step, found.url)
                    assert found is not None
                found = await steps.authorize(w.step, found, [Nothing()])
                found = await steps.finalize(w.step, found, request)
                chain = await steps.download(w.step, found)
                break
            except (IssuerUnreachable, RateLimited) as error:
                assert error.retryable
                assert error.retry_at is None or error.retry_at > w.clock.now()
                failures += 1
        assert len(chain) == 2
        # an answer to a challenge needs no reading; all else is noticed
        assert failures == 1 or (where, what.get("kind")) == ("chall", "html")
        assert sum(o.status == "valid" for o in w.ca.orders.values()) == 1
        assert len(w.ca.issued) == 1

    world(story, timeout_s=0.3)


def test_a_storm_of_refused_nonces_passes() -> None:
    async def story(w: World) -> None:
        w.ca.fault("new-order", times=6, status=400, type="badNonce")
        await w.issue()
        assert w.client.bad_nonces == 6

    world(story)


def test_refusals_in_a_row_leave_the_nonces_of_others_alone() -> None:
    async def story(w: World) -> None:
        post = functools.partial(w.client.post, w.step.account.url, None, w.step.account.signer)
        await asyncio.gather(*(post() for _ in range(20)))
        held, fetched = len(w.client._nonces), w.ca.counts["nonce"]
        w.ca.fault("account", times=6, status=400, type="badNonce")
        await post()
        assert (len(w.client._nonces), w.ca.counts["nonce"]) == (held, fetched)

    world(story)


def test_the_nonce_of_a_refusal_is_used_by_that_very_retry_among_many() -> None:
    async def story(w: World) -> None:
        w.ca.distrust = True
        asked, refused = w.client.requests_sent, w.client.bad_nonces
        post = functools.partial(w.client.post, w.step.account.url, None, w.step.account.signer)
        await asyncio.gather(*(post() for _ in range(200)))
        assert w.client.bad_nonces - refused == 200
        assert w.client.requests_sent - asked - 400 == w.ca.counts["nonce"] - 1

    world(story)


def test_a_nonce_that_was_asked_for_goes_to_who_asked() -> None:
    async def story(w: World) -> None:
        w.client._nonces.clear()
        post = functools.partial(w.client.post, w.step.account.url, None, w.step.account.signer)
        await asyncio.gather(*(post() for _ in range(100)))
        assert w.client.bad_nonces == 0

    world(story)


def test_a_restarted_ca_costs_each_of_many_requests_one_refusal_at_most() -> None:
    async def story(w: World) -> None:
        post = functools.partial(w.client.post, w.step.account.url, None, w.step.account.signer)
        await asyncio.gather(*(post() for _ in range(100)))
        held = len(w.client._nonces)
        w.ca._nonces.clear()
        await asyncio.gather(*(post() for _ in range(100)))
        assert w.client.bad_nonces <= min(held, 100)

    world(story)


def test_after_a_refusal_without_a_nonce_those_left_over_are_not_tried_one_by_one(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    async def story(w: World) -> None:
        post = functools.partial(w.client.post, w.step.account.url, None, w.step.account.signer)
        await asyncio.gather(*(post() for _ in range(20)))
        held, fetched = len(w.client._nonces), w.ca.counts["nonce"]
        monkeypatch.setattr(ScriptedCa, "_fresh", lambda ca: {})
        w.ca.fault("account", status=400, type="badNonce")
        refused = asyncio.create_task(post())
        while not w.client.bad_nonces:
            await asyncio.sleep(0)
        monkeypatch.undo()
        await refused
        assert held > 1
        assert w.ca.counts["nonce"] == fetched + 1

    world(story)


def test_a_ca_that_refuses_every_nonce_is_given_up_for_now() -> None:
    async def story(w: World) -> None:
        w.ca.fault("new-order", times=50, status=400, type="badNonce")
        with pytest.raises(IssuerUnreachable, match="nonces"):
            await w.ready()
        assert w.ca.counts["new-order"] < 12

    world(story)


def test_a_restarted_ca_that_forgot_its_nonces_is_asked_for_new_ones() -> None:
    async def story(w: World) -> None:
        await w.ready()
        w.ca._nonces.clear()
        await w.issue()

    world(story)


def test_a_proxy_of_the_environment_is_used(monkeypatch: pytest.MonkeyPatch) -> None:
    async def story() -> None:
        async with ScriptedCa() as proxy:
            monkeypatch.setenv("http_proxy", f"http://127.0.0.1:{proxy.port}")
            monkeypatch.setenv("no_proxy", "")
            async with AcmeClient(ClientSettings("http://127.0.0.1:1/dir")) as client:
                await client.directory()  # nobody listens on port 1
                assert proxy.counts["dir"] == 1

    asyncio.run(story())


def test_a_refused_validation_names_the_host_and_may_be_tried_later() -> None:
    async def story(w: World) -> None:
        with pytest.raises(ChallengeFailed, match=r"[ab]\.test: unauthorized: scripted") as caught:
            await w.ready()
        assert caught.value.retry_at == w.clock.now() + timedelta(minutes=15)

    world(story, validation="invalid")


def test_a_clock_that_differs_from_the_cas_is_noticed() -> None:
    async def story(w: World) -> None:
        w.ca.ahead = timedelta(minutes=6)
        await w.client.get(w.ca.directory_url)
        assert w.client.clock_skew == timedelta(minutes=6)

    world(story)


def test_a_standing_record_challenge_is_answered_without_a_token() -> None:
    class Standing(Nothing):
        type = "dns-persist-01"
        seen: list[Challenge]

        async def present(self, challenge: Challenge) -> None:
            self.seen.append(challenge)

    async def story(w: World) -> None:
        solver = Standing()
        solver.seen = []
        made = await steps.new_order(w.client, w.step.account, NAMES)
        ready = await steps.authorize(w.step, made, [solver])
        assert ready.status is OrderStatus.READY
        assert {c.token for c in solver.seen} == {""}

    world(story, challenge_types=("dns-persist-01",))


def test_steps_that_come_too_early_say_so() -> None:
    async def story(w: World) -> None:
        made = await steps.new_order(w.client, w.step.account, NAMES)
        with pytest.raises(IssuerUnreachable):
            await steps.finalize(w.step, made, b"")
        with pytest.raises(IssuerUnreachable):
            await steps.download(w.step, made)
        invalid = replace(made, status=OrderStatus.INVALID)
        with pytest.raises(ChallengeFailed):
            await steps.authorize(w.step, invalid, [Nothing()])
        assert order.OrderStatus.PENDING is made.status

    world(story)
