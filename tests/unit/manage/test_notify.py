"""When people are told, and what: digests, not floods; a webhook that reaches no inner machine."""

from __future__ import annotations

import asyncio
import itertools
import socket
from collections.abc import Iterable
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from aiohttp.abc import AbstractResolver
from hypothesis import given
from hypothesis import strategies as st

from certshelf.errors import ConfigError
from certshelf.manage.model import Credential
from certshelf.manage.notify.base import Message
from certshelf.manage.notify.digest import (
    Digest,
    Told,
    after_failing,
    after_sending,
    decide,
    from_json,
    to_json,
)
from certshelf.manage.notify.mail import Mail
from certshelf.manage.notify.problems import (
    Problem,
    expiring,
    found_by_the_doctor,
    old_credentials,
    silent,
)
from certshelf.manage.notify.webhook import Guard, Webhook, is_public
from certshelf.manage.service.checkup import Open
from certshelf.manage.settings import NotifySettings
from certshelf.secret import Secret

NOW = datetime(2030, 1, 1, tzinfo=UTC)
EVERY, REPEAT = timedelta(hours=1), timedelta(days=1)
A, B = Problem("a", "a is wrong"), Problem("b", "b is wrong")


def told_of(*problems: Problem, at: datetime = NOW) -> Told:
    return after_sending(Told(), Digest(new=problems), at)


def decided(problems: Iterable[Problem], told: Told, after: timedelta) -> Digest | None:
    return decide(list(problems), told, NOW + after, EVERY, REPEAT)


def test_the_first_problem_is_told_at_once_and_only_once() -> None:
    digest = decided([A], Told(), timedelta(0))
    assert digest == Digest(new=(A,))
    assert decided([A], told_of(A), timedelta(hours=23)) is None


def test_what_comes_soon_after_a_message_waits_for_the_next() -> None:
    assert decided([A, B], told_of(A), timedelta(minutes=59)) is None
    assert decided([A, B], told_of(A), timedelta(hours=1)) == Digest(new=(B,))


def test_what_stays_wrong_is_told_again_after_a_day() -> None:
    assert decided([A], told_of(A), timedelta(days=1)) == Digest(again=(A,))


def test_what_is_gone_is_told_once() -> None:
    digest = decided([], told_of(A), timedelta(hours=2))
    assert digest == Digest(gone=("a",))
    assert digest
    later = after_sending(told_of(A), digest, NOW + timedelta(hours=2))
    assert decided([], later, timedelta(days=9)) is None


def test_a_message_that_failed_is_tried_again_later_and_not_at_once() -> None:
    told = after_failing(Told(), NOW)
    assert decided([A], told, timedelta(minutes=59)) is None
    assert decided([A], told, timedelta(hours=1)) == Digest(new=(A,))


@given(st.lists(st.integers(0, 600), max_size=60), st.integers(1, 120))
def test_there_are_never_two_messages_within_the_time_of_one(
    minutes: list[int], every: int
) -> None:
    told, sent = Told(), []
    for minute in sorted(minutes):
        now = NOW + timedelta(minutes=minute)
        problems = [Problem(f"p{minute}", "new each time")]
        digest = decide(problems, told, now, timedelta(minutes=every), REPEAT)
        if digest:
            sent.append(now)
            told = after_sending(told, digest, now)
    gaps = [later - first for first, later in itertools.pairwise(sent)]
    assert all(gap >= timedelta(minutes=every) for gap in gaps)


def test_a_thousand_problems_are_one_message_of_bounded_size() -> None:
    digest = Digest(new=tuple(Problem(str(n), "x" * 5000) for n in range(1000)))
    assert digest.title == "1000 new"
    assert len(digest.text) < 60_000
    assert "- and 950 more" in digest.text


def test_a_line_of_a_digest_stays_one_line() -> None:
    text = Digest(new=(Problem("a", "evil\r\nBcc: x\x1b[2J"),)).text
    assert text == "New:\n- evil  Bcc: x [2J\n"


def test_what_was_told_is_kept_over_restarts() -> None:
    told = told_of(A, B)
    assert from_json(to_json(told)) == told
    assert from_json(None) == Told()


def test_a_shelf_that_nobody_writes_is_told_of() -> None:
    old = NOW - timedelta(days=40)
    assert [p.key for p in silent(old, 3, 30, NOW)] == ["shelf silent"]
    assert list(silent(old, 0, 30, NOW)) == list(silent(old, 3, 0, NOW)) == []
    assert list(silent(NOW, 3, 30, NOW)) == []


def test_a_credential_that_should_be_changed_is_told_of() -> None:
    old = Credential("login", changed_at=NOW - timedelta(days=91))
    new = Credential("token", changed_at=NOW)
    assert [p.key for p in old_credentials([old, new], 90, NOW)] == ["credential login"]
    assert list(old_credentials([old, new], 0, NOW)) == []


def test_a_credential_that_ends_is_told_of_before_and_after_also_without_the_doctor() -> None:
    soon = Credential("soon", expires_at=NOW + timedelta(days=20))
    over = Credential("over", expires_at=NOW)
    far = Credential("far", expires_at=NOW + timedelta(days=22))
    told = [p.text for p in expiring([soon, over, far, Credential("never")], NOW)]
    assert told == [
        "the credential soon expires 2030-01-21",
        "the credential over expired 2030-01-01",
    ]
    found = {"credential-expiring soon": Open("warning", "soon", "it expires")}
    assert list(found_by_the_doctor(found)) == []


# --- the webhook


@pytest.mark.parametrize(
    "address",
    [
        *("127.0.0.1", "::1", "169.254.169.254", "10.0.0.1", "192.168.1.1", "172.16.0.1"),
        *("100.64.0.1", "0.0.0.0", "224.0.0.1", "fe80::1%eth0", "fd00::1", "::ffff:127.0.0.1"),
        *("64:ff9b::7f00:1", "2002:7f00:1::", "2001:0:7f00:1::", "255.255.255.255", "::"),
    ],
)
def test_an_inner_address_is_not_public(address: str) -> None:
    assert not is_public(address)


def test_a_public_address_is_public() -> None:
    assert is_public("9.9.9.9")
    assert is_public("2620:fe::fe")
    assert is_public("64:ff9b::909:909")


@pytest.mark.parametrize(
    "url",
    [
        *("http://example.com/", "https://127.0.0.1/", "https://[::1]/", "ftp://example.com/"),
        *("https://169.254.169.254/latest", "https://[::ffff:10.0.0.1]/", "nothing", "https://"),
    ],
)
def test_a_webhook_to_an_inner_machine_is_refused_before_any_connection(url: str) -> None:
    with pytest.raises(ConfigError) as caught:
        asyncio.run(Webhook(Secret(url)).send(Message("t", "x")))
    assert "latest" not in str(caught.value)


class Lying(AbstractResolver):
    """A DNS that answers with a public address first and an inner one then."""

    def __init__(self, *answers: str) -> None:
        self.answers = list(answers)

    async def resolve(self, host: str, port: int = 0, family: Any = socket.AF_INET) -> list[Any]:
        return [{"host": answer} for answer in self.answers]

    async def close(self) -> None:
        pass


def test_a_name_with_one_inner_address_among_public_ones_is_refused() -> None:
    guard = Guard(frozenset(), Lying("9.9.9.9", "10.0.0.1"))
    with pytest.raises(OSError, match="not a public address"):
        asyncio.run(guard.resolve("rebind.example", 443))
    allowed = Guard(frozenset({"rebind.example"}), Lying("10.0.0.1"))
    assert asyncio.run(allowed.resolve("rebind.example", 443))


# --- mail


def test_mail_without_protection_is_for_this_machine_only() -> None:
    here = NotifySettings(
        smtp="127.0.0.1:25", smtp_security="none", mail_from="a@b.example", mail_to="c@d.example"
    )
    assert Mail.of(here, None).port == 25
    with pytest.raises(ConfigError, match="this machine only"):
        Mail.of(
            NotifySettings(
                smtp="mail.example.com",
                smtp_security="none",
                mail_from="a@b.example",
                mail_to="c@d.example",
            ),
            None,
        )


@pytest.mark.parametrize("address", ["", "nobody", "a@b\r\nBcc: x@y", "a b@c.example"])
def test_what_is_no_mail_address_is_refused(address: str) -> None:
    with pytest.raises(ConfigError, match=r"notify\.mail_to"):
        Mail.of(NotifySettings(smtp="m.example", mail_from="a@b.c", mail_to=address), None)
