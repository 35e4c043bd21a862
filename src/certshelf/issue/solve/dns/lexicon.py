"""TXT records at about ninety DNS providers, by the library dns-lexicon (extra `dns-more`)."""

from __future__ import annotations

import asyncio
import importlib
import re
from collections.abc import Callable, Mapping
from typing import Any

from certshelf.errors import ChallengeFailed, ConfigError
from certshelf.secret import Secret

_PROVIDER = re.compile(r"[a-z][a-z0-9]{1,40}", re.ASCII)
_TTL_S = 60


class Lexicon:
    """Writes TXT records of one zone at one provider; see TxtWriter.

    provider: lexicon's name for it (`cloudflare`, `route53`, ...). options: that provider's
    options without dashes in front (`auth_token`, ...), each a Secret.
    """

    def __init__(self, provider: str, zone: str, options: Mapping[str, Secret]) -> None:
        if not _PROVIDER.fullmatch(provider):
            raise ConfigError(f"no DNS provider is called {provider!r}")
        self._provider = provider
        self._zone = zone.rstrip(".")
        self._options = dict(options)

    async def add(self, name: str, value: str) -> None:
        """See TxtWriter: lexicon creates no record that is there already."""
        await self._run(name, lambda p: p.create_record("TXT", name + ".", value))

    async def remove(self, name: str, value: str) -> None:
        """See TxtWriter."""
        await self._run(name, lambda p: p.delete_record(None, "TXT", name + ".", value))

    async def _run(self, name: str, call: Callable[[Any], object]) -> None:
        await asyncio.to_thread(self._call, name, call)

    def _call(self, name: str, call: Callable[[Any], object]) -> None:
        provider = self._open()
        try:
            provider.authenticate()
            done = call(provider)
        # each of the ninety providers raises what its own HTTP library does
        except Exception as error:  # noqa: BLE001
            raise ChallengeFailed(
                f"the DNS provider {self._provider} refuses to change {name}: "
                f"{type(error).__name__}",  # never its text: some put tokens into URLs
                hint="check the zone and the credential's rights",
            ) from None
        if done is False:
            raise ChallengeFailed(f"the DNS provider {self._provider} did not change {name}")

    def _open(self) -> Any:
        """The provider object itself.

        Not lexicon.Client: that guesses the zone with the public suffix list, which it downloads.
        """
        try:
            config = importlib.import_module("lexicon.config").ConfigResolver()
            module = importlib.import_module(f"lexicon._private.providers.{self._provider}")
        except ImportError as error:
            raise ConfigError(
                f"the DNS provider {self._provider!r} is not available",
                hint="pip install 'certshelf[dns-more]'; the provider may need its own library",
            ) from error
        options = {name: secret.reveal() for name, secret in self._options.items()}
        config = config.with_dict(
            {
                "provider_name": self._provider,
                "domain": self._zone,
                "ttl": _TTL_S,
                self._provider: options,
            }
        )
        return module.Provider(config)
