"""A whole farm on loopback: a manager, a CA, a shelf on a Samba share, and servers of all kinds."""

from __future__ import annotations

import io
import json
import os
import socket
import ssl
import time
from collections.abc import Callable
from contextlib import ExitStack, redirect_stderr, redirect_stdout
from dataclasses import replace
from pathlib import Path
from typing import Any

from certshelf.bundle.model import Bundle
from certshelf.cli.main import run
from certshelf.doctor.base import NOT_ASKED
from certshelf.manage.manager import open_manager
from certshelf.manage.model import IssuerRecord
from certshelf.names import HostName
from certshelf.resolve.resolver import Resolver
from certshelf.secret import Secret
from certshelf.serve.python import server_context
from certshelf.shelf.access import grant
from certshelf.shelf.shelf import Shelf
from certshelf.store.smb import SmbStore
from tests.support.caddy import Caddy
from tests.support.envoy import Envoy
from tests.support.haproxy import Haproxy
from tests.support.nginx import PlainNginx
from tests.support.pebble import Pebble
from tests.support.reader import PASSWORD, ReaderProcess
from tests.support.rig import Rig
from tests.support.samba import Account, Samba
from tests.support.tls_server import raw_server
from tests.support.tls_server import server_context as context_of
from tests.support.traefik import Traefik

RIGS: tuple[type[Rig], ...] = (PlainNginx, Haproxy, Envoy, Caddy, Traefik)
CONFIGS = {
    "nginx": "nginx.conf",
    "haproxy": "haproxy.cfg",
    "envoy": "envoy.yaml",
    "caddy": "Caddyfile",
    "traefik": "traefik.yml",
}
MAIN, EDGE = "main", "edge"
HOSTS = {
    "shop": ("www.farm.test",),
    "books": ("bücher.farm.test",),
    "wild": ("*.wild.farm.test",),
    "spare": ("spare.farm.test",),
}
APPLICATION_HOST = """<?xml version="1.0" encoding="UTF-8"?>
<configuration><system.applicationHost><sites>
{sites}
</sites></system.applicationHost></configuration>
"""
SITE = """<site name="{name}" id="{id}"><bindings>
<binding protocol="https" bindingInformation="{information}" sslFlags="{flags}" />
</bindings></site>"""
Site = tuple[str, str, int]
"""Name, bindingInformation, sslFlags."""


class Cli:
    """certshelf's commands on one home, in this process."""

    def __init__(self, home: Path) -> None:
        self.home = home

    def __call__(self, *words: object, status: int | None = 0) -> str:
        out, err = io.StringIO(), io.StringIO()
        with redirect_stdout(out), redirect_stderr(err):
            answer = run(["--home", str(self.home), *map(str, words)])
        assert status in (None, answer), (words, out.getvalue(), err.getvalue())
        return out.getvalue()


class PythonMember:
    """A Python server of the shelf, whose next answers a test may replace."""

    def __init__(self, shelf: Shelf, work: Path, stack: ExitStack) -> None:
        resolver = Resolver(shelf, poll_seconds=1.0).start()
        stack.callback(resolver.close)
        self._work = work
        self._own = server_context(resolver, tickets=False)
        self.shelf = self._tls(self._own)
        self.answer = self.shelf
        self.port = stack.enter_context(raw_server(lambda connection: self.answer(connection)))

    def _tls(self, context: ssl.SSLContext) -> Callable[[socket.socket], None]:
        def serve(connection: socket.socket) -> None:
            with context.wrap_socket(connection, server_side=True) as tls:
                tls.recv(1)

        return serve

    def always(self, bundle: Bundle) -> None:
        """From now on one certificate for every name."""
        self.answer = self._tls(context_of(bundle, self._work))


class RealFarm:
    """Everything together; build it once, it takes some seconds.

    Main shelf: HOSTS, for an IIS (declared), nginx, HAProxy, Envoy, Caddy, Traefik and Python. A
    group `edge` with its own folder for another IIS. `shop` comes from the CA, the rest is ours.
    """

    def __init__(self, work: Path, samba: Samba, ca: Pebble, stack: ExitStack) -> None:
        self.work, self.samba, self.ca, self.stack = work, samba, ca, stack
        self.cli = Cli(work / "home")
        self.answer = healthy_answer(samba)
        self.sites: dict[str, list[Site]] = {
            "iis1": [("Shop", "*:443:www.farm.test", 3), ("Books", "*:443:bücher.farm.test", 3)],
            "iis2": [("Edge", "*:443:edge.farm.test", 3)],
        }
        self._make_shares()
        self._make_home()
        self._issue()
        self.readers: dict[str, ReaderProcess] = {}
        self.rigs: dict[str, Rig] = {}
        for kind in RIGS:
            self._start(kind)
        self.python = PythonMember(self._reader_shelf(), work, stack)
        self._declare()

    # --- what tests ask

    def doctor(self, *more: str) -> list[dict[str, str]]:
        """Everything that `certshelf doctor` finds; more: further flags."""
        file = self.work / "answer.json"
        file.write_text(json.dumps(self.answer), encoding="utf-8")
        text = self.cli("doctor", "--json", "--iis-answer", file, *more, status=None)
        found: list[dict[str, str]] = json.loads(text)
        return found

    def wait_current(self, but: str = "", seconds: float = 45.0) -> None:
        """Until every member, but for one, serves what the shelf holds."""
        deadline = time.monotonic() + seconds
        while rest := self._behind(but):
            assert time.monotonic() < deadline, rest
            time.sleep(0.2)

    def _behind(self, but: str) -> list[tuple[str, str]]:
        found = json.loads(self.cli("doctor", "--json", "--only", "served", status=None))
        others = (f for f in found if f["subject"].split()[0] != but)
        return [(f["subject"], f["id"]) for f in others if f["id"] != "served-current"]

    def wait_green(self, seconds: float = 45.0) -> None:
        """Until the doctor has nothing to say; fails with what it says."""
        deadline = time.monotonic() + seconds
        while rest := remarks(self.doctor()) - {("served-pending", "info")}:
            assert time.monotonic() < deadline, rest
            time.sleep(0.2)

    # --- what actions use

    @property
    def hosts(self) -> tuple[HostName, ...]:
        """Every name of the main shelf."""
        return tuple(HostName.parse(host) for hosts in HOSTS.values() for host in hosts)

    def share(self, folder: str = MAIN, account: Account | None = None) -> SmbStore:
        """The store of a folder on the share, as its writer."""
        return self.samba.store(folder, account)

    def write_sites(self, server: str) -> Path:
        """The applicationHost.config of an IIS, as `sites` has it now."""
        sites = "\n".join(
            SITE.format(name=name, id=number, information=information, flags=flags)
            for number, (name, information, flags) in enumerate(self.sites[server], 1)
        )
        file = self.work / f"{server}.config"
        file.write_text(APPLICATION_HOST.format(sites=sites), encoding="utf-8")
        return file

    def age(self, seconds: float = 3600.0) -> None:
        """The files of the shelf are no news to any server."""
        for file in (self.samba.share / MAIN).glob("*.pfx"):
            os.utime(file, (file.stat().st_atime, time.time() - seconds))

    # --- building

    def _make_shares(self) -> None:
        for folder in (MAIN, EDGE):
            self.samba.new_folder(folder)
            admin = self.samba.store(folder, self.samba.admin)
            grant(admin, readers=[self.samba.reader.name], writer=self.samba.writer.name)

    def _make_home(self) -> None:
        secrets = self.work / "secrets"
        secrets.mkdir(mode=0o700)
        accounts = {"writer": self.samba.writer, "reader": self.samba.reader}
        for role, account in accounts.items():
            (secrets / role).write_text(account.password)
        (secrets / "pfx").write_text(PASSWORD)
        store = f"smb://127.0.0.1:{self.samba.port}/certs"
        self.cli(
            *("init", "--store", f"{store}/{MAIN}", "--password-file", secrets / "pfx"),
            *("--store-username", self.samba.writer.name),
            *("--store-password-file", secrets / "writer"),
        )
        self.cli(
            *("credential", "set", "reader-login", "--username", self.samba.reader.name),
            *("--password-file", secrets / "reader"),
        )
        settings = self.cli.home / "certshelf.toml"
        text = settings.read_text(encoding="utf-8")
        line = 'reader_credential = "reader-login"'
        settings.write_text(text.replace('# reader_credential = ""', line), encoding="utf-8")
        self.cli(
            *("group", "add", EDGE, "--store", f"{store}/{EDGE}"),
            *("--reader-credential", "reader-login"),
        )

    def _issue(self) -> None:
        self.ca.dns_set("set-default-ipv4", ip="127.0.0.1")
        self.cli(
            *("issuer", "add", "pebble", "--acme", self.ca.directory_url),
            *("--ca-file", self.ca.ca_file, "--poll-interval", "0.1"),
        )
        with open_manager(self.cli.home) as manager, manager.database.write() as records:
            issuer = records.issuers.get("pebble")
            records.issuers.edit(with_limits(issuer))
        for name, hosts in HOSTS.items():
            more: tuple[object, ...] = ()
            if name == "shop":
                more = ("--issuer", "pebble", "--challenge", "http-01")
                more += ("--http-port", self.ca.http_port)
                more += ("--dns-resolver", f"127.0.0.1:{self.ca.dns_port}")
            self.cli("cert", "add", *hosts, "--name", name, *more)
            self.cli("cert", "request", name)
        self.cli("cert", "add", "edge.farm.test", "--name", "at-edge", "--group", EDGE)
        self.cli("cert", "request", "at-edge")

    def _start(self, kind: type[Rig]) -> None:
        rig = kind(self.work / kind.kind)
        self.stack.callback(rig.close)
        password = self.work / "secrets" / "reader"
        login = ["--store-username", self.samba.reader.name, "--store-password-file", str(password)]
        url = f"smb://127.0.0.1:{self.samba.port}/certs/{MAIN}"
        reader = ReaderProcess(
            self.work / f"{kind.kind}-reader", url, [*login, *rig.reader_flags()]
        )
        self.stack.callback(reader.close)
        if "--mirror" in rig.reader_flags():
            wait_for(lambda: "mirror-filled" in reader.log, reader.log)
        rig.start(self.hosts)
        self.readers[kind.kind], self.rigs[kind.kind] = reader, rig

    def _reader_shelf(self) -> Shelf:
        return Shelf(self.samba.store(MAIN, self.samba.reader), Secret(PASSWORD))

    def _declare(self) -> None:
        for name, rig in self.rigs.items():
            config = rig.work / CONFIGS[name]
            words = ("member", "add", name, f"127.0.0.1:{rig.port}", "--kind", name)
            self.cli(*words, "--bindings", config)
        self.cli("member", "add", "python", f"127.0.0.1:{self.python.port}", "--kind", "python")
        for name, group in (("iis1", ()), ("iis2", ("--group", EDGE))):
            words = ("member", "add", name, "--kind", "iis", "--windows", "2022", *group)
            self.cli(*words, "--bindings", self.write_sites(name))


def with_limits(issuer: IssuerRecord) -> IssuerRecord:
    """The test CA with Let's Encrypt's limits."""
    return replace(issuer, settings={**issuer.settings, "limits": "letsencrypt"})


def remarks(found: list[dict[str, str]]) -> set[tuple[str, str]]:
    """(id, severity) of everything that is not green, but for what was not looked at."""
    said = (f for f in found if not f["what"].startswith(NOT_ASKED))
    return {(f["id"], f["severity"]) for f in said if f["severity"] != "ok"}


def wait_for(fact: Callable[[], bool], what: str, seconds: float = 30.0) -> None:
    deadline = time.monotonic() + seconds
    while not fact():
        assert time.monotonic() < deadline, what
        time.sleep(0.05)


def healthy_answer(samba: Samba) -> dict[str, Any]:
    """What the check script would say of iis1; no Windows was asked."""
    return {
        "format": 1,
        "server": "IIS1",
        "account": "NT AUTHORITY\\SYSTEM",
        "windows": "10.0.20348.0",
        "feature": True,
        "provider": {
            "enabled": True,
            "location": f"\\\\127.0.0.1\\certs\\{MAIN}",
            "user": samba.reader.name,
            "has_password": True,
            "has_key_password": True,
            "polling": 300,
        },
        "http_sys": [{"kind": "ccs", "name": "443"}],
        "bindings": {
            "ok": True,
            "error": "",
            "rows": [
                {
                    "site": "Shop",
                    "information": "*:443:www.farm.test",
                    "flags": 3,
                    "thumbprint": "",
                }
            ],
        },
        "store": {"ok": True, "error": "", "files": 4},
        "reader": {"ok": True, "value": 4, "error": ""},
        "pfx": [{"file": "www.farm.test.pfx", "ok": True, "thumbprint": "AB", "error": ""}],
    }
