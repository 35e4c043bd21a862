"""Asking every member what it serves, and judging the answers against the shelf."""

from __future__ import annotations

import asyncio
from collections.abc import Iterable, Iterator

from certshelf.doctor.bound import host_of
from certshelf.doctor.context import Context, FileFacts
from certshelf.doctor.handshake import ask_all
from certshelf.doctor.served import Expected, Seen, Served, Target, judge, target
from certshelf.farm import Kind, Member
from certshelf.finding import Severity
from certshelf.names import HostName

Place = tuple[str, str, int]


def ask_members(context: Context, hosts: Iterable[HostName] | None = None) -> tuple[Served, ...]:
    """One verdict for each member with an address and each name that the shelf has a file for.

    hosts: the names to ask for; None for what each member listens for, or all of the shelf's when
    that is not known, but not those whose file has an error of its own: no server can serve that
    one, and one finding says so. Runs its own event loop: call it from a thread without one.
    """
    wanted = tuple(hosts) if hosts is not None else None
    expected = _Expectations(context, with_bad=wanted is not None)
    targets = [
        target(member, name)
        for member in context.members
        if member.host and member.port
        for name in (wanted if wanted is not None else _names_of(member, context))
        if expected.of(name, member.kind) is not None
    ]
    seen, defaults = asyncio.run(_ask(targets))
    return tuple(_judged(one, expected, defaults, context) for one in seen)


def _names_of(member: Member, context: Context) -> list[HostName]:
    listed = context.bindings.get(member.name)
    if listed is None or any(not binding.host for binding in listed):
        return sorted(context.hosts_with_files())
    return list(dict.fromkeys(h for b in listed if (h := host_of(b)) is not None))


class _Expectations:
    """What the shelf holds for a name, by the lookup rule: exact, then wildcard.

    Of a name with two files IIS reads the Unicode one, every other server the one with A-labels.
    """

    def __init__(self, context: Context, *, with_bad: bool) -> None:
        self._by_host: dict[HostName, dict[str, FileFacts]] = {}
        for file in context.files or ():
            if file.host is not None:
                self._by_host.setdefault(file.host, {})[file.file] = file
        self._with_bad = with_bad

    def of(self, name: HostName, kind: Kind) -> Expected | None:
        for candidate in name.candidates():
            files = self._by_host.get(candidate)
            if files is not None:
                names = candidate.file_names()
                wanted = names[-1] if kind is Kind.IIS else names[0]
                return self._expected(files.get(wanted) or next(iter(files.values())))
        return None

    def _expected(self, file: FileFacts) -> Expected | None:
        if not self._with_bad and any(f.severity is Severity.ERROR for f in file.findings):
            return None
        return _expected(file)


def _expected(file: FileFacts) -> Expected | None:
    if not file.sha256 or file.not_before is None or file.not_after is None:
        return None
    return Expected(file.file, file.sha256, file.not_before, file.not_after, file.written_at)


async def _ask(targets: list[Target]) -> tuple[list[Seen], dict[Place, str]]:
    """What every target shows, and what each place shows to who gives no name."""
    nameless = {_place(t): t.nameless() for t in targets}
    defaults = {_place(seen.target): seen.sha256 async for seen in ask_all(nameless.values())}
    return [seen async for seen in ask_all(_in_turn(targets))], defaults


def _in_turn(targets: list[Target]) -> Iterator[Target]:
    """The targets so that all members are asked side by side, not one after the other."""
    by_place: dict[Place, list[Target]] = {}
    for one in targets:
        by_place.setdefault(_place(one), []).append(one)
    rows = list(by_place.values())
    for column in range(max(map(len, rows), default=0)):
        yield from (row[column] for row in rows if column < len(row))


def _place(one: Target) -> Place:
    return one.member, one.host, one.port


def _judged(
    seen: Seen, expected: _Expectations, defaults: dict[Place, str], context: Context
) -> Served:
    assert seen.target.name is not None  # noqa: S101  (only named targets were asked)
    wanted = expected.of(seen.target.name, seen.target.kind)
    assert wanted is not None  # noqa: S101  (only names with a file were asked)
    return judge(
        seen,
        wanted,
        context.now,
        default_sha256=defaults.get(_place(seen.target), ""),
        bindings=context.bindings.get(seen.target.member, ()),
    )
