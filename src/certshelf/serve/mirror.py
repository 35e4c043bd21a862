"""The PEM mirror: a folder of key-and-chain files that nginx, Apache, Traefik and HAProxy read.

One combined file per name, replaced in one step. A server that opens it twice, for certificate and
key, can still see two versions: Apache and Traefik are given links that stay (see pinned.py), plain
nginx cannot be helped. What leaves the shelf stays for a grace time. `.changes` tells nginx's Lua
what changed (see lua/certshelf.lua).
"""

from __future__ import annotations

from datetime import timedelta

from cryptography import x509
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat
from cryptography.x509.oid import NameOID

from certshelf.clock import Clock
from certshelf.names import HostName
from certshelf.serve.copying import GRACE_SECONDS, Copying
from certshelf.serve.log import ReaderLog
from certshelf.serve.mirror_files import MirrorFolder, pem_name
from certshelf.serve.pems import PemCache
from certshelf.serve.source import BundleSource, Found, Listener

CHANGES_FILE = ".changes"
PLACEHOLDER_FILE = ".placeholder.pem"
"""nginx does not start without some certificate; no client ever sees this one."""
_KEPT_CHANGES = 512


class Mirror(Copying):
    """Keeps a folder equal to what the resolver serves.

    whole: every name of the shelf; else only the names that were asked for (`want`). The first
    file of such a name is no change: the server that asked was given the same bundle.
    """

    kind = "mirror"

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
        super().__init__(source, log, clock, grace_s)
        self.folder = folder
        self._pems = pems
        self._whole = whole
        self._versions: dict[str, int] = {}
        self._wanted: dict[str, int] = {}
        self._followers: list[Listener] = []
        self._journal = Journal(int(clock.timestamp() * 1_000_000))

    def follow(self, follower: Listener) -> None:
        """Call follower after files changed, with their host names. Before start.

        It is called in the mirror's thread and must not wait.
        """
        self._followers.append(follower)

    def prepare(self) -> None:
        """Make the folder ready; ConfigError when it cannot be used."""
        self.folder.prepare()
        if self.folder.read(PLACEHOLDER_FILE) is None:
            self.folder.write(PLACEHOLDER_FILE, placeholder(self._clock))
        self._held = {host.ascii for host in self.folder.hosts()}
        self._write_journal()

    def want(self, found: Found) -> None:
        """Mirror this file from now on: a server was given its bundle. Any thread."""
        name = HostName.from_file_name(found.file).ascii
        if name not in self._wanted:
            self._wanted[name] = hash(found.bundle)
            self._queue.put(frozenset({name}))

    def _names(self) -> set[str]:
        names = super()._names() if self._whole else self._held.copy()
        return names.union(self._wanted)

    def _sync(self, host: HostName) -> bool:
        if not self._whole and host.ascii not in self._held and host.ascii not in self._wanted:
            return True  # not ours to load: a server that holds a "no" for it asks again
        return super()._sync(host)

    def _copy(self, host: HostName, found: Found) -> bool:
        name, version = host.ascii, hash(found.bundle)
        if self._versions.get(name) == version:
            return False
        is_known = name not in self._versions and self._wanted.get(name) == version
        written = self.folder.write(pem_name(host), self._pems.of(found.bundle).combined)
        self._versions[name] = version
        if written:
            self._log.handout("mirror", name, found.bundle)
        return written and not is_known

    def _missing(self, host: HostName) -> bool:
        if not self._source.holds(host):
            self._wanted.pop(host.ascii, None)
        return super()._missing(host)

    def _remove(self, host: HostName) -> None:
        self.folder.remove(pem_name(host))
        self._versions.pop(host.ascii, None)

    def _changed(self, names: set[str]) -> None:
        self._journal.add(names)
        self._write_journal()
        self._removed(names)

    def _removed(self, names: set[str]) -> None:
        for follower in self._followers:
            follower(frozenset(names))

    def _write_journal(self) -> None:
        try:
            self.folder.write(CHANGES_FILE, self._journal.text())
        except OSError as error:
            self._failed(CHANGES_FILE, error)


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
