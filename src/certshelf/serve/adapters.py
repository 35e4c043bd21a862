"""The servers' adapters that one reader runs, as its settings ask for them."""

from __future__ import annotations

import os
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from pathlib import Path

from certshelf.clock import SYSTEM
from certshelf.errors import ConfigError, StoreError
from certshelf.serve import apache, path_secret, peers, traefik
from certshelf.serve.apache import ApacheReloader
from certshelf.serve.batched import Batched
from certshelf.serve.challenges import ChallengeEndpoint
from certshelf.serve.haproxy import HaproxyPusher
from certshelf.serve.haproxy_api import RuntimeApi
from certshelf.serve.http import PemEndpoint
from certshelf.serve.live import LiveSource
from certshelf.serve.log import ReaderLog
from certshelf.serve.mirror import Mirror
from certshelf.serve.mirror_files import MirrorFolder, Rights
from certshelf.serve.mirror_pfx import PfxMirror
from certshelf.serve.pems import PemCache
from certshelf.serve.reader_settings import UNIX, ReaderSettings
from certshelf.serve.setup import RUN, joined, split_address
from certshelf.serve.traefik import TraefikFile
from certshelf.store.folder import FolderStore


@dataclass(slots=True)
class Adapters:
    """What runs. offers: `kind=address` of each, for the ready line."""

    offers: list[str] = field(default_factory=list)
    _closers: list[Callable[[], Awaitable[None] | None]] = field(default_factory=list)

    def add(self, offer: str, close: Callable[[], Awaitable[None] | None]) -> None:
        """One more adapter that runs."""
        self.offers.append(offer)
        self._closers.append(close)

    async def close(self) -> None:
        """Stop all, the last one first."""
        while self._closers:
            done = self._closers.pop()()
            if done is not None:
                await done
        self.offers.clear()


async def start_adapters(
    settings: ReaderSettings, source: LiveSource, log: ReaderLog, into: Adapters | None = None
) -> Adapters:
    """Start everything that the settings ask for; ConfigError, and nothing runs, when one cannot.

    into: closed adapters to begin anew.

    The sockets come first: a server that asks is answered at once, whole mirrors fill behind them.
    """
    adapters = into or Adapters()
    pems = PemCache()
    try:
        mirror = _mirror(settings, source, pems, log)
        if settings.http:
            await _start_http(adapters, settings, source, pems, log, mirror)
        for address in settings.challenges:
            await _start_challenges(adapters, settings, address)
        if settings.envoy is not None:
            await _start_envoy(adapters, settings, source, pems, log)
        if mirror is not None:
            _start_mirror(adapters, settings, mirror, log)
        if settings.mirror_pfx is not None:
            _start_mirror_pfx(adapters, settings, source, log)
    except BaseException:
        await adapters.close()
        raise
    return adapters


async def _start_http(
    adapters: Adapters,
    settings: ReaderSettings,
    source: LiveSource,
    pems: PemCache,
    log: ReaderLog,
    mirror: Mirror | None,
) -> None:
    endpoint = PemEndpoint(
        source,
        pems,
        log,
        on_handout=mirror.want if mirror and settings.mirror_lazily else lambda found: None,
    )
    adapters.add("http", endpoint.close)
    adapters.offers.pop()
    uids = peers.allowed_uids(settings.allow_users)
    for address in settings.http:
        if address.startswith(UNIX):
            await endpoint.listen_unix(Path(address.removeprefix(UNIX)), uids)
            adapters.offers.append(f"http={address}")
            continue
        file = _path_file(settings)
        host, port = split_address(address, any_port=True)
        bound = await endpoint.listen_tcp(host, port, path_secret.read_or_make(file))
        adapters.offers += [f"http={joined(host, bound)}", f"http-path-file={file}"]


async def _start_challenges(adapters: Adapters, settings: ReaderSettings, address: str) -> None:
    endpoint = ChallengeEndpoint(settings.challenge_thumbprint)
    host, port = split_address(address, any_port=True)
    bound = await endpoint.listen(host, port)
    adapters.add(f"challenges={joined(host, bound)}", endpoint.close)


async def _start_envoy(
    adapters: Adapters,
    settings: ReaderSettings,
    source: LiveSource,
    pems: PemCache,
    log: ReaderLog,
) -> None:
    from certshelf.serve.envoy import SecretServer

    assert settings.envoy is not None  # noqa: S101  the caller looked
    server = SecretServer(source, pems, log)
    uids = peers.allowed_uids(settings.allow_users)
    await server.listen(settings.envoy, uids)
    adapters.add(f"envoy=unix:{settings.envoy}", server.close)


def _start_mirror_pfx(
    adapters: Adapters, settings: ReaderSettings, source: LiveSource, log: ReaderLog
) -> None:
    assert settings.mirror_pfx is not None  # noqa: S101  the caller looked
    try:
        settings.mirror_pfx.mkdir(parents=True, exist_ok=True)
        target = FolderStore(settings.mirror_pfx)
        mirror = PfxMirror(target, source, log, SYSTEM, settings.mirror_grace_s)
        mirror.start()
    except OSError as error:
        raise ConfigError(f"cannot make {settings.mirror_pfx}: {error.strerror}") from error
    except StoreError as error:
        raise ConfigError(f"cannot use {settings.mirror_pfx}: {error}", hint=error.hint) from error
    adapters.add(f"mirror-pfx={settings.mirror_pfx}", mirror.close)


def _start_mirror(
    adapters: Adapters, settings: ReaderSettings, mirror: Mirror, log: ReaderLog
) -> None:
    """The mirror's folder first, then those who follow it, then its work."""
    mirror.prepare()
    for path in settings.haproxy:
        pusher = HaproxyPusher(RuntimeApi(path), mirror.folder, mirror.held, log, SYSTEM)
        mirror.follow(pusher.changed)
        pusher.start()
        adapters.add(f"haproxy=unix:{path}", pusher.close)
    if settings.traefik is not None:
        file = TraefikFile(settings.traefik, mirror.folder, mirror.held, log, SYSTEM)
        file.prepare()
        batched = Batched(file.write, traefik.PAUSE_SECONDS, SYSTEM, log, "traefik")
        _start_batched(adapters, mirror, batched)
        adapters.offers.append(f"traefik={settings.traefik}")
    if settings.apache_reload:
        reloader = ApacheReloader(settings.apache_reload, mirror.folder, mirror.held, log)
        reloader.prepare()
        batched = Batched(reloader.reload, apache.PAUSE_SECONDS, SYSTEM, log, "apache")
        _start_batched(adapters, mirror, batched)
        adapters.offers.append(f"apache={mirror.folder.path / apache.HOSTS_FILE}")
    mirror.start()
    adapters.add(f"mirror={settings.mirror}", mirror.close)


def _start_batched(adapters: Adapters, mirror: Mirror, batched: Batched) -> None:
    mirror.follow(batched.changed)
    batched.start()
    adapters.add("", batched.close)
    adapters.offers.pop()


def _mirror(
    settings: ReaderSettings, source: LiveSource, pems: PemCache, log: ReaderLog
) -> Mirror | None:
    if settings.mirror is None:
        return None
    user, _, group = settings.mirror_owner.partition(":")
    rights = Rights(
        settings.mirror_mode,
        peers.user_ids(user)[0] if user else -1,
        peers.group_id(group) if group else -1,
    )
    return Mirror(
        MirrorFolder(settings.mirror, rights),
        source,
        pems,
        log,
        SYSTEM,
        whole=not settings.mirror_lazily,
        grace_s=settings.mirror_grace_s,
    )


def _path_file(settings: ReaderSettings) -> Path:
    """Where the secret path lies: as told, in the cache, or in this user's runtime folder."""
    if settings.http_path_file is not None:
        return settings.http_path_file
    if settings.cache is not None:
        settings.cache.mkdir(mode=0o700, parents=True, exist_ok=True)
        return settings.cache / "http-path"
    runtime = os.environ.get("XDG_RUNTIME_DIR", "")
    if hasattr(os, "geteuid") and os.geteuid() == 0:
        folder = RUN
    elif runtime:
        folder = Path(runtime) / "certshelf"
    else:
        raise ConfigError(
            "who may ask over TCP is decided by a secret path, which needs a file",
            hint="give --http-path-file FILE; it is made when it is not there",
        )
    folder.mkdir(mode=0o750, parents=True, exist_ok=True)
    return folder / "http-path"
