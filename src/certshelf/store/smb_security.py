"""Ask a file server who may do what with the shelf's folder, and set it; no file is touched.

"Maximal access" (MS-SMB2 section 2.2.13.2.5) tells what a login could do without doing it, so a
check never writes a test file.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from contextlib import suppress
from dataclasses import dataclass
from enum import Enum
from functools import partial
from typing import TypeVar

from certshelf.errors import StoreDenied, StoreInvalidName, StoreUnreachable
from certshelf.store import smb_status as status
from certshelf.store.acl import Ace, Descriptor, inherited, pack_dacl, parse_descriptor
from certshelf.store.base import HIDDEN
from certshelf.store.smb import SmbStore
from certshelf.store.smb_wire import StatusError, Wire, WireLost

T = TypeVar("T")
HISTORY = f"{HIDDEN}/history"
"""Old versions lie there: nothing for a reader."""


def read_rights(store: SmbStore, folder: str = "") -> Descriptor:
    """Owner and access list of the shelf's folder, or of one below it."""
    path = _path(store, folder)

    def ask(wire: Wire) -> Descriptor:
        try:
            return parse_descriptor(wire.security(path))
        except ValueError as error:
            raise WireLost(str(error)) from error

    return _asked(store, "read the rights of", folder, ask)


def read_rights_below(store: SmbStore, keys: Iterable[str]) -> list[tuple[str, Descriptor]]:
    """The same of several files and folders ("" for the shelf's), by one login.

    Left out are those that it may not look at, that are gone, or whose list makes no sense.
    """
    found: list[tuple[str, Descriptor]] = []

    def ask(wire: Wire) -> None:
        for key in keys:
            with suppress(StoreInvalidName, ValueError):
                path = _path(store, key)
                try:
                    found.append((key, parse_descriptor(wire.security(path))))
                except StatusError as error:
                    if error.status not in (status.ACCESS_DENIED, *status.NOT_THERE):
                        raise

    _asked(store, "read the rights below", "", ask)
    return found


def set_rights(
    store: SmbStore, aces: tuple[Ace, ...], key: str = "", *, protected: bool = True
) -> None:
    """Replace the access list of the shelf's folder, or of what is named below it.

    The login needs "change permissions" there: an administrator's, not the writer's. What lies
    below keeps its list: over SMB it is the client who passes one on, see inherit_rights().
    """
    path, descriptor = _path(store, key), pack_dacl(aces, protected=protected)
    _asked(store, "set the rights of", key, lambda wire: wire.set_security(path, descriptor))


def make_folders(store: SmbStore, folder: str) -> None:
    """Make a hidden folder of the shelf, with its parents, as this store's login."""

    def ask(wire: Wire) -> None:
        parts = folder.split("/")
        for depth in range(1, len(parts) + 1):
            wire.make_folder(store.calls.path(tuple(parts[:depth])))

    _asked(store, "make", folder, ask)


def inherit_rights(store: SmbStore, aces: tuple[Ace, ...], *, leave: str) -> int:
    """Give all that lies in the shelf's folder what it inherits from a list; how many there were.

    leave: a folder that has a list of its own, with what lies in it. Links, and folders that are
    not the shelf's, are left alone too.
    """
    count, folders = 0, [("", aces)]
    while folders:
        folder, above = folders.pop()
        for name, facts in store.scan(folder):
            key = f"{folder}/{name}" if folder else name
            foreign = facts.is_folder and not folder and name != HIDDEN
            if facts.is_link or foreign or key == leave:
                continue
            below = inherited(above, by_folder=facts.is_folder)
            store.calls.run("set the rights of", key, partial(_pass_on, store, key, below))
            count += 1
            if facts.is_folder:
                folders.append((key, below))
    return count


def _pass_on(store: SmbStore, key: str, aces: tuple[Ace, ...], wire: Wire, _ends_at: float) -> None:
    try:
        wire.set_security(
            store.calls.place(tuple(key.split("/"))), pack_dacl(aces, protected=False)
        )
    except StatusError as error:
        if error.status not in status.NOT_THERE:  # replaced or removed meanwhile
            raise


def maximal_access(store: SmbStore, key: str = "") -> int | None:
    """The rights of this store's login on its folder, or on what is named below it.

    0 when it may do nothing, None when there is no such thing. By a new login: a running session
    shows neither a changed password nor a changed group.
    """
    return maximal_accesses(store, (key,))[0]


def maximal_accesses(store: SmbStore, keys: Sequence[str]) -> tuple[int | None, ...]:
    """The same of several, "" for the folder, by one new login."""
    paths = [(key, _path(store, key)) for key in keys]

    def ask(wire: Wire) -> tuple[int | None, ...]:
        return tuple(_access(wire, key, path) for key, path in paths)

    try:
        return _asked(store, "ask for the rights on", keys[0], ask)
    except StoreDenied as error:
        if error.code:  # the share itself is closed to this account
            return (0,) * len(keys)
        raise


def _access(wire: Wire, key: str, path: str) -> int | None:
    try:
        return wire.rights(path).maximal_access
    except StatusError as error:
        if error.status == status.ACCESS_DENIED:
            return 0
        if key and error.status in status.NOT_THERE:
            return None
        raise


class Encryption(Enum):
    """How a server treats clients of a share."""

    DEMANDED = "demanded"
    WHERE_POSSIBLE = "where possible"
    """Of all who can; who cannot is let in, in the clear. Samba: `desired`."""
    NOT_ASKED = "not asked"


@dataclass(frozen=True, slots=True)
class Protection:
    """What a server demands of its clients. signing: of every message, also of those in clear."""

    encryption: Encryption
    signing: bool


def protection_of(store: SmbStore) -> Protection:
    """What the server does with a client that cannot encrypt, and with one that can.

    Both are tried, by new logins: Samba's `desired` and Windows without RejectUnencryptedAccess
    look like a demand to whoever can encrypt.
    """
    try:
        store.calls.fresh("look at", "the share", offers=False).close()
    except (StoreDenied, StoreUnreachable):  # by the share, or already by the dialect
        some = Encryption.DEMANDED
    else:
        some = Encryption.WHERE_POSSIBLE
    wire = store.calls.fresh("look at", "the share", encrypt=False)
    try:
        encryption = some if wire.encrypts else Encryption.NOT_ASKED
        return Protection(encryption, wire.demands_signing)
    finally:
        wire.close()


def _asked(store: SmbStore, verb: str, key: str, ask: Callable[[Wire], T]) -> T:
    name = key or "the folder"
    wire = store.calls.fresh(verb, name)
    try:
        return store.calls.on(wire, verb, name, lambda: ask(wire))
    finally:
        wire.close()


def _path(store: SmbStore, key: str) -> str:
    return store.calls.path(tuple(key.split("/"))) if key else store.calls.root
