"""Who should be able to do what with a shelf's folder, and what is wrong with who can. Pure.

The rule: one writer (Modify), readers (Read and execute), administrators, nobody else, and old
versions for the writer alone. Sources: Enable-IISCentralCertProvider (learn.microsoft.com): the
account that IIS is given needs read access; "Everyone", or the identity of an application pool,
would let every web application read every key of the farm.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from certshelf.finding import Finding, Severity
from certshelf.store.acl import (
    ADMINISTRATORS,
    FULL,
    INHERIT_ONLY,
    MODIFY,
    OWNER_RIGHTS,
    READ,
    READS,
    SETS_RIGHTS,
    SYSTEM,
    WRITES,
    Ace,
    Descriptor,
    name_of,
)

PAGE = "docs/how-to/share.md"
_ANYBODY = frozenset(
    {"S-1-1-0", "S-1-5-2", "S-1-5-4", "S-1-5-7", "S-1-5-11", "S-1-5-32-545", "S-1-5-32-546"}
)
_ANYBODY_OF_A_DOMAIN = ("513", "514", "515")
_IIS_USERS, _APP_POOLS = "S-1-5-32-568", "S-1-5-82-"
_NARROW = "certshelf share grant --reader ACCOUNT --writer ACCOUNT (see certshelf share plan)"


@dataclass(frozen=True, slots=True)
class ShareRights:
    """What a file server said of one folder.

    encrypted: for clients that can; clear_for_some: those that cannot are let in all the same.
    signed: the server demands it of every message.
    rights: owner and list; None when this login may not read them. below: the same of files and
    folders in it. Maximal access of the writer on
    the folder and on a file of its own, of the reader on the folder and on old versions; None when
    it was not asked or there is no such thing, 0 for nothing at all. accounts: identifiers that
    belong there; empty when they are not known.
    """

    subject: str
    encrypted: bool
    rights: Descriptor | None
    clear_for_some: bool = False
    signed: bool = True
    below: tuple[tuple[str, Descriptor], ...] = ()
    writer: int | None = None
    writer_file: int | None = None
    reader: int | None = None
    reader_history: int | None = None
    accounts: frozenset[str] = frozenset()


def grant_list(owner: str, readers: Sequence[str], writer: str) -> tuple[Ace, ...]:
    """The access list of a shelf's folder. All are identifiers; owner is who owns the folder.

    OWNER RIGHTS takes from the writer what Windows gives every owner of a file, to change its
    list; it holds for what lies in the folder, not for the folder.
    """
    return (*history_list(owner, writer), *(Ace(reader, READ) for reader in readers))


def history_list(owner: str, writer: str) -> tuple[Ace, ...]:
    """The access list of the old versions: no reader."""
    keepers = dict.fromkeys((owner, ADMINISTRATORS, SYSTEM))
    keepers.pop(writer, None)
    keepers.pop("", None)
    return (
        *(Ace(sid, FULL) for sid in keepers),
        Ace(writer, MODIFY),
        Ace(OWNER_RIGHTS, MODIFY, flags=INHERIT_ONLY),
    )


def judge(rights: ShareRights) -> list[Finding]:
    """What is wrong, worst first; one finding of severity ok when nothing is."""
    found = [
        *_transport(rights),
        *(_lists(rights, rights.rights) if rights.rights is not None else ()),
        *_below(rights),
        *_reader(rights),
        *_writer(rights),
    ]
    if not found:
        return [_finding(rights, "share-rights", Severity.OK, "only who should has access")]
    order = list(Severity)
    return sorted(found, key=lambda finding: -order.index(finding.severity))


def _transport(rights: ShareRights) -> Iterator[Finding]:
    if not rights.encrypted:
        yield _finding(
            rights,
            "share-unencrypted",
            Severity.ERROR,
            "the file server does not insist on SMB encryption for this share",
            "IIS and other readers would send and get keys in the clear",
            "Set-SmbShare -Name SHARE -EncryptData $true; in Samba: smb encrypt = required",
        )
    elif rights.clear_for_some:
        yield _finding(
            rights,
            "share-unencrypted",
            Severity.WARNING,
            "the file server encrypts for all who can, and lets in who cannot",
            "a reader without SMB 3 encryption gets keys in the clear",
            "in Samba: server smb encrypt = required instead of desired; on Windows:"
            " Set-SmbServerConfiguration -RejectUnencryptedAccess $true",
        )
    if not rights.signed:
        demanded = rights.encrypted and not rights.clear_for_some
        yield _finding(
            rights,
            "share-unsigned",
            Severity.INFO if demanded else Severity.WARNING,
            "the file server does not demand signed messages",
            "encryption covers this share; other shares of that server may be read and changed"
            if demanded
            else "who stands in between can change what a reader in clear reads",
            "Set-SmbServerConfiguration -RequireSecuritySignature $true;"
            " in Samba: server signing = mandatory",
        )


def _lists(rights: ShareRights, descriptor: Descriptor) -> Iterator[Finding]:
    if descriptor.aces is None:
        yield _finding(
            rights,
            "share-open",
            Severity.ERROR,
            "the folder has no access list: everybody may do everything",
            "every key of the farm is anybody's",
            _NARROW,
        )
    for ace in descriptor.aces or ():
        if ace.allow and ace.rights & (READS | WRITES | SETS_RIGHTS):
            yield from _entry(rights, ace, descriptor.owner)
    if not descriptor.protected and descriptor.aces is not None:
        yield _finding(
            rights,
            "share-inherits",
            Severity.WARNING,
            "the folder also takes the rights that the folder above passes on",
            "a change there opens the shelf without anybody looking at it",
            _NARROW,
        )


def _below(rights: ShareRights) -> Iterator[Finding]:
    """What has a wider list than its folder: it was there before, or somebody opened it."""
    wider: dict[str, list[str]] = {}
    for key, descriptor in rights.below:
        for finding in _lists(rights, descriptor):
            if finding.severity is Severity.ERROR:
                wider.setdefault(finding.what, []).append(key)
    for what, keys in wider.items():
        yield _finding(
            rights,
            "share-wider-below",
            Severity.ERROR,
            f"{what} in {len(keys)} of {len(rights.below)} files and folders below: {keys[0]}",
            "a file that was there before keeps the rights that it had",
            _NARROW,
        )


def _entry(rights: ShareRights, ace: Ace, owner: str) -> Iterator[Finding]:
    who, may = name_of(ace.sid), _words(ace.rights)
    if ace.sid in _ANYBODY or (
        ace.sid.startswith("S-1-5-21-") and ace.sid.endswith(_ANYBODY_OF_A_DOMAIN_ENDS)
    ):
        yield _finding(
            rights,
            "share-everyone",
            Severity.ERROR,
            f"{who} may {may}",
            "the PFX password is on every server, so whoever can read the files has the keys",
            _NARROW,
        )
    elif ace.sid == _IIS_USERS or ace.sid.startswith(_APP_POOLS):
        yield _finding(
            rights,
            "share-app-pool",
            Severity.ERROR,
            f"{who} may {may}",
            "every web application of that server could read every key of the farm; IIS itself"
            " reads with the account of Enable-IISCentralCertProvider",
            _NARROW,
        )
    elif rights.accounts and ace.sid not in rights.accounts | {
        owner, ADMINISTRATORS, SYSTEM, OWNER_RIGHTS
    }:  # fmt: skip
        yield _finding(
            rights,
            "share-other-account",
            Severity.WARNING,
            f"{who} may {may}, and is neither the writer nor the reader",
            "each further account is one more way to the keys",
            "take it off the list, or run share check with its name when it belongs there",
        )


_ANYBODY_OF_A_DOMAIN_ENDS = tuple(f"-{rid}" for rid in _ANYBODY_OF_A_DOMAIN)


def _reader(rights: ShareRights) -> Iterator[Finding]:
    if rights.reader is None:
        return
    if rights.reader & (WRITES | SETS_RIGHTS):
        yield _finding(
            rights,
            "share-reader-can-write",
            Severity.ERROR,
            f"the reader may {_words(rights.reader)}",
            "who takes over one web server could put certificates of their own on all of them",
            _NARROW,
        )
    if not rights.reader & READS:
        yield _finding(
            rights,
            "share-reader-cannot-read",
            Severity.ERROR,
            "the reader may not read the folder",
            "the servers that use this account serve nothing new",
            _NARROW,
        )
    if rights.reader_history is not None and rights.reader_history & READS:
        yield _finding(
            rights,
            "share-reader-reads-history",
            Severity.ERROR,
            "the reader may read old versions",
            "one stolen account would give every old key besides the one in use",
            _NARROW,
        )


def _writer(rights: ShareRights) -> Iterator[Finding]:
    if rights.writer is None:
        return
    if MODIFY & ~rights.writer & (READS | WRITES):
        yield _finding(
            rights,
            "share-writer-cannot-write",
            Severity.ERROR,
            "the writer may not read, make, replace and delete files in the folder",
            "publishing fails",
            _NARROW,
        )
    if rights.writer & SETS_RIGHTS:
        yield _finding(
            rights,
            "share-writer-sets-rights",
            Severity.ERROR,
            "the writer may change who has access to the folder",
            "who takes over the manager could open the shelf to everybody, for ever",
            "make an administrator the folder's owner; " + _NARROW,
        )
    elif (rights.writer_file or 0) & SETS_RIGHTS:
        yield _finding(
            rights,
            "share-writer-sets-rights",
            Severity.WARNING,
            "the writer may change who has access to the files that it made",
            "Windows gives that to every owner, unless an OWNER RIGHTS entry takes it away",
            _NARROW,
        )


def _words(mask: int) -> str:
    """Rights as words: "read, write and set rights"."""
    words = [
        word
        for bits, word in ((READS, "read"), (WRITES, "write"), (SETS_RIGHTS, "set rights"))
        if mask & bits
    ]
    return " and ".join([", ".join(words[:-1]), words[-1]] if len(words) > 1 else words)


def _finding(
    rights: ShareRights, id: str, severity: Severity, what: str, why: str = "", do: str = ""
) -> Finding:
    return Finding(id, severity, rights.subject, what, why, do, PAGE)
