"""One look at what is wrong, and one message by every configured way when it is time."""

from __future__ import annotations

import asyncio
import platform
from datetime import timedelta
from typing import TYPE_CHECKING

from certshelf.errors import CertshelfError
from certshelf.manage.credentials import note_use
from certshelf.manage.notify.base import Message, Way
from certshelf.manage.notify.digest import (
    Digest,
    after_failing,
    after_sending,
    decide,
    from_json,
    to_json,
)
from certshelf.manage.notify.problems import problems
from certshelf.manage.notify.ways import ways

if TYPE_CHECKING:
    from certshelf.manage.manager import Manager

_KEY = "notify-told"


async def tell_what_is_wrong(manager: Manager) -> str:
    """Send a digest if it is time: "sent", "failed", or "" when there was nothing to tell.

    It counts as sent when one way worked; each way that did not becomes an event.
    """
    chosen = ways(manager)
    digest = await asyncio.to_thread(_decide, manager) if chosen else None
    if digest is None:
        return ""
    message = Message(f"certshelf on {platform.node()}: {digest.title}", digest.text)
    errors = {way.name: await _send(way, message) for way in chosen}
    await asyncio.to_thread(_remember, manager, digest, errors)
    return "sent" if "" in errors.values() else "failed"


def _decide(manager: Manager) -> Digest | None:
    settings = manager.settings.notify
    now = manager.clock.now()
    with manager.database.read() as records:
        told = from_json(records.meta.get(_KEY))
        found = problems(records, settings, now)
    every = timedelta(minutes=settings.digest_minutes)
    return decide(found, told, now, every, timedelta(hours=settings.repeat_hours))


async def _send(way: Way, message: Message) -> str:
    """Why it could not be sent, "" when it was."""
    try:
        await way.send(message)
    except CertshelfError as error:
        return str(error)
    return ""


def _remember(manager: Manager, digest: Digest, errors: dict[str, str]) -> None:
    now = manager.clock.now()
    settings = manager.settings.notify
    secrets = (settings.smtp_credential, settings.webhook_credential, settings.apprise_credential)
    with manager.database.write() as records:
        for name in filter(None, secrets):
            note_use(records, name, "notification", now)
        told = from_json(records.meta.get(_KEY))
        for name, error in errors.items():
            if error:
                records.events.append(now, "notification.failed", name, {"error": error})
            else:
                records.events.append(now, "notification.sent", name, {"title": digest.title})
        worked = "" in errors.values()
        after = after_sending(told, digest, now) if worked else after_failing(told, now)
        records.meta.put(_KEY, to_json(after))
