"""What /metrics tells, in Prometheus' text format."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from datetime import datetime

TEXT = "text/plain; version=0.0.4; charset=utf-8"
"""Source: prometheus.io, exposition formats."""


@dataclass
class Counters:
    """What the process has done since it began."""

    runs: Counter[str] = field(default_factory=Counter)
    ticks: int = 0
    messages: Counter[str] = field(default_factory=Counter)
    findings: dict[str, int] = field(default_factory=dict)

    def run(self, outcome: str) -> None:
        """A certificate was advanced, with that outcome."""
        self.runs[outcome] += 1


@dataclass(frozen=True, slots=True)
class Stock:
    """What the records hold now. states: certificates by state."""

    states: Mapping[str, int]
    due: int = 0
    open_orders: int = 0
    next_expiry: datetime | None = None
    events: int = 0


def render(stock: Stock, counters: Counters, last_tick: int) -> str:
    """The whole text. last_tick: seconds since the epoch."""
    lines: list[str] = []

    def say(name: str, kind: str, what: str, values: Iterable[tuple[str, int]]) -> None:
        lines.append(f"# HELP certshelf_{name} {what}")
        lines.append(f"# TYPE certshelf_{name} {kind}")
        lines.extend(f"certshelf_{name}{labels} {value}" for labels, value in values)

    def by(label: str, counts: Mapping[str, int]) -> list[tuple[str, int]]:
        return [(f'{{{label}="{key}"}}', n) for key, n in sorted(counts.items())]

    say("certificates", "gauge", "Managed certificates by state.", by("state", stock.states))
    say("certificates_due", "gauge", "Certificates to renew now.", [("", stock.due)])
    say("orders_open", "gauge", "Orders under way or waiting.", [("", stock.open_orders)])
    if stock.next_expiry is not None:
        moment = int(stock.next_expiry.timestamp())
        say("next_expiry_timestamp_seconds", "gauge", "The earliest not-after.", [("", moment)])
    say("events_total", "counter", "Entries of the event log.", [("", stock.events)])
    say("runs_total", "counter", "Certificates advanced.", by("outcome", counters.runs))
    say("ticks_total", "counter", "Looks for what is due.", [("", counters.ticks)])
    say("last_tick_timestamp_seconds", "gauge", "When it last looked.", [("", last_tick)])
    say("doctor_findings", "gauge", "What the doctor found.", by("severity", counters.findings))
    say("notifications_total", "counter", "Digests.", by("outcome", counters.messages))
    return "\n".join(lines) + "\n"
