"""What every way to people shares: the message, how it is sent, and mail addresses."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol

from certshelf.errors import ConfigError


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
