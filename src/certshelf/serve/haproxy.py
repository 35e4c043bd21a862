"""HAProxy holds every certificate in memory: the reader pushes each change over its Runtime API.

What is pushed is not on HAProxy's disk. So the mirror's files are written first and a crt-list
names them: HAProxy started again loads the newest, and is compared with the mirror at once.
"""

from __future__ import annotations

import base64
import hashlib
from collections.abc import Callable
from pathlib import Path
from threading import Thread

from certshelf.clock import Clock
from certshelf.errors import DeployError
from certshelf.names import HostName
from certshelf.serve.changes import ChangeQueue, Changes
from certshelf.serve.haproxy_api import RuntimeApi
from certshelf.serve.log import ReaderLog
from certshelf.serve.mirror import PLACEHOLDER_FILE
from certshelf.serve.mirror_files import MirrorFolder, pem_name
from certshelf.serve.setup import Setup, split_address

CRT_LIST = "haproxy.crt-list"
_LOOK_SECONDS = 1.0


class HaproxyPusher:
    """Keeps one HAProxy equal to the mirror, in a thread of its own.

    held: the host names that the mirror has files for.
    """

    def __init__(
        self,
        api: RuntimeApi,
        folder: MirrorFolder,
        held: Callable[[], set[str]],
        log: ReaderLog,
        clock: Clock,
    ) -> None:
        self._api = api
        self._folder = folder
        self._held = held
        self._log = log
        self._clock = clock
        self._queue = ChangeQueue()
        self._process_id = 0
        self._again: set[str] = set()
        self._is_away = False
        self._loaded: set[str] = set()
        self._on_list: set[str] = set()
        self._listed: tuple[str, ...] | None = None
        self._thread = Thread(target=self._run, name="certshelf-haproxy", daemon=True)

    def changed(self, names: frozenset[str]) -> None:
        """The mirror's follower: these files changed."""
        self._queue.put(names)

    def start(self) -> None:
        """Write the crt-list, which HAProxy needs to start, and begin to push."""
        self._write_list()
        self._thread.start()

    def close(self) -> None:
        """Stop; HAProxy keeps what it has."""
        self._queue.close()
        if self._thread.is_alive():
            self._thread.join(10.0)

    def _run(self) -> None:
        while not self._queue.closed:
            changes = self._queue.take(_LOOK_SECONDS)
            try:
                if changes is not None:
                    self._write_list()
                self._step(changes)
                self._is_away = False
            except DeployError as error:
                self._process_id = 0  # whoever answers next is compared as a whole
                if not self._is_away:
                    self._log.event("haproxy-away", reason=str(error), hint=error.hint)
                self._is_away = True
            except Exception as error:  # noqa: BLE001  the thread's outer wall
                self._process_id = 0
                self._log.event("haproxy-failed", reason=f"unforeseen {type(error).__name__}")

    def _step(self, changes: Changes | None) -> None:
        process_id = self._api.process_id()
        if process_id != self._process_id or (changes and changes.everything):
            self._compare_all()
            self._process_id = process_id
            return
        names = set(self._again) | (set(changes.names) if changes else set())
        if names:
            self._push(names)

    def _compare_all(self) -> None:
        """Push whatever differs: after a start of either side."""
        started = self._clock.monotonic()
        self._loaded = self._api.certificates()
        self._on_list = self._api.listed(self._list_path)
        held = self._held()
        pushed = self._push(held)
        for file in self._on_list - {self._path(name) for name in held} - {self._placeholder}:
            self._forget(file)
        took = round(self._clock.monotonic() - started, 3)
        self._log.event("haproxy-compared", loaded=len(self._loaded), pushed=pushed, seconds=took)

    def _push(self, names: set[str]) -> int:
        """Make these names right in HAProxy; how many were not."""
        pushed = 0
        for name in names:
            try:
                pushed += self._push_one(name)
                self._again.discard(name)
            except DeployError as error:
                self._again.add(name)
                self._log.event("haproxy-failed", name=name, reason=str(error), said=error.output)
        return pushed

    def _push_one(self, name: str) -> bool:
        """Load a name's file unless it is loaded; proved by what HAProxy shows afterwards."""
        file = self._path(name)
        pem = self._folder.read(pem_name(HostName.parse(name)))
        if pem is None:
            if file in self._loaded:
                self._forget(file)
            return False
        wanted = _thumbprint(pem)
        is_new = file not in self._loaded
        is_listed = file in self._on_list
        if not is_new and is_listed and self._api.thumbprint(file) == wanted:
            return False
        self._loaded.add(file)  # before the call: a load that breaks off leaves an empty one
        self._api.load(file, pem, is_new)
        if not is_listed:
            self._api.list(self._list_path, file, name)
            self._on_list.add(file)
        shown = self._api.thumbprint(file)
        if shown != wanted:
            raise DeployError(f"HAProxy holds another certificate for {name}", output=shown)
        return True

    def _forget(self, file: str) -> None:
        self._api.forget(self._list_path, file)
        self._loaded.discard(file)
        self._on_list.discard(file)

    def _write_list(self) -> None:
        names = tuple(sorted(self._held()))
        if names == self._listed:
            return
        lines = [f"{self._placeholder} certshelf.invalid"]
        lines += [f"{self._path(name)} {name}" for name in names]
        try:
            self._folder.write(CRT_LIST, ("\n".join(lines) + "\n").encode("ascii"))
            self._listed = names
        except OSError as error:
            self._log.event("haproxy-failed", name=CRT_LIST, reason=str(error.strerror))

    @property
    def _list_path(self) -> str:
        return str(self._folder.path / CRT_LIST)

    @property
    def _placeholder(self) -> str:
        return str(self._folder.path / PLACEHOLDER_FILE)

    def _path(self, name: str) -> str:
        return str(self._folder.path / pem_name(HostName.parse(name)))


def haproxy_cfg(setup: Setup) -> str:
    """The parts of haproxy.cfg: admin socket, frontend, backend."""
    host, port = split_address(setup.listen)
    crt_list: Path = setup.mirror / CRT_LIST
    return f"""\
# The reader runs with: --mirror {setup.mirror} --haproxy unix:{setup.haproxy_socket}
# It must run before HAProxy starts: it writes the crt-list.
global
    stats socket {setup.haproxy_socket} mode 600 level admin
    ssl-default-bind-options ssl-min-ver TLSv1.2
    tune.bufsize 32768  # a pushed certificate with its chain must fit into one buffer
defaults
    mode http
    timeout connect 5s
    timeout client 60s
    timeout server 60s
    timeout http-request 15s
frontend https
    bind {host or "*"}:{port} ssl crt-list {crt_list} strict-sni alpn h2,http/1.1
    default_backend upstream
backend upstream
    server upstream {setup.upstream}
"""


def _thumbprint(pem: bytes) -> str:
    """SHA-1 of the leaf of a mirror's file, upper hex, as HAProxy shows it."""
    text = pem.partition(b"-----BEGIN CERTIFICATE-----")[2]
    der = base64.b64decode(text.partition(b"-----END")[0])
    return hashlib.sha1(der, usedforsecurity=False).hexdigest().upper()
