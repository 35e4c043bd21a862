"""Who may do what with a file or folder, as Windows and Samba keep it: owner and access list.

Values and their byte form (MS-DTYP sections 2.4.2 to 2.4.6); nothing here talks to a server.
"""

from __future__ import annotations

import re
import struct
from dataclasses import dataclass

READ = 0x1200A9
"""icacls RX: list, read, traverse."""
MODIFY = 0x1301BF
"""icacls M: READ and write, make, delete; no change of rights or owner."""
FULL = 0x1F01FF
INHERIT = 0x3
"""This folder, its sub-folders and files (OI)(CI)."""
INHERIT_ONLY = 0xB
"""Sub-folders and files, not this folder itself (OI)(CI)(IO)."""
READS = 0x1
WRITES = 0x2 | 0x4 | 0x10 | 0x40 | 0x100 | 0x10000
"""Make, append, extended attributes, delete children, attributes, delete."""
SETS_RIGHTS = 0x40000 | 0x80000
"""Change the access list, take ownership."""

ADMINISTRATORS, SYSTEM, OWNER_RIGHTS = "S-1-5-32-544", "S-1-5-18", "S-1-3-4"
_GENERIC = {0x10000000: FULL, 0x40000000: WRITES | 0x100000, 0x80000000: READ, 0x20000000: READ}
_INHERITED = 0x10
_FROM_ABOVE = 0x0400 | 0x0100  # auto-inherited, and asked to stay so
_PROTECTED, _SELF_RELATIVE, _PRESENT = 0x1000, 0x8000, 0x0004
_SID = re.compile(r"S-1-\d{1,14}(?:-\d{1,10}){1,15}", re.ASCII)

_NAMES = {
    "S-1-1-0": "Everyone",
    "S-1-2-0": "LOCAL",
    "S-1-3-0": "CREATOR OWNER",
    "S-1-3-1": "CREATOR GROUP",
    OWNER_RIGHTS: "OWNER RIGHTS",
    "S-1-5-2": "NETWORK",
    "S-1-5-4": "INTERACTIVE",
    "S-1-5-7": "ANONYMOUS LOGON",
    "S-1-5-11": "Authenticated Users",
    SYSTEM: "SYSTEM",
    "S-1-5-19": "LOCAL SERVICE",
    "S-1-5-20": "NETWORK SERVICE",
    ADMINISTRATORS: "Administrators",
    "S-1-5-32-545": "Users",
    "S-1-5-32-546": "Guests",
    "S-1-5-32-568": "IIS_IUSRS",
    "S-1-5-82-0": "IIS AppPool (all)",
    "S-1-22-1-0": "root (Samba)",
    "S-1-22-2-0": "group root (Samba)",
}
_DOMAIN_NAMES = {"512": "Domain Admins", "513": "Domain Users", "514": "Domain Guests"} | {
    "515": "Domain Computers",
    "519": "Enterprise Admins",
}


@dataclass(frozen=True, slots=True)
class Ace:
    """One line of an access list. mask: access rights; flags: how it is inherited."""

    sid: str
    mask: int
    allow: bool = True
    flags: int = INHERIT

    @property
    def rights(self) -> int:
        """The mask with generic rights spelled out."""
        mask = self.mask
        for generic, specific in _GENERIC.items():
            if mask & generic:
                mask |= specific
        return mask


@dataclass(frozen=True, slots=True)
class Descriptor:
    """Owner and access list. aces None: no list at all, so everybody may do everything."""

    owner: str
    aces: tuple[Ace, ...] | None
    protected: bool
    """Whether it ignores what the folder above would pass on."""


def is_sid(text: str) -> bool:
    """Whether a text is a security identifier (S-1-5-...)."""
    return _SID.fullmatch(text) is not None


def name_of(sid: str) -> str:
    """The name of a well-known account or group, else the identifier itself."""
    if sid in _NAMES:
        return _NAMES[sid]
    if sid.startswith("S-1-5-82-"):
        return f"an IIS application pool ({sid})"
    rid = sid.rpartition("-")[2]
    if sid.startswith("S-1-5-21-") and rid in _DOMAIN_NAMES:
        return f"{_DOMAIN_NAMES[rid]} ({sid})"
    return sid


def parse_descriptor(data: bytes) -> Descriptor:
    """Read a self-relative security descriptor; ValueError when it is none."""
    try:
        control, owner_at, _, _, dacl_at = struct.unpack_from("<2xHIIII", data)
        owner = parse_sid(data, owner_at) if owner_at else ""
        has_list = bool(control & _PRESENT) and dacl_at
        aces = _parse_aces(data, dacl_at) if has_list else None
    except struct.error as error:
        raise ValueError("a security descriptor that ends too early") from error
    return Descriptor(owner, aces, bool(control & _PROTECTED))


def inherited(aces: tuple[Ace, ...], *, by_folder: bool) -> tuple[Ace, ...]:
    """What a file or folder gets from a folder with this list (MS-DTYP section 2.5.3.4.6)."""
    wanted = 0x2 if by_folder else 0x1
    return tuple(
        Ace(ace.sid, ace.mask, ace.allow, _INHERITED | (ace.flags & 0x3 if by_folder else 0))
        for ace in aces
        if ace.flags & wanted
    )


def pack_dacl(aces: tuple[Ace, ...], *, protected: bool = True) -> bytes:
    """A self-relative descriptor with this access list alone.

    protected: it takes nothing from the folder above; otherwise it is marked as what came from it.
    """
    body = b"".join(_pack_ace(ace) for ace in aces)
    acl = struct.pack("<BxHHH", 2, 8 + len(body), len(aces), 0) + body
    control = _SELF_RELATIVE | _PRESENT | (_PROTECTED if protected else _FROM_ABOVE)
    return struct.pack("<BxHIIII", 1, control, 0, 0, 0, 20) + acl


def parse_sid(data: bytes, at: int) -> str:
    """The identifier at a place; ValueError or struct.error when there is none."""
    revision, count = struct.unpack_from("<BB", data, at)
    if revision != 1 or count > 15:
        raise ValueError("no security identifier")
    authority = int.from_bytes(data[at + 2 : at + 8], "big")
    parts = struct.unpack_from(f"<{count}I", data, at + 8)
    return "-".join(["S-1", str(authority), *map(str, parts)])


def pack_sid(sid: str) -> bytes:
    """The byte form of an identifier; ValueError when the text is none."""
    if not is_sid(sid):
        raise ValueError(f"no security identifier: {sid[:80]!r}")
    authority, *parts = map(int, sid.split("-")[2:])
    head = struct.pack("<BB", 1, len(parts)) + authority.to_bytes(6, "big")
    return head + struct.pack(f"<{len(parts)}I", *parts)


def _parse_aces(data: bytes, at: int) -> tuple[Ace, ...]:
    (count,) = struct.unpack_from("<H", data, at + 4)
    aces, at = [], at + 8
    for _ in range(count):
        kind, flags, size, mask = struct.unpack_from("<BBHI", data, at)
        if size < 8:
            raise ValueError("an entry of an access list that is too short")
        if kind in (0, 1):  # allow, deny; others (audit, object, conditional) give nobody a right
            aces.append(Ace(parse_sid(data, at + 8), mask, kind == 0, flags))
        at += size
    return tuple(aces)


def _pack_ace(ace: Ace) -> bytes:
    sid = pack_sid(ace.sid)
    return struct.pack("<BBHI", 0 if ace.allow else 1, ace.flags, 8 + len(sid), ace.mask) + sid
