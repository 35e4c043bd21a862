"""Is the shelf there, and is the way to it encrypted and signed?"""

from __future__ import annotations

from collections.abc import Iterator

from certshelf.doctor.base import Check, error, no_shelf, warning
from certshelf.doctor.context import Context
from certshelf.finding import Finding


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


def _not_known(context: Context) -> str:
    if context.shelf is None:
        return "no shelf is configured"
    known = context.shelf.encrypted is not None or context.shelf.signed is not None
    return "" if known else "this kind of store has no session"


def _encrypted(context: Context) -> Iterator[Finding]:
    shelf = context.shelf
    if shelf is not None and shelf.encrypted is False:
        yield error(
            "shelf-encryption",
            shelf.url,
            "the session to the share is not encrypted",
            "private keys go over the network under one password only",
            "require SMB 3 encryption: Set-SmbShare -EncryptData $true",
        )


def _signed(context: Context) -> Iterator[Finding]:
    shelf = context.shelf
    if shelf is not None and shelf.signed is False:
        yield error(
            "shelf-signing",
            shelf.url,
            "the session to the share is not signed",
            "somebody on the way can change files or relay the login",
            "require signing: Set-SmbServerConfiguration -RequireSecuritySignature $true",
        )


def _foreign_rights(context: Context) -> Iterator[Finding]:
    shelf = context.shelf
    if shelf is None:
        return
    for grant in shelf.grants or ():
        account = grant.account.rpartition("\\")[2].lower()
        pool = grant.account.lower().startswith("iis apppool\\")
        if grant.rights and (account in _BROAD or pool):
            yield error(
                "shelf-broad-rights",
                grant.account,
                f"{grant.account} may {', '.join(sorted(grant.rights))} in {shelf.url}",
                "every web application of the farm could read every private key; IIS reads the "
                "shelf as the account configured in the central store, not as application pools",
                f"take the rights of {grant.account} away; the reader account is enough",
            )


_BROAD = frozenset(
    {"everyone", "authenticated users", "users", "domain users", "iis_iusrs", "anonymous logon"}
    | {"guest", "guests", "domain computers", "network"}
)


def _reader(context: Context) -> Iterator[Finding]:
    shelf = context.shelf
    if shelf is None or shelf.reader is None:
        return
    extra = sorted(set(shelf.reader) - {"read", "list"})
    lacking = sorted({"read", "list"} - set(shelf.reader))
    if extra:
        yield error(
            "shelf-reader-rights",
            shelf.url,
            f"the reader account may also {', '.join(extra)}",
            "whoever takes one web server could replace the certificates of all",
            "grant it read and list only, on the share and in NTFS: certshelf share plan",
        )
    if lacking:
        yield error(
            "shelf-reader-rights",
            shelf.url,
            f"the reader account may not {', '.join(lacking)}",
            "servers cannot read their certificates",
            "grant it read and list, on the share and in NTFS: certshelf share plan",
        )


def _writer(context: Context) -> Iterator[Finding]:
    shelf = context.shelf
    if shelf is None or shelf.writer is None:
        return
    lacking = sorted({"read", "list", "write", "delete"} - set(shelf.writer))
    if lacking:
        yield error(
            "shelf-writer-rights",
            shelf.url,
            f"the manager's account may not {', '.join(lacking)}",
            "renewed certificates cannot be published",
            "grant it change (modify) on the folder: certshelf share plan",
        )
    elif "change-rights" in shelf.writer:
        yield warning(
            "shelf-writer-rights",
            shelf.url,
            "the manager's account may change the folder's rights",
            "publishing needs no more than change (modify)",
            "take full control away from it: certshelf share plan",
        )


def _rights_not_known(context: Context) -> str:
    shelf = context.shelf
    if shelf is None:
        return "no shelf is configured"
    known = (shelf.reader, shelf.writer, shelf.grants)
    return "" if any(part is not None for part in known) else "rights are known of a share only"


CHECKS = (
    Check("shelf-reachable", "the shelf opens with a fresh session", _reachable, no_shelf),
    Check("shelf-encryption", "the session to the share is encrypted", _encrypted, _not_known),
    Check("shelf-signing", "the session to the share is signed", _signed, _not_known),
    Check(
        "shelf-reader-rights", "the reader account reads and no more", _reader, _rights_not_known
    ),
    Check(
        "shelf-writer-rights",
        "the manager's account writes and no more",
        _writer,
        _rights_not_known,
    ),
    Check(
        "shelf-broad-rights",
        "no group of everybody and no application pool reads the shelf",
        _foreign_rights,
        _rights_not_known,
    ),
)
