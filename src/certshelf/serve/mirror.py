"""The PEM mirror: a folder of key-and-chain files that nginx, Apache, Traefik and HAProxy read.

One combined file per name, replaced in one step: two files could be seen mismatched. What leaves
the shelf stays for a grace time. `.changes` tells nginx's Lua what changed (see lua/certshelf.lua).
"""

from __future__ import annotations

from collections.abc import Callable
from datetime import timedelta
from threading import Thread

from cryptography import x509
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat
from cryptography.x509.oid import NameOID

from certshelf.bundle.model import Bundle
from certshelf.clock import Clock
from certshelf.errors import NameInvalid
from certshelf.names import HostName
from certshelf.serve.changes import ChangeQueue, Changes
from certshelf.serve.log import ReaderLog
from certshelf.serve.mirror_files import MirrorFolder, pem_name
from certshelf.serve.pems import PemCache
from certshelf.serve.source import BundleSource, Found, Listener

GRACE_SECONDS = 3600.0
SWEEP_SECONDS = 5.0
CHANGES_FILE = ".changes"
PLACEHOLDER_FILE = ".placeholder.pem"
"""nginx does not start without some certificate; no client ever sees this one."""
_KEPT_CHANGES = 512


class Mirror:
    """Keeps a folder equal to what the resolver serves; one thread of its own does all the work.

    whole: every name of the shelf; else only the names that were asked for (`want`). The first
    file of such a name is no change: the server that asked was given the same bundle.
    """

    def __init__(
        self,
        folder: MirrorFolder,
        source: BundleSource,
        pems: PemCache,
        log: ReaderLog,
        clock: Clock,
        *,
        whole: bool = True,
        grace_s: float = GRACE_SECONDS,
    ) -> None:
        self.folder = folder
        self._source = source
        self._pems = pems
        self._log = log
        self._clock = clock
        self._whole = whole
        self._grace_s = grace_s
        self._queue = ChangeQueue()
        self._held: set[str] = set()
        self._leaving: dict[str, float] = {}
        self._again: set[str] = set()
        self._again_at = 0.0
        self._versions: dict[str, int] = {}
        self._wanted: dict[str, int] = {}
        self._followers: list[Listener] = []
        self._journal = Journal(int(clock.now().timestamp() * 1_000_000))
        self._unsubscribe: Callable[[], None] | None = None
        self._thread = Thread(target=self._run, name="certshelf-mirror", daemon=True)

    def follow(self, follower: Listener) -> None:
        """Call follower after files changed, with their host names. Before start.

        It is called in the mirror's thread and must not wait.
        """
        self._followers.append(follower)

    def held(self) -> set[str]:
        """The host names that have a file now. Any thread."""
        return self._held.copy()

    def prepare(self) -> None:
        """Make the folder ready; ConfigError when it cannot be used."""
        self.folder.prepare()
        if self.folder.read(PLACEHOLDER_FILE) is None:
            self.folder.write(PLACEHOLDER_FILE, placeholder(self._clock))
        self._held = {host.ascii for host in self.folder.hosts()}
        self._write_journal()

    def start(self) -> None:
        """Begin to fill the prepared folder."""
        self._unsubscribe = self._source.subscribe(self._queue.put)
        self._thread.start()

    def close(self) -> None:
        """Stop; the files stay, so that the servers go on."""
        if self._unsubscribe is not None:
            self._unsubscribe()
        self._queue.close()
        if self._thread.is_alive():
            self._thread.join(10.0)

    def want(self, found: Found) -> None:
        """Mirror this file from now on: a server was given its bundle. Any thread."""
        name = HostName.from_file_name(found.file).ascii
        if name not in self._wanted:
            self._wanted[name] = hash(found.bundle)
            self._queue.put(frozenset({name}))

    def _run(self) -> None:
        while not self._source.wait_ready(0.5):
            if self._queue.closed:
                return
        started = self._clock.monotonic()
        self._apply(Changes(everything=True, names=frozenset()))
        took = round(self._clock.monotonic() - started, 3)
        self._log.event("mirror-filled", names=len(self._held), seconds=took)
        while not self._queue.closed:
            changes = self._queue.take(SWEEP_SECONDS)
            if changes is not None:
                self._apply(changes)
            self._sweep()

    def _apply(self, changes: Changes) -> None:
        names = self._all_names() if changes.everything else changes.names
        changed = {name for name in names if self._sync(name)}
        if not changed:
            return
        self._journal.add(changed)
        self._write_journal()
        self._tell(changed)

    def _all_names(self) -> set[str]:
        names = self._held.union(self._wanted)
        if self._whole:
            names.update(host.ascii for host in self._source.hosts())
        return names

    def _sync(self, name: str) -> bool:
        """Make one name's file right; whether servers that hold the name must look again."""
        if not self._whole and name not in self._held and name not in self._wanted:
            return True  # not ours to load: a server that holds a "no" for it asks again
        try:
            host = HostName.parse(name)
        except NameInvalid:
            return False
        found = self._source.exact(host)
        if found is None:
            return self._missing(host)
        self._leaving.pop(name, None)
        version = hash(found.bundle)
        if self._versions.get(name) == version:
            return False
        is_known = name not in self._versions and self._wanted.get(name) == version
        return self._write(host, found.bundle, version) and not is_known

    def _write(self, host: HostName, bundle: Bundle, version: int) -> bool:
        try:
            written = self.folder.write(pem_name(host), self._pems.of(bundle).combined)
        except OSError as error:
            self._again.add(host.ascii)
            self._log.event("mirror-failed", name=host.ascii, reason=str(error.strerror))
            return False
        self._again.discard(host.ascii)
        self._held.add(host.ascii)
        self._versions[host.ascii] = version
        if written:
            self._log.handout("mirror", host.ascii, bundle)
        return written

    def _missing(self, host: HostName) -> bool:
        """Nothing good lies under a name: on its way or garbage (look again), or gone."""
        if self._source.holds(host):
            self._again.add(host.ascii)
            return False
        self._again.discard(host.ascii)
        self._wanted.pop(host.ascii, None)
        if host.ascii not in self._held or host.ascii in self._leaving:
            return False
        self._leaving[host.ascii] = self._clock.monotonic() + self._grace_s
        return True

    def _sweep(self) -> None:
        """Remove what left the shelf a grace time ago; try again what could not be written."""
        now = self._clock.monotonic()
        if self._again and now >= self._again_at:
            self._again_at = now + SWEEP_SECONDS
            self._queue.put(frozenset(self._again))
        due = {name for name, when in self._leaving.items() if when <= now}
        for name in due:
            self.folder.remove(pem_name(HostName.parse(name)))
            self._held.discard(name)
            self._versions.pop(name, None)
            del self._leaving[name]
            self._log.event("mirror-removed", name=name)
        if due:
            self._tell(due)

    def _tell(self, names: set[str]) -> None:
        for follower in self._followers:
            follower(frozenset(names))

    def _write_journal(self) -> None:
        try:
            self.folder.write(CHANGES_FILE, self._journal.text())
        except OSError as error:
            self._log.event("mirror-failed", name=CHANGES_FILE, reason=str(error.strerror))


def placeholder(clock: Clock) -> bytes:
    """A key and a certificate that nobody trusts, as one PEM text."""
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "no certificate")])
    leaf = (
        x509.CertificateBuilder(name, name, key.public_key(), x509.random_serial_number())
        .not_valid_before(clock.now() - timedelta(days=1))
        .not_valid_after(clock.now() + timedelta(days=3650))
        .sign(key, SHA256())
    )
    text = key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())
    return text + leaf.public_bytes(Encoding.PEM)


class Journal:
    """The last changes with rising numbers, as `.changes` shows them to a polling server.

    First line: the newest number, and the floor: whoever has seen less must look at all. Then one
    line per change: its number and the host name.
    """

    def __init__(self, number: int) -> None:
        self._number = number
        self._floor = number
        self._lines: list[tuple[int, str]] = []

    def add(self, names: set[str]) -> None:
        """One change of these names."""
        self._number += 1
        if len(names) > _KEPT_CHANGES:
            self._lines.clear()
            self._floor = self._number
            return
        self._lines += [(self._number, name) for name in sorted(names)]
        while len(self._lines) > _KEPT_CHANGES:
            self._floor = self._lines[0][0]
            self._lines = [line for line in self._lines if line[0] > self._floor]

    def text(self) -> bytes:
        """The whole file."""
        lines = [f"{self._number} {self._floor}", *(f"{n} {name}" for n, name in self._lines)]
        return ("\n".join(lines) + "\n").encode("ascii")
