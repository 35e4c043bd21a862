"""What crashed orders left behind is taken away, and a CA that hangs is waited for once."""

from __future__ import annotations

import asyncio
from pathlib import Path

import pytest
from tests.support.homes import manager_in
from tests.support.records import certificate

from certshelf.errors import IssuerUnreachable
from certshelf.manage.acme_signer import AcmeSigner
from certshelf.manage.certificates import add_certificate
from certshelf.manage.claims import tidy_up
from certshelf.manage.engine import Engine
from certshelf.manage.issuers import AcmeWish, add_acme
from certshelf.manage.model import ChallengeRecord, Step


def test_a_ca_that_gives_no_answer_is_asked_once_for_all_that_its_orders_left(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked = []

    async def acme(engine: Engine, issuer: str) -> AcmeSigner:
        asked.append(issuer)
        raise IssuerUnreachable("the CA gives no answer")

    monkeypatch.setattr(Engine, "acme", acme)

    async def story() -> None:
        async with Engine(manager) as engine:
            await tidy_up(engine)

    with manager_in(tmp_path) as manager:
        with manager.database.write() as records:
            for name in ("down", "other"):
                wish = AcmeWish(f"https://{name}.invalid/dir")
                add_acme(records, name, wish, manager.clock)
        for name, issuer in (("a", "down"), ("b", "down"), ("c", "other")):
            added = add_certificate(manager, certificate(name, issuer=issuer))
            with manager.database.write() as records:
                now = manager.clock.now()
                order = records.orders.start(added.id, issuer, now)
                left = ChallengeRecord(order.id, f"{name}.example.test", "dns-01", "token")
                records.challenges.put(left)
                records.orders.checkpoint(order, step=Step.FAILED, finished_at=now)
        asyncio.run(story())
    assert sorted(asked) == ["down", "other"]
