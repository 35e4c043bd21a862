"""All other ways, by the library apprise: chat services, SMS, push."""

from __future__ import annotations

import asyncio
import importlib
from dataclasses import dataclass, field

from certshelf.errors import ConfigError, DeployError
from certshelf.manage.notify.base import Message
from certshelf.secret import Secret


@dataclass(frozen=True, slots=True)
class Apprise:
    """See Way. url: apprise's own form, which holds tokens."""

    url: Secret = field(repr=False)
    name: str = "apprise"

    async def send(self, message: Message) -> None:
        """See Way."""
        try:
            apprise = importlib.import_module("apprise")
        except ModuleNotFoundError as error:
            raise ConfigError(
                "apprise is missing", hint="pip install 'certshelf[notify]'"
            ) from error
        sender = apprise.Apprise()
        if not sender.add(self.url.reveal()):
            raise ConfigError("the credential of apprise holds no URL that it knows")
        done = await asyncio.to_thread(sender.notify, body=message.text, title=message.title)
        if not done:
            raise DeployError("apprise could not send the message")
