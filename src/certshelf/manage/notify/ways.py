"""The ways to people that the settings name: mail, a webhook, apprise."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Protocol

from certshelf.errors import ConfigError
from certshelf.manage.credentials import read_credential, read_secret
from certshelf.secret import Secret

if TYPE_CHECKING:
    from certshelf.manage.manager import Manager


@dataclass(frozen=True, slots=True)
class Message:
    """One line of title, and a body of lines."""

    title: str
    text: str


class Way(Protocol):
    """One way to people; name: for events, without any secret."""

    @property
    def name(self) -> str:
        """Which way it is."""
        ...

    async def send(self, message: Message) -> None:
        """Send it. DeployError or CredentialError when it did not go; never with a secret."""
        ...


def ways(manager: Manager) -> list[Way]:
    """Those that the settings name. ConfigError for settings that do not fit."""
    from certshelf.manage.notify.mail import Mail
    from certshelf.manage.notify.others import Apprise
    from certshelf.manage.notify.webhook import Webhook

    found: list[Way] = []
    settings = manager.settings.notify
    if settings.smtp:
        login = None
        if name := settings.smtp_credential:
            login = read_credential(manager.home, manager.settings, name)
        found.append(Mail.of(settings, login))
    if name := settings.webhook_credential:
        allowed = frozenset(_words(settings.webhook_allow))
        found.append(Webhook(_secret(manager, name), allowed))
    if name := settings.apprise_credential:
        found.append(Apprise(_secret(manager, name)))
    return found


def _secret(manager: Manager, name: str) -> Secret:
    return read_secret(manager.home, manager.settings, name)


def _words(text: str) -> list[str]:
    return [word.strip().lower() for word in text.split(",") if word.strip()]


def addresses(text: str, setting: str) -> list[str]:
    """Mail addresses, separated by commas; ConfigError when one is none."""
    found = [word.strip() for word in text.split(",") if word.strip()]
    for address in found:
        local, at, domain = address.rpartition("@")
        if not (local and at and domain) or not address.isprintable() or " " in address:
            raise ConfigError(f"{setting}: no mail address: {address[:80]!r}", hint="a@example.com")
    if not found:
        raise ConfigError(f"{setting}: expected a mail address", hint="a@example.com")
    return found
