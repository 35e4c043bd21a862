"""Host names and their file names on a shelf: the one place that decides what is a name.

The rules are those of IIS's Centralized Certificate Store: `www.example.com` lies in
`www.example.com.pfx`, `*.example.com` in `_.example.com.pfx`, and IIS looks for the Unicode form
of an internationalised name while every other server sees its A-labels on the wire.
Sources: "IIS 8.0 Centralized SSL Certificate Support" (learn.microsoft.com); RFC 1123, RFC 5890,
UTS #46; RFC 6125 section 6.4.3 for the wildcard; "Naming Files, Paths, and Namespaces"
(learn.microsoft.com) for the device names.
"""

from __future__ import annotations

import re
import unicodedata
from dataclasses import dataclass
from functools import lru_cache

from certshelf.errors import NameInvalid

SUFFIX = ".pfx"
MAX_FILE_NAME_BYTES = 250  # file systems allow 255; its record and history need the rest
_MAX_NAME = 253
_LABEL = r"[a-z0-9](?:[a-z0-9-]{0,61}[a-z0-9])?"
_LDH_NAME = re.compile(rf"{_LABEL}(?:\.{_LABEL})*", re.ASCII)
_ORDINARY = re.compile(r"(?:\*\.)?[A-Za-z0-9.-]+", re.ASCII)
_NUMERIC_LABEL = re.compile(r"(?:[0-9]+|0x[0-9a-f]*)", re.ASCII)
_DEVICES = frozenset({"con", "prn", "aux", "nul", "conin$", "conout$"}) | {
    f"{port}{n}" for port in ("com", "lpt") for n in range(10)
}


@dataclass(frozen=True, slots=True, order=True)
class HostName:
    """A validated DNS host name, or a wildcard for one label (`*.example.com`).

    ascii: lower-case A-labels without a trailing dot, `*` kept. unicode: the same in U-labels.
    Build one with parse() or from_file_name() only.
    """

    ascii: str
    unicode: str

    @staticmethod
    def parse(text: str) -> HostName:
        """Normalise and validate what a user, a file, a certificate or a client gave.

        Lower case, one trailing dot dropped, UTS #46 (non-transitional) to IDNA2008 A-labels.
        Raises NameInvalid with the reason: no IP address, empty or over-long label or name,
        space, control character, separator, Windows device name, or too long for a file.
        """
        return _parse(text)

    @staticmethod
    def from_file_name(file_name: str) -> HostName:
        """The host that a file of the shelf stands for: the inverse of file_names().

        Case does not matter, as on Windows. Raises NameInvalid for what is no name of a shelf.
        """
        stem = unicodedata.normalize("NFC", file_name)
        if not stem.lower().endswith(SUFFIX):
            raise _invalid(file_name, f"a file of a shelf ends in {SUFFIX}")
        stem = stem[: -len(SUFFIX)]
        if stem.endswith(".") or "*" in stem:
            raise _invalid(file_name, "no file name of a shelf")
        return _parse("*" + stem[1:] if stem.startswith("_.") else stem)

    @property
    def is_wildcard(self) -> bool:
        """Whether the first label is `*`."""
        return self.ascii.startswith("*.")

    def covers(self, host: HostName) -> bool:
        """Whether a certificate with this name is good for host: equal, or `*` for one label."""
        if self.ascii == host.ascii:
            return True
        return self.is_wildcard and host.wildcard() == self

    def wildcard(self) -> HostName | None:
        """The wildcard name that covers this host: its first label replaced by `*`."""
        if self.is_wildcard or "." not in self.ascii:
            return None
        return HostName(
            "*." + self.ascii.partition(".")[2],
            "*." + self.unicode.partition(".")[2],
        )

    def candidates(self) -> tuple[HostName, ...]:
        """What to look for, in order: the exact name, then its wildcard (one label, no climbing).

        Source: KAUSHAL, "Central Certificate Store (CCS) with IIS", File Naming Convention.
        """
        wildcard = self.wildcard()
        return (self,) if wildcard is None else (self, wildcard)

    def file_name(self) -> str:
        """The file that every reader of ours looks for: A-labels, `_` for the wildcard."""
        return _file_name(self.ascii)

    def file_names(self) -> tuple[str, ...]:
        """Every file to write: file_name(), and the Unicode one, which IIS looks for, if other."""
        names = (_file_name(self.ascii), _file_name(self.unicode))
        return names[:1] if names[0] == names[1] else names

    def __str__(self) -> str:
        return self.ascii


@lru_cache(maxsize=4096)
def _parse(text: str) -> HostName:
    reason = _refusal(text)
    if reason:
        raise _invalid(text, reason)
    name = text[:-1] if text.endswith(".") else text
    star, rest = ("*.", name[2:]) if name.startswith("*.") else ("", name)
    ascii_name, unicode_name = _idna(text, rest)
    _check_ascii(text, star, ascii_name)
    host = HostName(star + ascii_name, star + unicode_name)
    for file_name in host.file_names():
        if len(file_name.encode()) > MAX_FILE_NAME_BYTES:
            raise _invalid(text, f"its file name is longer than {MAX_FILE_NAME_BYTES} bytes")
    return host


def _refusal(text: str) -> str:
    """Why the raw text can be no name, before anything is decoded; "" when it may be one."""
    if not text:
        return "it is empty"
    if len(text) > 1024:
        return "it is too long"
    if _ORDINARY.fullmatch(text):
        return ""  # what handshakes bring: nothing below can be wrong with it
    if any(unicodedata.category(c) in ("Cc", "Cs", "Zl", "Zp", "Zs") for c in text):
        return "it holds a space or a control character"
    for bad in '/\\:%"<>|?@#':
        if bad in text:
            return f"it holds {bad!r}"
    if "*" in (text[1:] if text.startswith("*.") else text):
        return "a wildcard is one whole first label: *.example.com"
    if "_" in text:
        return "it holds '_', which no host name has"
    return ""


def _idna(text: str, name: str) -> tuple[str, str]:
    """A-label and U-label form of a name without its wildcard."""
    lowered = name.lower()
    if name.isascii() and "xn--" not in lowered:
        return lowered, lowered
    import idna  # 24 ms to import, and most names never need it

    try:
        ascii_name = idna.encode(name, uts46=True, transitional=False).decode("ascii")
        return ascii_name, idna.decode(ascii_name)
    except (idna.IDNAError, UnicodeError) as error:
        raise _invalid(text, f"it is no internationalised name ({error})") from error


def _check_ascii(text: str, star: str, name: str) -> None:
    if len(star + name) > _MAX_NAME:
        raise _invalid(text, f"it is longer than {_MAX_NAME} characters")
    labels = name.split(".")
    if not all(labels):
        raise _invalid(text, "it has an empty label")
    if any(len(label) > 63 for label in labels):
        raise _invalid(text, "it has a label of more than 63 characters")
    if not _LDH_NAME.fullmatch(name):
        raise _invalid(text, "a label is letters, digits and inner hyphens")
    if _NUMERIC_LABEL.fullmatch(labels[-1]):  # all of IPv4; IPv6 has colons, refused above
        raise _invalid(text, "it is an IP address, and a shelf holds host names only")
    if not star and labels[0] in _DEVICES:
        raise _invalid(text, f"Windows takes its file for the device {labels[0].upper()!r}")


def _file_name(name: str) -> str:
    return ("_" + name[1:] if name.startswith("*.") else name) + SUFFIX


def _invalid(text: str, reason: str) -> NameInvalid:
    shown = text if len(text) <= 80 else text[:77] + "..."
    return NameInvalid(f"no host name: {shown!r}: {reason}")
