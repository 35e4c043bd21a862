"""configure(): the text that makes a web server take its certificates from the reader."""

from __future__ import annotations

import argparse
from collections.abc import Callable, Sequence
from pathlib import Path

from certshelf.errors import ConfigError, NameInvalid
from certshelf.names import HostName
from certshelf.serve import apache, caddy, envoy_config, haproxy, nginx, path_secret, traefik
from certshelf.serve.mirror_files import MirrorFolder, Rights
from certshelf.serve.reader_settings import UNIX
from certshelf.serve.setup import Setup
from certshelf.store.url import open_store

TEXTS: dict[str, Callable[[Setup], str]] = {
    "apache": apache.macro,
    "caddy": caddy.caddyfile,
    "envoy": envoy_config.bootstrap,
    "haproxy": haproxy.haproxy_cfg,
    "nginx": nginx.plain,
    "nginx-lua": nginx.lua,
    "traefik": traefik.static_and_routes,
}


def configure(kind: str, setup: Setup) -> str:
    """The whole configuration for one kind of server; ConfigError for a kind that is not there."""
    text = TEXTS.get(kind)
    if text is None:
        raise ConfigError(f"no server of the kind {kind!r}", hint=f"one of: {', '.join(TEXTS)}")
    return text(setup)


def main(argv: Sequence[str]) -> int:
    """Print the configuration of one kind of server; the flags are those of the reader."""
    flags = argparse.ArgumentParser(
        prog="certshelf configure",
        description="Print what makes a web server take its certificates from the reader.",
    )
    add, there = flags.add_argument, Setup()
    add("kind", choices=sorted(TEXTS))
    add("--shelf", metavar="URL", help="plain nginx needs its wildcards; default: the mirror's")
    add("--mirror", type=Path, default=there.mirror, metavar="DIR")
    add("--http", default=f"{UNIX}{there.http_socket}", metavar="ADDRESS")
    add("--http-path-file", type=Path, metavar="FILE", help="needed for Caddy")
    add("--envoy", default=f"{UNIX}{there.sds_socket}", metavar="unix:PATH")
    add("--haproxy", default=f"{UNIX}{there.haproxy_socket}", metavar="unix:PATH")
    add("--listen", default=there.listen, metavar="[HOST]:PORT")
    add("--to", default=there.upstream, metavar="HOST:PORT", help="the plain HTTP server behind it")
    told = flags.parse_args(argv)
    is_unix = told.http.startswith(UNIX)
    setup = Setup(
        mirror=told.mirror.absolute(),
        http_socket=Path(told.http.removeprefix(UNIX)) if is_unix else there.http_socket,
        http_url="" if is_unix else _http_url(told.http, told.http_path_file),
        sds_socket=Path(told.envoy.removeprefix(UNIX)),
        haproxy_socket=Path(told.haproxy.removeprefix(UNIX)),
        listen=told.listen,
        upstream=told.to,
        hosts=_hosts_on(told.shelf) if told.shelf else _hosts_in(told.mirror),
    )
    print(configure(told.kind, setup), end="")
    return 0


def _http_url(address: str, path_file: Path | None) -> str:
    if path_file is None:
        raise ConfigError(
            f"the secret path of {address} is not known", hint="give --http-path-file FILE"
        )
    return f"http://{address}/{path_secret.read(path_file).reveal()}"


def _hosts_in(mirror: Path) -> tuple[HostName, ...]:
    """The names of a mirror that is there: for a shelf that only the reader can open."""
    return tuple(sorted(MirrorFolder(mirror, Rights()).hosts()))


def _hosts_on(shelf: str) -> tuple[HostName, ...]:
    """The names on a shelf, by its file names alone: that needs no password."""
    hosts = set()
    for entry in open_store(shelf).list():
        try:
            hosts.add(HostName.from_file_name(entry.key))
        except NameInvalid:
            continue
    return tuple(sorted(hosts))
