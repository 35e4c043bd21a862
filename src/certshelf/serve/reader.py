"""certshelf-reader: the process on each web server that hands the shelf's certificates to it.

    certshelf-reader --shelf URL --password-file FILE --http unix:/run/certshelf/http.sock

Prints one ready line when it listens, logs JSON lines to stderr, reads its settings again on
SIGHUP, and stops on SIGTERM. The shelf may be unreachable when it starts.
"""

from __future__ import annotations

import asyncio
import contextlib
import signal
import sys
from collections.abc import Callable, Sequence
from functools import partial
from typing import Protocol

from certshelf.clock import SYSTEM
from certshelf.errors import CertshelfError, ConfigError
from certshelf.printable import one_line
from certshelf.resolve.disk import DiskCache
from certshelf.resolve.refusals import Told
from certshelf.resolve.resolver import Resolver
from certshelf.resolve.slow import SlowLane
from certshelf.serve.adapters import Adapters, start_adapters
from certshelf.serve.live import LiveSource
from certshelf.serve.log import ReaderLog
from certshelf.serve.reader_settings import (
    ReaderSettings,
    read_manifest_key,
    read_names,
    read_old_passwords,
    read_password,
    read_settings,
)
from certshelf.shelf.shelf import Shelf
from certshelf.store.base import StoreCredentials
from certshelf.store.url import open_store

PROGRAM = "certshelf-reader"
_CHECK_SECONDS = 30.0
_CHECKED_NAMES = 50
_SWAP_SECONDS = 5.0


class Companion(Protocol):
    """A process that lives as long as the reader."""

    async def start(self) -> str:
        """Start it; what it offers, for the ready line."""
        ...

    async def ended(self) -> None:
        """Wait until it ended by itself."""
        ...

    async def close(self) -> None:
        """End it."""
        ...


def run_reader(words: Sequence[str], companion: Companion | None = None) -> int:
    """Run until told to stop or the companion ends. Raises ConfigError before it is ready."""
    settings, only_check = read_settings(PROGRAM, words)
    if only_check:
        return _check(settings)
    if not settings.serves:
        raise ConfigError(
            "nothing is said about whom to serve",
            hint="give --http, --envoy, --mirror, --mirror-pfx or --challenges; see --help",
        )
    with asyncio.Runner(loop_factory=_new_loop) as runner:
        return runner.run(_Reader(words, settings, companion).run())


def _new_loop() -> asyncio.AbstractEventLoop:
    """A loop that tells when a socket can be read: Windows' usual one does not."""
    return asyncio.SelectorEventLoop() if sys.platform == "win32" else asyncio.new_event_loop()


def open_resolver(settings: ReaderSettings, on_refused: Told = lambda file, why: None) -> Resolver:
    """A resolver that is not started. Reads the files that the settings name; no store is asked."""
    credentials = None
    if settings.store_username:
        password = read_password(settings.store_password_file)
        assert password is not None  # noqa: S101  read_settings demands the file
        credentials = StoreCredentials(settings.store_username, password)
    shelf = Shelf(
        open_store(settings.shelf, credentials=credentials),
        read_password(settings.password_file),
        old_passwords=read_old_passwords(settings.password_file),
        public_key=read_manifest_key(settings.manifest_key),
    )
    return Resolver(
        shelf,
        disk=DiskCache(settings.cache) if settings.cache else None,
        poll_seconds=settings.poll_s,
        allow=read_names(settings.names),
        lane=SlowLane(),
        on_refused=on_refused,
    )


class _Reader:
    """One run of the process."""

    def __init__(
        self, words: Sequence[str], settings: ReaderSettings, companion: Companion | None
    ) -> None:
        self._companion = companion
        self._words = words
        self._settings = settings
        self._log = ReaderLog(sys.stderr, SYSTEM)
        self._stop = asyncio.Event()
        self._again = asyncio.Event()

    async def run(self) -> int:
        source = LiveSource(open_resolver(self._settings, self._refused).start())
        adapters = Adapters()
        try:
            adapters = await start_adapters(self._settings, source, self._log)
            self._listen_to_signals()
            offers = [await self._companion.start()] if self._companion else []
            self._say_ready([*adapters.offers, *offers])
            ended = await self._until_stopped(source, adapters)
        finally:
            if self._companion is not None:
                await self._companion.close()
            await adapters.close()
            source.resolver.close()
        self._log.event("stopped")
        return 1 if ended else 0

    def _refused(self, file: str, why: str) -> None:
        self._log.event("file-refused", file=file, reason=why)

    async def _until_stopped(self, source: LiveSource, adapters: Adapters) -> bool:
        """Serve, reading the settings again when told to; whether the companion ended by itself."""
        ended = asyncio.create_task(self._companion.ended()) if self._companion else None
        try:
            while not self._stop.is_set():
                waits = {asyncio.create_task(e.wait()) for e in (self._stop, self._again)}
                await asyncio.wait(
                    waits | ({ended} if ended else set()), return_when=asyncio.FIRST_COMPLETED
                )
                for task in waits:
                    task.cancel()
                if ended is not None and ended.done():
                    self._log.event("companion-ended")
                    return True
                if self._again.is_set():
                    self._again.clear()
                    await self._read_again(source, adapters)
            return False
        finally:
            if ended is not None:
                ended.cancel()

    def _say_ready(self, offers: list[str]) -> None:
        print(" ".join(["ready", *offers]) + "\n", end="", flush=True)  # one write, one line
        self._log.event("ready", shelf=self._settings.shelf, offers=" ".join(offers))

    async def _read_again(self, source: LiveSource, adapters: Adapters) -> None:
        """Settings that cannot be used change nothing. The adapters stay when theirs are as before.

        The new resolver answers when its index is complete, or after some seconds without.
        """
        try:
            settings, _ = read_settings(PROGRAM, self._words)
            resolver = open_resolver(settings, self._refused)
        except (CertshelfError, SystemExit) as error:
            self._log.event("settings-refused", reason=str(error))
            return
        resolver.take_over(source.resolver)
        resolver.start()
        await asyncio.to_thread(resolver.wait_ready, _SWAP_SECONDS)
        source.swap(resolver).close()
        before, self._settings = self._settings, settings
        if _adapter_part(before) != _adapter_part(settings):
            await adapters.close()
            try:
                await start_adapters(settings, source, self._log, adapters)
            except CertshelfError as error:
                self._log.event("settings-refused", reason=str(error), hint=error.hint)
                self._settings = before
                await start_adapters(before, source, self._log, adapters)
        self._log.event("settings-read", offers=" ".join(adapters.offers))

    def _listen_to_signals(self) -> None:
        loop = asyncio.get_running_loop()
        handlers = dict.fromkeys(("SIGTERM", "SIGINT", "SIGBREAK"), self._stop.set)
        handlers["SIGHUP"] = self._again.set
        for name, handler in handlers.items():
            number = getattr(signal, name, None)
            if number is None:
                continue
            try:
                loop.add_signal_handler(number, handler)
            except NotImplementedError:  # Windows: only in the main thread, between two events
                with contextlib.suppress(ValueError):
                    signal.signal(number, partial(_on_signal, loop, handler))


def _on_signal(
    loop: asyncio.AbstractEventLoop, handler: Callable[[], None], _number: int, _frame: object
) -> None:
    loop.call_soon_threadsafe(handler)


def _adapter_part(settings: ReaderSettings) -> tuple[object, ...]:
    """What the adapters were started with; the rest is the resolver's."""
    resolver_only = {"shelf", "password_file", "store_username", "store_password_file", "names"}
    resolver_only |= {"manifest_key", "poll_s"}
    fields = ReaderSettings.__dataclass_fields__
    return tuple(getattr(settings, name) for name in fields if name not in resolver_only)


def _check(settings: ReaderSettings) -> int:
    """Open the shelf and some of its files, and say what is wrong."""
    resolver = open_resolver(settings).start()
    try:
        if not resolver.wait_ready(_CHECK_SECONDS):
            error = resolver.state().last_store_error or "no answer"
            print(f"error: cannot list the shelf: {one_line(error)}", file=sys.stderr)
            return 1
        hosts = list(resolver.hosts())
        tried = hosts[:_CHECKED_NAMES]
        good = sum(resolver.exact(host) is not None for host in tried)
        refused = resolver.state().refused
    finally:
        resolver.close()
    for file, why in refused.items():
        print(f"refused: {one_line(f'{file}: {why}')}", file=sys.stderr)
    print(f"{len(hosts)} names on the shelf; {good} of the {len(tried)} tried can be served")
    return 0 if good == len(tried) else 1
