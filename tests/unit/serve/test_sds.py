"""What Envoy is told, and above all what it is not told."""

from __future__ import annotations

import pytest
from tests.support.clock import FakeClock
from tests.support.small_ca import SmallCa
from tests.support.source import FakeSource

from certshelf.serve.pems import PemCache
from certshelf.serve.sds import MAX_ABSENT, MAX_PENDING, PENDING_SECONDS, Answer, Subscriber


@pytest.fixture(scope="module")
def ca() -> SmallCa:
    return SmallCa()


@pytest.fixture
def source() -> FakeSource:
    return FakeSource()


@pytest.fixture
def clock() -> FakeClock:
    return FakeClock()


@pytest.fixture
def envoy(source: FakeSource, clock: FakeClock) -> Subscriber:
    return Subscriber(source, PemCache(), clock.monotonic)


def names(answer: Answer) -> list[str]:
    return [name for name, _, _ in answer.secrets]


def test_a_name_is_answered_when_it_is_asked_for(
    ca: SmallCa, source: FakeSource, envoy: Subscriber
) -> None:
    source.put("www.one.test", ca.issue("www.one.test"))
    answer = envoy.ask(["www.one.test"], [], {})
    assert names(answer) == ["www.one.test"]
    assert answer.removed == []


def test_an_unknown_name_is_refused_at_once(source: FakeSource, envoy: Subscriber) -> None:
    assert envoy.ask(["no.test"], [], {}).removed == ["no.test"]
    assert envoy.ask(["no.test"], [], {}).removed == ["no.test"]


def test_a_change_is_pushed_once(ca: SmallCa, source: FakeSource, envoy: Subscriber) -> None:
    source.put("www.one.test", ca.issue("www.one.test"))
    envoy.ask(["www.one.test"], [], {})
    assert not envoy.changed(frozenset({"www.one.test"}))
    source.put("www.one.test", ca.issue("www.one.test"))
    assert names(envoy.changed(frozenset({"www.one.test"}))) == ["www.one.test"]
    assert not envoy.changed(frozenset())


def test_a_changed_wildcard_is_pushed_to_every_name_below(
    ca: SmallCa, source: FakeSource, envoy: Subscriber
) -> None:
    source.put("*.wild.test", ca.issue("*.wild.test"))
    envoy.ask(["a.wild.test", "b.wild.test"], [], {})
    source.put("*.wild.test", ca.issue("*.wild.test"))
    pushed = names(envoy.changed(frozenset({"*.wild.test"})))
    assert sorted(pushed) == ["a.wild.test", "b.wild.test"]


def test_a_silent_store_removes_nothing(
    ca: SmallCa, source: FakeSource, envoy: Subscriber, clock: FakeClock
) -> None:
    source.put("www.one.test", ca.issue("www.one.test"))
    envoy.ask(["www.one.test"], [], {})
    source.files.clear()
    clock.advance(60)
    assert not envoy.changed(frozenset())
    source.index.clear()
    source.is_ready = False
    assert not envoy.changed(frozenset())


def test_what_left_the_shelf_is_removed(ca: SmallCa, source: FakeSource, envoy: Subscriber) -> None:
    source.put("www.one.test", ca.issue("www.one.test"))
    envoy.ask(["www.one.test"], [], {})
    source.drop("www.one.test")
    assert envoy.changed(frozenset({"www.one.test"})).removed == ["www.one.test"]


def test_what_a_reconnected_envoy_holds_is_never_removed_before_the_index_stands(
    source: FakeSource, envoy: Subscriber, clock: FakeClock
) -> None:
    source.is_ready = False
    assert not envoy.ask(["www.one.test"], [], {"www.one.test": "some version"})
    clock.advance(PENDING_SECONDS + 1)
    assert not envoy.again()


def test_what_a_reconnected_envoy_holds_is_not_sent_again(
    ca: SmallCa, source: FakeSource, envoy: Subscriber
) -> None:
    bundle = ca.issue("www.one.test")
    source.put("www.one.test", bundle)
    assert not envoy.ask(["www.one.test"], [], {"www.one.test": bundle.sha256})


def test_a_name_on_its_way_is_answered_when_it_is_there(
    ca: SmallCa, source: FakeSource, envoy: Subscriber
) -> None:
    source.index.add("www.one.test.pfx")
    assert not envoy.ask(["www.one.test"], [], {})
    source.put("www.one.test", ca.issue("www.one.test"))
    assert names(envoy.again()) == ["www.one.test"]
    assert not envoy.pending


def test_a_name_that_never_comes_gets_an_alert_and_not_a_hang(
    source: FakeSource, envoy: Subscriber, clock: FakeClock
) -> None:
    source.index.add("www.one.test.pfx")
    assert not envoy.ask(["www.one.test"], [], {})
    clock.advance(PENDING_SECONDS + 0.1)
    assert envoy.again().removed == ["www.one.test"]
    assert not envoy.pending


@pytest.mark.parametrize("published", ["new.wild.test", "*.wild.test"])
def test_a_name_that_was_refused_is_pushed_when_it_appears(
    ca: SmallCa, source: FakeSource, envoy: Subscriber, published: str
) -> None:
    envoy.ask(["new.wild.test"], [], {})
    source.put(published, ca.issue(published))
    assert names(envoy.changed(frozenset({published}))) == ["new.wild.test"]


def test_a_flood_of_unknown_names_grows_nothing(envoy: Subscriber) -> None:
    for number in range(MAX_ABSENT + 500):
        envoy.ask([f"n{number}.flood.test"], [], {})
    assert len(envoy._absent) == MAX_ABSENT
    assert not envoy._sent
    assert not envoy._below


def test_a_flood_before_the_index_stands_is_not_looked_for_without_end(
    source: FakeSource, envoy: Subscriber
) -> None:
    source.is_ready = False
    refused = [envoy.ask([f"n{n}.test"], [], {}).removed for n in range(MAX_PENDING + 50)]
    assert len(envoy.pending) == MAX_PENDING
    assert refused[MAX_PENDING:] == [[f"n{n}.test"] for n in range(MAX_PENDING, MAX_PENDING + 50)]


def test_what_envoy_gave_up_is_forgotten(
    ca: SmallCa, source: FakeSource, envoy: Subscriber
) -> None:
    source.put("www.one.test", ca.issue("www.one.test"))
    envoy.ask(["www.one.test"], [], {})
    envoy.ask([], ["www.one.test"], {})
    source.put("www.one.test", ca.issue("www.one.test"))
    assert not envoy.changed(frozenset())
