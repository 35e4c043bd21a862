from __future__ import annotations

from datetime import UTC, datetime, timedelta

from certshelf.manage.service.metrics import Counters, Stock, render
from certshelf.manage.service.schedule import OpenOrder, plan_tick

NOW = datetime(2030, 1, 1, tzinfo=UTC)
LATER = NOW + timedelta(minutes=1)


def order(name: str, retry_at: datetime | None = None, held: datetime | None = None) -> OpenOrder:
    return OpenOrder(name, retry_at, "host:1:2" if held else "", held)


def test_what_is_under_way_goes_on_before_new_orders_begin() -> None:
    assert plan_tick(["a", "b"], [order("b")], NOW, begun=0, budget=0) == ("b", "a")


def test_an_order_that_waits_or_is_held_is_left_alone() -> None:
    waiting = [order("a", retry_at=LATER), order("b", held=LATER), order("c", held=NOW)]
    assert plan_tick(["a", "b", "c"], waiting, NOW, begun=0, budget=0) == ("c",)


def test_the_budget_counts_new_orders_only_and_the_most_urgent_go_first() -> None:
    due = ["a", "b", "c", "d"]
    assert plan_tick(due, [order("d")], NOW, begun=3, budget=5) == ("d", "a", "b")
    assert plan_tick(due, [order("d")], NOW, begun=9, budget=5) == ("d",)


def test_the_order_of_a_holder_that_is_dead_goes_on_at_once() -> None:
    held = [order("a", held=LATER)]
    dead = plan_tick([], held, NOW, begun=0, budget=0, is_dead=lambda owner: owner == "host:1:2")
    assert dead == ("a",)


def test_metrics_are_in_the_text_format_of_prometheus() -> None:
    counters = Counters()
    counters.run("issued")
    stock = Stock({"valid": 2_000_000}, due=1, next_expiry=NOW, events=1_234_567)
    text = render(stock, counters, 7)
    assert 'certshelf_certificates{state="valid"} 2000000\n' in text
    assert "certshelf_events_total 1234567\n" in text
    assert 'certshelf_runs_total{outcome="issued"} 1\n' in text
    assert f"certshelf_next_expiry_timestamp_seconds {int(NOW.timestamp())}\n" in text
    names = {line.split()[2] for line in text.splitlines() if line.startswith("# TYPE")}
    samples = [line for line in text.splitlines() if not line.startswith("#")]
    assert all(line.partition("{")[0].split()[0] in names for line in samples)
