"""`certshelf simulate`: will a year of renewals keep up with limits, outages and failures?"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

import click

from certshelf.cli import output

if TYPE_CHECKING:
    from certshelf.manage.simulate import Outage

_OUTAGE = re.compile(r"([0-9.]+)h@([0-9.]+)d", re.ASCII)


@click.command()
@click.option("--names", type=click.IntRange(1, 10_000_000), required=True, help="How many.")
@click.option("--lifetime", type=click.FloatRange(1, 400), default=90, help="Days.  [90]")
@click.option("--days", type=click.IntRange(1, 3660), default=365, help="How long.  [365]")
@click.option("--no-ari", is_flag=True, help="Renewals count against the limit of new orders.")
@click.option("--accounts", type=click.IntRange(1), default=1, help="Accounts at the CA.  [1]")
@click.option("--managers", type=click.IntRange(1), default=1, help="Managers at work.  [1]")
@click.option("--per-minute", type=click.FloatRange(1), default=500, help="Of a manager.  [500]")
@click.option("--failure-rate", type=click.FloatRange(0, 0.9), default=0.01, help="[0.01]")
@click.option("--outage", multiple=True, help="HOURSh@DAYd: 48h@100d; repeatable.")
@click.option("--at-once", is_flag=True, help="All are due at the start: a mass re-issue.")
@output.as_json
def command(
    names: int,
    lifetime: float,
    days: int,
    no_ari: bool,
    accounts: int,
    managers: int,
    per_minute: float,
    failure_rate: float,
    outage: tuple[str, ...],
    at_once: bool,
    as_json: bool,
) -> int:
    """Simulate the renewals of many names by the pipeline's own rules; asks no CA."""
    from dataclasses import asdict

    from certshelf.manage.simulate import Scenario, accounts_needed, simulate

    scenario = Scenario(
        names=names,
        lifetime_days=lifetime,
        days=days,
        ari=not no_ari,
        accounts=accounts,
        managers=managers,
        at_once=at_once,
        failure_rate=failure_rate,
        per_minute=per_minute,
        outages=tuple(map(_outage, outage)),
    )
    outcome = simulate(scenario)
    needed = accounts_needed(scenario) if outcome.expired else accounts
    if as_json:
        output.print_json({**asdict(outcome), "accounts_needed": needed})
        return 1 if outcome.expired else 0
    say = output.bad if outcome.expired else output.ok
    say(f"{outcome.expired} of {names} certificates expired in {days} days")
    how = "each certificate" if outcome.exact else "cohorts by the hour"
    for what, value in (
        ("orders asked of the CA", outcome.orders),
        ("of them failed", outcome.failed),
        ("most orders in an hour", outcome.most_orders_an_hour),
        ("hours in which limits held some back", outcome.held_hours),
        ("least time left at a renewal, hours", outcome.least_left_h),
        ("accounts needed", needed),
        ("simulated by", how),
    ):
        output.say(f"   {what:<38} {value}")
    return 1 if outcome.expired else 0


def _outage(text: str) -> Outage:
    from certshelf.manage.simulate import Outage

    found = _OUTAGE.fullmatch(text)
    if found is None:
        raise click.UsageError(f"--outage takes HOURSh@DAYd, not {text!r}")
    return Outage(start=float(found[2]) * 24, hours=float(found[1]))
