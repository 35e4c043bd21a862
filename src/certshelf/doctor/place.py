"""Is the shelf there, and do only those have access who should?"""

from __future__ import annotations

from collections.abc import Iterator

from certshelf.doctor.base import Check, error, no_shelf
from certshelf.doctor.context import Context
from certshelf.finding import Finding

# What certshelf.shelf.rights finds: `certshelf share check` says the same.
FROM_SHARE = (
    "share-unencrypted",
    "share-open",
    "share-inherits",
    "share-wider-below",
    "share-everyone",
    "share-app-pool",
    "share-other-account",
    "share-reader-can-write",
    "share-reader-cannot-read",
    "share-reader-reads-history",
    "share-writer-cannot-write",
    "share-writer-sets-rights",
)


def _reachable(context: Context) -> Iterator[Finding]:
    shelf = context.shelf
    if shelf is not None and shelf.error:
        yield error(
            "shelf-reachable",
            shelf.url,
            f"the shelf cannot be opened: {shelf.error}",
            "nothing can be published, and a server that restarts finds no certificates",
            shelf.hint or "check the address, the network and the account's password",
        )


def _share(context: Context) -> Iterator[Finding]:
    yield from context.share or ()


def _no_share(context: Context) -> str:
    if context.shelf is None:
        return "no shelf is configured"
    return "" if context.share is not None else "the shelf is no share, or could not be asked"


CHECKS = (
    Check("shelf-reachable", "the shelf opens with a fresh session", _reachable, no_shelf),
    Check(
        "share-rights",
        "the share is encrypted, and only who should has access",
        _share,
        _no_share,
        FROM_SHARE,
    ),
)
