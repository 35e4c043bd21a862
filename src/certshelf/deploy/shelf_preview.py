"""What a publication would do on a shelf: asked of the store itself, changing nothing on it."""

from __future__ import annotations

import secrets
from collections.abc import Iterable
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress

from certshelf.bundle.model import Bundle
from certshelf.deploy.base import Planned, Preview
from certshelf.errors import ForeignFile, StoreDenied, StoreError
from certshelf.finding import Finding, Severity
from certshelf.names import HostName
from certshelf.shelf.manifest import Record
from certshelf.shelf.once import PfxReader
from certshelf.shelf.publish import REMOTE_WRITERS, refuse_foreign
from certshelf.shelf.shelf import Shelf
from certshelf.store.base import ABSENT, HIDDEN, Blob, Store
from certshelf.store.smb import SmbStore

_WRITE = 0x2 | 0x4
"""FILE_ADD_FILE and FILE_ADD_SUBDIRECTORY (MS-SMB2 section 2.2.13.1.2)."""
_PASSWORD_IDS = ("pfx-password", "pfx-password-mixed")


def preview_shelf(
    shelf: Shelf, hosts: Iterable[HostName], bundle: Bundle | None, *, adopt: bool = False
) -> Preview:
    """The files that publishing would leave, and what would be in its way.

    bundle: what would be published; None when it is still to be requested. Proves that the store
    is reachable and writable. Raises StoreError when it is not.
    """
    check_writable(shelf.store)
    files = [file for host in hosts for file in host.file_names()]
    read = PfxReader()  # they are mostly the same PFX

    def look(file: str) -> tuple[Planned, tuple[Finding, ...]]:
        return _look(shelf, file, bundle, adopt, read)

    if shelf.store.is_local or len(files) == 1:
        seen = [look(file) for file in files]
    else:
        with ThreadPoolExecutor(REMOTE_WRITERS, thread_name_prefix="certshelf-preview") as pool:
            seen = list(pool.map(look, files))
    planned = tuple(plan for plan, _ in seen)
    return Preview(planned, tuple(finding for _, found in seen for finding in found))


def check_writable(store: Store) -> None:
    """StoreError unless this login may write there.

    On a share by maximal access, which leaves no trace; elsewhere by a file that is removed.
    """
    if isinstance(store, SmbStore):
        from certshelf.store.smb_security import maximal_access

        rights = maximal_access(store)
        if rights is not None and rights & _WRITE != _WRITE:
            raise StoreDenied(
                f"{store.calls.login.username} may not write to {store.url}",
                hint="certshelf share check shows who may do what",
            )
        return
    key = f"{HIDDEN}/preview-{secrets.token_hex(6)}"
    store.put(key, b"", ABSENT)
    with suppress(StoreError):
        store.delete(key)


def _look(
    shelf: Shelf, file: str, bundle: Bundle | None, adopt: bool, read: PfxReader
) -> tuple[Planned, tuple[Finding, ...]]:
    target = shelf.store.url
    blob = shelf.store.get(file)
    if blob is None:
        return Planned(target, file, "new"), ()
    seen = shelf.manifest.read(file)
    record = seen[0] if seen else None
    there = shelf.look_at(file, read)
    findings = [f for f in there.findings if f.id in _PASSWORD_IDS] if there else []
    findings += _foreign(shelf, file, record, blob, adopt)
    same = bundle is not None and there is not None and there.bundle == bundle
    unchanged = same and there is not None and there.profile is shelf.profile
    return Planned(target, file, "unchanged" if unchanged else "replaced"), tuple(findings)


def _foreign(
    shelf: Shelf, file: str, record: Record | None, blob: Blob, adopt: bool
) -> list[Finding]:
    try:
        refuse_foreign(file, record, blob, shelf.owner, adopt=adopt)
    except ForeignFile as error:
        return [
            Finding(
                id="file-foreign",
                severity=Severity.ERROR,
                subject=file,
                what=str(error),
                why="it is never overwritten, so this name would keep its old certificate",
                do=error.hint,
            )
        ]
    return []
