"""Fail-over between CAs: the next one is asked when one is down or limits us, and only then."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Sequence
from typing import TypeVar

from certshelf.errors import ConfigError, IssueError, IssuerUnreachable, RateLimited

I = TypeVar("I")  # noqa: E741 - an issuer
R = TypeVar("R")


async def first_able(
    issuers: Sequence[I],
    attempt: Callable[[I], Awaitable[R]],
    *,
    passed_over: Callable[[I, IssueError], None] = lambda issuer, error: None,
) -> R:
    """What attempt gives with the first issuer that can, in the order given.

    Only IssuerUnreachable and RateLimited lead to the next: a name that cannot be proved, or a
    request that a CA refuses, would burn the limits of the next CA as well. passed_over is told
    of each issuer that could not. When none can, the error with the earliest retry_at is raised.
    """
    errors: list[IssueError] = []
    for issuer in issuers:
        try:
            return await attempt(issuer)
        except (IssuerUnreachable, RateLimited) as error:
            errors.append(error)
            passed_over(issuer, error)
    if not errors:
        raise ConfigError("no issuer is given", hint="add one: certshelf issuer add")
    raise min(errors, key=lambda e: (e.retry_at is None, e.retry_at and e.retry_at.timestamp()))
