"""Found: a certificate that another tool keeps issued; and how its files are read safely.

All files are taken as hostile: bounded in size and number, never evaluated, never followed to
where they point.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path

from certshelf.bundle.model import Bundle
from certshelf.errors import BundleError, ConfigError, NameInvalid
from certshelf.manage.model import ChallengeChoice, Task
from certshelf.names import HostName

MAX_CONFIGURATION = 1 << 20
"""Bytes of one configuration file."""
MAX_EXPORT = 64 << 20
"""Bytes of one file that holds everything, as Certify's export does."""
MAX_FOUND = 100_000


@dataclass(frozen=True, slots=True)
class Found:
    """A certificate that another tool keeps issued.

    name: what the tool calls it. issuer: the CA in the tool's words, mostly an ACME directory.
    key_type: in ours, "" when it is not said. challenge: its type and then what proves it, in the
    tool's words (`dns-01 dns_cf`). choices, tasks: their exact counterparts here; without choices
    the planner says what is missing, unless a note does. bundle: what is issued now, when its key
    can be read here. notes: what the administrator must know. Without hosts it cannot be imported;
    notes say why.
    """

    name: str
    hosts: tuple[HostName, ...] = ()
    issuer: str = ""
    key_type: str = ""
    challenge: str = ""
    choices: tuple[ChallengeChoice, ...] = ()
    tasks: tuple[Task, ...] = ()
    auto_renew: bool = True
    bundle: Bundle | None = None
    notes: tuple[str, ...] = ()


def read_bytes(path: Path, limit: int = MAX_CONFIGURATION) -> bytes:
    """A whole regular file. ConfigError when it is none, cannot be read or is too large."""
    try:
        if not path.is_file():
            raise ConfigError(f"{path} is no file")
        with path.open("rb") as file:
            data = file.read(limit + 1)
    except (OSError, ValueError) as error:  # ValueError: a NUL in the path
        reason = error.strerror if isinstance(error, OSError) else "it is no path"
        raise ConfigError(f"cannot read {path}: {reason}") from error
    if len(data) > limit:
        raise ConfigError(f"cannot read {path}: more than {limit:,} bytes")
    return data


def read_text(path: Path, limit: int = MAX_CONFIGURATION) -> str:
    """A file as UTF-8, a byte order mark and undecodable bytes forgiven."""
    return read_bytes(path, limit).decode("utf-8-sig", "replace")


def read_json(path: Path, limit: int = MAX_CONFIGURATION) -> object:
    """A JSON file. ConfigError for anything else."""
    try:
        return json.loads(read_text(path, limit))
    except (ValueError, RecursionError) as error:
        raise ConfigError(f"cannot read {path}: no JSON") from error


def entries(folder: Path) -> list[Path]:
    """What lies in a folder, by name; ConfigError when it is none or holds too much."""
    try:
        found = sorted(folder.iterdir())
    except OSError as error:
        raise ConfigError(f"cannot read {folder}: {error.strerror}") from error
    if len(found) > MAX_FOUND:
        raise ConfigError(f"cannot read {folder}: more than {MAX_FOUND:,} entries")
    return found


def parse_hosts(texts: Iterable[object]) -> tuple[tuple[HostName, ...], tuple[str, ...]]:
    """The host names among texts, once each, and a note for each that is none."""
    hosts: dict[HostName, None] = {}
    notes: list[str] = []
    for text in texts:
        if not isinstance(text, str):
            notes.append("a host that is no text is left out")
        elif text.strip():
            try:
                hosts[HostName.parse(text.strip())] = None
            except NameInvalid as error:
                notes.append(f"left out: {error}")
    return tuple(hosts), tuple(notes)


def read_bundle(
    key: Path, certificates: Path
) -> tuple[Bundle | None, tuple[HostName, ...], tuple[str, ...]]:
    """A bundle from two PEM files, the host names of its leaf, and a note when there is none.

    A missing key still gives the names: they can be issued anew.
    """
    try:
        chain = read_bytes(certificates)
    except ConfigError as error:
        return None, (), (f"no certificate of it can be taken over: {error}",)
    try:
        bundle = Bundle.from_pem(read_bytes(key) + b"\n" + chain)
    except (ConfigError, BundleError) as error:
        return None, _names_in(chain), (f"its key is not taken over: {error}",)
    return bundle, bundle.names, ()


def _names_in(chain: bytes) -> tuple[HostName, ...]:
    from cryptography import x509

    try:
        leaf = x509.load_pem_x509_certificates(chain)[0]
        san = leaf.extensions.get_extension_for_class(x509.SubjectAlternativeName)
        return parse_hosts(san.value.get_values_for_type(x509.DNSName))[0]
    except (
        ValueError,
        IndexError,
        x509.ExtensionNotFound,
        x509.DuplicateExtension,
        x509.UnsupportedGeneralNameType,
    ):
        return ()


def texts(value: object) -> Iterator[object]:
    """The elements of a JSON list; a single text counts as one, anything else as none."""
    if isinstance(value, list):
        yield from value
    elif isinstance(value, str):
        yield value


def text_of(value: object) -> str:
    """A short text in one line out of a hostile document; "" for anything else."""
    shown = re.sub(r"\s+", " ", value) if isinstance(value, str) else ""
    return "".join(c for c in shown if c.isprintable()).strip()[:500]
