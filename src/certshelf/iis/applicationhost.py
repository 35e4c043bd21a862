"""Reading the https bindings of IIS from an applicationHost.config.

Limits: sites and their bindings only; `configSource`, shared configuration (redirection.config)
and bindings of other protocols are not followed. The thumbprint of a direct binding is in
http.sys, not in this file, unless IIS wrote `certificateHash` beside it.
Source: BINDING, learn.microsoft.com system.applicationHost/sites/site/bindings/binding.
"""

from __future__ import annotations

import xml.etree.ElementTree as ET  # document types are refused before parsing
from xml.parsers import expat

from certshelf.errors import ConfigError
from certshelf.farm import Binding

MAX_BYTES = 32 * 2**20
_CENTRAL = 2


def read(data: bytes, source: str = "applicationHost.config") -> list[Binding]:
    """The https bindings in the order of the file, with IIS's sslFlags.

    certificate: the thumbprint of a direct binding where the file has it, "" for the store.
    Raises ConfigError for what is no such file; a document type or an entity is refused unread.
    """
    root = _parse(data, source)
    if root.tag != "configuration":
        raise ConfigError(f"{source} is no IIS configuration: its root is <{root.tag[:40]}>")
    rows = []
    for site in root.iterfind("./system.applicationHost/sites/site"):
        for binding in site.iterfind("./bindings/binding"):
            if binding.get("protocol", "").lower() == "https":
                rows.append(_binding(site.get("name", ""), binding, source))
    return rows


def folders(data: bytes, source: str = "applicationHost.config") -> list[str]:
    """The physical paths of every site's virtual directories; ConfigError as read() raises it."""
    root = _parse(data, source)
    found = root.iterfind("./system.applicationHost/sites/site/application/virtualDirectory")
    paths = [one.get("physicalPath", "") for one in found]
    return list(dict.fromkeys(path for path in paths if path))


def parse_information(text: str) -> tuple[str, int, str]:
    """Address, port and host of a bindingInformation: `*:443:www.example.com`, `[::1]:443:`."""
    address, port, host = "", "", ""
    if text.startswith("["):
        inside, bracket, rest = text.partition("]")
        address = inside + bracket
        _, port, host = [*rest.split(":", 2), "", "", ""][:3]
    else:
        address, port, host = [*text.split(":", 2), "", "", ""][:3]
    if not (port.isascii() and port.isdigit() and 0 < int(port) < 65_536):
        raise ConfigError(f"a binding has no port: {text[:80]!r}")
    return address or "*", int(port), host


def _parse(data: bytes, source: str) -> ET.Element:
    if len(data) > MAX_BYTES:
        raise ConfigError(f"{source} is larger than {MAX_BYTES} bytes")
    _refuse_document_type(data, source)
    try:
        return ET.fromstring(data)  # noqa: S314  # see above
    except (ET.ParseError, ValueError, LookupError) as error:
        raise ConfigError(f"{source} is no XML: {error}") from error


def _refuse_document_type(data: bytes, source: str) -> None:
    """One pass without a tree: entities can only be declared in a document type."""

    def refuse(*_: object) -> None:
        raise ConfigError(
            f"{source} declares a document type",
            hint="IIS writes none; entities in it could name other files or grow without end",
        )

    parser = expat.ParserCreate()
    parser.StartDoctypeDeclHandler = refuse
    parser.EntityDeclHandler = refuse
    try:
        parser.Parse(data, True)
    except (expat.ExpatError, ValueError, LookupError) as error:
        raise ConfigError(f"{source} is no XML: {error}") from error


def _binding(site: str, element: ET.Element, source: str) -> Binding:
    address, port, host = parse_information(element.get("bindingInformation", ""))
    text = element.get("sslFlags", "0")
    flags = _flags(text, source)
    thumbprint = "" if flags & _CENTRAL else element.get("certificateHash", "").upper()
    return Binding(site, host, address, port, flags, thumbprint, source)


_NAMES = {
    "none": 0,
    "sni": 1,
    "centralcertstore": 2,
    "disablehttp2": 4,
    "disableocspstp": 8,
    "disablequic": 16,
    "disabletls13": 32,
    "disablelegacytls": 64,
}


def _flags(text: str, source: str) -> int:
    """sslFlags as a number, or as the names of the schema joined by commas."""
    if text.isascii() and text.isdigit():
        return int(text)
    names = [part.strip().lower() for part in text.split(",")]
    unknown = [name for name in names if name not in _NAMES]
    if unknown:
        raise ConfigError(f"{source} has sslFlags {text[:40]!r}, which is none of its values")
    return sum(_NAMES[name] for name in names)
