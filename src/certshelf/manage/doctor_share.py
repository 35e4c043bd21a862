"""Who may do what with a shelf's share, asked as its writer and as its servers' reader."""

from __future__ import annotations

from certshelf.doctor.base import error
from certshelf.errors import CertshelfError
from certshelf.finding import Finding, Severity
from certshelf.manage.home import Home
from certshelf.manage.settings import Settings
from certshelf.manage.shelves import open_store_of
from certshelf.shelf.access import check, on_share
from certshelf.store.base import Store
from certshelf.store.smb import SmbStore


def look_at_share(home: Home, settings: Settings, store: Store) -> tuple[Finding, ...] | None:
    """What is wrong with the rights on a share; None when the shelf lies elsewhere.

    Every login is a fresh session: a password that was changed does not end an old one. Raises
    StoreError when the writer cannot log in; a reader who cannot is a finding.
    """
    if not isinstance(store, SmbStore):
        return None
    store.check_login()
    name = settings.shelf.reader_credential
    if not name:
        return tuple(check(store))
    try:
        reader = on_share(open_store_of(home, settings, name))
        reader.check_login()
    except CertshelfError as refused:
        others = (finding for finding in check(store) if finding.severity is not Severity.OK)
        return (_no_reader(store.url, name, refused), *others)
    accounts = tuple(a.strip() for a in settings.shelf.other_accounts.split(",") if a.strip())
    try:
        return tuple(check(store, reader, accounts=accounts))
    finally:
        reader.close()


def _no_reader(url: str, login: str, refused: CertshelfError) -> Finding:
    return error(
        "share-reader-cannot-read",
        url,
        f"the reader ({login}) cannot open the folder: {refused}",
        "the servers that use this account serve nothing new",
        refused.hint or f"certshelf credential set {login}, if its password was changed",
    )
