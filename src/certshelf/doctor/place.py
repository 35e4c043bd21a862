"""Is the shelf there, and do only those have access who should?"""

from __future__ import annotations

import posixpath
import re
from collections.abc import Iterator

from certshelf.doctor.base import Check, error, no_shelf, warning
from certshelf.doctor.context import Context
from certshelf.finding import Finding

# What certshelf.shelf.rights finds: `certshelf share check` says the same.
FROM_SHARE = (
    "share-unencrypted",
    "share-unsigned",
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


def _published(context: Context) -> Iterator[Finding]:
    for one in context.published:
        for shelf in context.shelves:
            where = overlap(one.folder, shelf)
            if not where:
                continue
            sure = one.here or one.folder.startswith("\\\\")
            yield (error if sure else warning)(
                "shelf-published",
                one.subject,
                f"{one.what} {one.folder} lies {where} the shelf {shelf}"
                + ("" if sure else ", if it is on the same machine"),
                "whoever asks the web server for a file may get one with a private key",
                "move it: a shelf and what a web server publishes never lie in one another",
            )


def overlap(folder: str, shelf: str) -> str:
    """`in`, `above` or `at` when one of two places holds the other, "" when they are apart.

    Local paths, UNC paths and smb:// addresses; Windows knows no case.
    """
    one, other = _parts(folder), _parts(shelf)
    if not one or not other or one[: len(other)] != other[: len(one)]:
        return ""
    return "at" if one == other else "in" if len(one) > len(other) else "above"


def _parts(place: str) -> tuple[str, ...]:
    r"""The steps to a place, a share's server first; () for a bucket, which nobody publishes so."""
    text = place.removeprefix("file://")
    if text.startswith("smb://"):
        text = "\\\\" + re.sub(r":\d+(?=/|$)", "", text[6:], count=1)
    elif "://" in text:
        return ()
    if not text.startswith("\\\\") and text[1:2] != ":":
        return ("/", *(part for part in posixpath.normpath(text).split("/") if part))
    kind = "\\\\" if text.startswith("\\\\") else ""
    return (kind, *(p for p in re.split(r"[\\/]+", text.casefold()) if p not in ("", ".")))


def _no_share(context: Context) -> str:
    if context.shelf is None:
        return "no shelf is configured"
    return "" if context.share is not None else "the shelf is no share, or could not be asked"


def _no_shelves(context: Context) -> str:
    return "" if context.shelves else "no shelf is configured"


CHECKS = (
    Check("shelf-reachable", "the shelf opens with a fresh session", _reachable, no_shelf),
    Check(
        "share-rights",
        "the share is encrypted, and only who should has access",
        _share,
        _no_share,
        FROM_SHARE,
    ),
    Check("shelf-published", "no web server publishes the shelf", _published, _no_shelves),
)
