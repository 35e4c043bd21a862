"""The ways to people that the settings name: mail, a webhook, apprise."""

from __future__ import annotations

from typing import TYPE_CHECKING

from certshelf.manage.credentials import read_credential, read_secret
from certshelf.manage.notify.base import Way
from certshelf.secret import Secret

if TYPE_CHECKING:
    from certshelf.manage.manager import Manager


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
