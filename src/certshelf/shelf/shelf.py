"""Shelf: one flat folder of PFX files named by host name, and everything one does with it."""

from __future__ import annotations

from collections.abc import Callable, Container, Iterable, Iterator, Mapping
from copy import copy
from dataclasses import dataclass, replace

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey, Ed25519PublicKey

from certshelf.bundle import pfx
from certshelf.bundle.model import Bundle, PfxProfile
from certshelf.clock import SYSTEM, Clock
from certshelf.errors import BundleError, ForeignFile, ShelfError
from certshelf.finding import Finding
from certshelf.names import HostName
from certshelf.secret import Secret
from certshelf.shelf import inventory as _inventory
from certshelf.shelf import publish as _publish
from certshelf.shelf.adopt import give_back, take_over
from certshelf.shelf.files import Read, ShelfFile, decode
from certshelf.shelf.history import History, Past
from certshelf.shelf.manifest import Manifest, State, sha256
from certshelf.shelf.once import prepare
from certshelf.shelf.publish import Order, Publication, Result
from certshelf.shelf.verified import Verified
from certshelf.store.base import Store


@dataclass(frozen=True, slots=True)
class Found:
    """The file that answers for a host, and what was tried before it."""

    file: ShelfFile
    tried: tuple[str, ...]


class Shelf:
    """A store with a password, a PFX profile and an owner. Safe to use from several threads.

    password: opens and encrypts every file; None for files without one. old_passwords: tried after
    it when reading, while a password is being changed. owner: the id that records name; without
    one the shelf can only be read. signing_key: signs records; public_key: demands them signed.
    history: keeps what is replaced.
    """

    def __init__(
        self,
        store: Store,
        password: Secret | None,
        *,
        old_passwords: tuple[Secret | None, ...] = (),
        profile: PfxProfile = PfxProfile.MODERN,
        owner: str = "",
        signing_key: Ed25519PrivateKey | None = None,
        public_key: Ed25519PublicKey | None = None,
        history: History | None = None,
        clock: Clock = SYSTEM,
    ) -> None:
        self.store = store
        self.passwords = (password, *old_passwords)
        self.profile = profile
        self.owner = owner
        self.history = history
        self.clock = clock
        self.manifest = Manifest(store, signing_key=signing_key, public_key=public_key)

    def __repr__(self) -> str:
        return f"Shelf({self.store.url!r})"

    def under_password(self, password: Secret) -> Shelf:
        """The same shelf, writing under another password; this one's still open what lies there."""
        other = copy(self)
        other.passwords = (password, *self.passwords)
        return other

    def publish(
        self,
        bundle: Bundle,
        hosts: Iterable[HostName] | None = None,
        *,
        adopt: bool = False,
        older: bool = False,
        files: Container[str] | None = None,
        dry_run: bool = False,
        progress: Callable[[Result], None] = lambda result: None,
        make: Callable[[Bundle, Secret | None, PfxProfile], bytes] = prepare,
    ) -> Publication:
        """Put a bundle under each of its names (or the given hosts): one result per file.

        Refused, with what lies there unchanged: a name that the bundle does not cover, a
        certificate that is expired, not yet valid or older than what lies there (unless older),
        a file that certshelf did not write (unless adopt). Safe to repeat: a file that already
        serves the bundle is left alone. A server sees the old file or the new, never a mix.
        files: only these of the hosts' files. make: the PFX, as prepare() does. dry_run: decide the
        same, and write nothing.
        """
        names = tuple(hosts) if hosts is not None else bundle.names
        if not names:
            raise BundleError("cannot publish: the certificate holds no host name of a shelf")
        order = Order(
            bundle=bundle,
            data=make(bundle, self.passwords[0], self.profile),
            owner=self._writer("publish"),
            passwords=self.passwords,
            now=self.clock.now(),
            adopt=adopt,
            older=older,
            dry_run=dry_run,
        )
        return _publish.publish(
            self.store, self.manifest, order, names, self.history, progress, files
        )

    def find(self, host: HostName) -> Found | None:
        """The file that answers for a host by the lookup rule: exact, then wildcard. No listing."""
        tried = []
        for candidate in host.candidates():
            tried.append(candidate.file_name())
            found = self.look_at(tried[-1])
            if found is not None:
                return Found(found, tuple(tried))
        return None

    def look_at(self, file: str, read: Read = pfx.decode) -> ShelfFile | None:
        """Everything about one file, None when it is not there. read: opens it with a password."""
        now = self.clock.now()
        return _inventory.look_at(self.store, self.manifest, file, self.passwords, now, read)

    def files(self) -> list[str]:
        """The names of every `*.pfx` of the top folder, in the store's order."""
        return [entry.key for entry in _inventory.pfx_entries(self.store)]

    def inventory(self, files: Iterable[str] | None = None) -> Iterator[ShelfFile]:
        """Every `*.pfx` of the top folder (or these), one at a time, so memory does not grow.

        A file that vanishes meanwhile is left out; one that cannot be read becomes a finding.
        """
        now = self.clock.now()
        for file in self.files() if files is None else files:
            found = _inventory.look_at(self.store, self.manifest, file, self.passwords, now)
            if found is not None:
                yield found

    def among(self, present: Mapping[str, HostName | None]) -> Iterator[Finding]:
        """What is wrong among files, such as two for one host; present: every file's host."""
        return _inventory.among(self.store, self.manifest, present)

    def verify(
        self,
        verified: Verified | None = None,
        progress: Callable[[int], None] = lambda total: None,
    ) -> Iterator[Finding]:
        """Everything that is to be said about the shelf; severity ERROR is what is wrong.

        verified: what an earlier verify found, brought up to date by this one. progress: called
        before each file, with the number of all.
        """
        now = self.clock.now()
        return _inventory.verify(self.store, self.manifest, self.passwords, now, verified, progress)

    def past(self, host: HostName) -> list[Past]:
        """Earlier versions of a host's files, newest first; empty when no history is kept."""
        if self.history is None:
            return []
        return [past for file in host.file_names() for past in self.history.of(file)]

    def restore(
        self, host: HostName, version: str | None = None, *, dry_run: bool = False
    ) -> Publication:
        """Publish an earlier version of a host's files again, as a signed rollback.

        version: as past() names it; None for the newest. dry_run: write nothing. Raises ShelfError
        when there is none.
        """
        for past in self.past(host):
            if version in (None, past.version):
                data = self.history.read(past.file, past.version) if self.history else None
                if data is not None:
                    return self.publish(
                        decode(data, self.passwords), [host], older=True, dry_run=dry_run
                    )
        wanted = f"version {version}" if version else "earlier version"
        raise ShelfError(
            f"cannot restore {host}: no {wanted} is kept",
            hint=f"certshelf shelf history {host} lists what is kept",
        )

    def adopt(self, host: HostName, *, dry_run: bool = False) -> tuple[str, ...]:
        """Take over a host's files that others wrote, without touching them; which were taken.

        dry_run: which would be. Raises ShelfError, BundleError or ForeignFile. Safe to repeat.
        """
        owner, history = self._writer("adopt"), self._history()
        there = [f for f in host.file_names() if self.store.look(f) is not None]
        if not there:
            raise ShelfError(f"cannot adopt {host}: no file of it is on the shelf")
        return tuple(
            file
            for file in there
            if take_over(
                self.store,
                self.manifest,
                history,
                file,
                owner=owner,
                passwords=self.passwords,
                clock=self.clock,
                dry_run=dry_run,
            )
        )

    def give_back(self, host: HostName, *, dry_run: bool = False) -> tuple[str, ...]:
        """Undo adopt(): put the originals back, forget the name; which files. Safe to repeat.

        dry_run: which would be given back.
        """
        owner, history = self._writer("give back"), self._history()
        return tuple(
            file
            for file in host.file_names()
            if give_back(
                self.store,
                self.manifest,
                history,
                file,
                owner=owner,
                now=self.clock.now(),
                dry_run=dry_run,
            )
        )

    def retire(self, host: HostName, *, keep: bool = True) -> tuple[str, ...]:
        """Take a host's files off the shelf, and tell the readers; the files that were there.

        keep: put them into the history first, so that restore() can bring them back.
        Raises ForeignFile, and removes nothing, when one of them is not ours. Safe to repeat.
        """
        return tuple(file for file in self.retirable(host) if self._retire(file, keep))

    def retirable(self, host: HostName) -> tuple[str, ...]:
        """What retire() would remove; raises as it does, and changes nothing."""
        owner = self._writer("retire")
        return tuple(file for file in host.file_names() if self._is_ours(file, owner))

    def _is_ours(self, file: str, owner: str) -> bool:
        current = self.store.get(file)
        seen = self.manifest.read(file)
        if current is None and seen is None:
            return False
        record = seen[0] if seen else None
        hint = "remove it by hand if nobody needs it"
        if record is None:
            raise ForeignFile(f"cannot retire {file}: certshelf did not write it", hint=hint)
        if record.owner != owner:
            raise ForeignFile(f"cannot retire {file}: {record.owner} wrote it", hint=hint)
        if current is not None and not record.vouches_for(current.data):
            raise ForeignFile(f"cannot retire {file}: somebody changed it", hint=hint)
        return current is not None

    def _retire(self, file: str, keep: bool) -> bool:
        current = self.store.get(file)
        seen = self.manifest.read(file)
        if current is None or seen is None:
            return False
        record, version = seen
        if not record.vouches_for(current.data):
            raise ForeignFile(f"cannot retire {file}: somebody changed it just now")
        if record.state is not State.RETIRED:  # else a run was killed before it could delete
            retired = replace(
                record,
                generation=record.generation + 1,
                sha256=sha256(current.data),
                previous_sha256="",
                state=State.RETIRED,
                written_at=self.clock.now(),
                signature="",
            )
            if keep and self.history:
                self.history.add(file, current.data)
            self.manifest.write(retired, version)
        return self.store.delete(file, current.version)

    def _history(self) -> History:
        if self.history is None:
            raise ShelfError(
                "cannot adopt: no history is kept, so it could not be undone",
                hint="use the certshelf command, which keeps one in its home",
            )
        return self.history

    def _writer(self, verb: str) -> str:
        if not self.owner:
            raise ShelfError(
                f"cannot {verb} on {self.store.url}: this shelf was opened for reading",
                hint="open it with an owner, or use the certshelf command",
            )
        return self.owner
