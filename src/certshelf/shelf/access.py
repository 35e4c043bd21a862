"""Set who may use a shelf's folder on a share, and find out who can, without touching a file."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import suppress
from itertools import islice

from certshelf.errors import (
    ConfigError,
    StoreDenied,
    StoreError,
)
from certshelf.finding import Finding
from certshelf.shelf.rights import ShareRights, grant_list, history_list, judge
from certshelf.store.acl import Descriptor, is_sid
from certshelf.store.base import HIDDEN, Store
from certshelf.store.smb import SmbStore
from certshelf.store.smb_accounts import lookup_accounts
from certshelf.store.smb_security import (
    HISTORY,
    Encryption,
    inherit_rights,
    make_folders,
    maximal_accesses,
    protection_of,
    read_rights,
    read_rights_below,
    set_rights,
)

_SAMPLE = 25
"""So many files' lists a check reads; a file that certshelf writes inherits its folder's."""


def on_share(store: Store) -> SmbStore:
    """The store as one on a share; ConfigError for a folder or a bucket."""
    if isinstance(store, SmbStore):
        return store
    raise ConfigError(
        f"cannot do that with {store.url}: it is no smb: address",
        hint="for a folder of this machine or an UNC path use what `certshelf share plan` prints;"
        " for a bucket, its service's own policies",
    )


def grant(store: SmbStore, *, readers: Sequence[str], writer: str, dry_run: bool = False) -> None:
    """Give the folder, and the old versions in it, exactly the access list of the rule.

    store: opened by an account that may change permissions. readers, writer: names of accounts or
    groups, or identifiers (S-1-5-...). Files and hidden folders that are there get what they
    inherit. dry_run: find the accounts, and change nothing. Safe to repeat. Raises ConfigError for
    an unknown account.
    """
    sids = find_accounts(store, (*readers, writer))
    reading = [sids[reader] for reader in readers]
    if sids[writer] in reading:
        raise ConfigError("a reader and the writer are one account", hint="make two accounts")
    if dry_run:
        return
    owner = read_rights(store).owner
    aces = grant_list(owner, reading, sids[writer])
    try:
        set_rights(store, aces)  # first, so that what is made below it is closed from the start
    except StoreDenied as error:
        raise StoreDenied(
            f"{store.calls.login.username} may not change who has access to {store.url}",
            hint="use --login with an administrator of the file server, not the writer",
            code=error.code,
        ) from error
    make_folders(store, HISTORY)
    set_rights(store, history_list(owner, sids[writer]), HISTORY)
    inherit_rights(store, aces, leave=HISTORY)


def check(
    writer: SmbStore, reader: SmbStore | None = None, *, accounts: tuple[str, ...] = ()
) -> list[Finding]:
    """What is wrong with who may do what: asked of the server, as the writer and as the reader.

    reader: the same folder, opened with the reader's login; None when that is not at hand, then
    only the access list is judged. accounts: further names that belong on it.
    """
    own = [store.calls.login.username for store in (writer, reader) if store is not None]
    keys = [entry.key for entry in islice(writer.list(), _SAMPLE)]
    protection = protection_of(writer)
    lists = dict(_lists(writer, keys))
    writing = (*maximal_accesses(writer, ("", *keys[:1])), None)
    reading = maximal_accesses(reader, ("", HISTORY)) if reader else (None, None)
    return judge(
        ShareRights(
            subject=writer.url,
            encrypted=protection.encryption is not Encryption.NOT_ASKED,
            clear_for_some=protection.encryption is Encryption.WHERE_POSSIBLE,
            signed=protection.signing,
            rights=lists.pop("", None),
            below=tuple(lists.items()),
            writer=writing[0],
            writer_file=writing[1],
            reader=reading[0],
            reader_history=reading[1],
            accounts=_known(writer, (*own, *accounts)) if reader else frozenset(),
        )
    )


def find_accounts(store: SmbStore, names: tuple[str, ...]) -> dict[str, str]:
    """The identifier of each account; ConfigError says which one the server does not know."""
    found = {name: name for name in names if is_sid(name)}
    asked = [name for name in names if name not in found]
    found |= lookup_accounts(store, asked) if asked else {}
    for name in names:
        if name not in found:
            raise ConfigError(
                f"the file server knows no account {name[:80]!r}",
                hint="write it as DOMAIN\\name, or give its SID (S-1-5-...)",
            )
    return found


def _lists(store: SmbStore, keys: list[str]) -> list[tuple[str, Descriptor]]:
    """Of the folder (""), of some files and of the hidden folders: what was there may differ."""
    hidden = [HIDDEN]
    with suppress(StoreError):
        hidden += [f"{HIDDEN}/{name}" for name, facts in store.scan(HIDDEN) if facts.is_folder]
    return read_rights_below(store, ("", *hidden, *keys))


def _known(store: SmbStore, names: tuple[str, ...]) -> frozenset[str]:
    with suppress(StoreError):
        found = lookup_accounts(store, names)
        if len(found) == len(set(names)):
            return frozenset(found.values())
    return frozenset()
