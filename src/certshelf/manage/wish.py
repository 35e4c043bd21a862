"""The fields of a wish: what `certs.toml` says about a managed certificate, and how it is shown."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable

from certshelf.issue.acme.identifiers import Identifier
from certshelf.manage.model import ChallengeChoice
from certshelf.names import HostName

WISHES = {
    "hosts": "names",
    "issuer": "issuer",
    "fallbacks": "fallbacks",
    "profile": "profile",
    "key": "key_type",
    "reuse_key": "reuse_key",
    "mode": "mode",
    "tags": "tags",
    "groups": "groups",
    "auto_renew": "auto_renew",
    "password_credential": "password_credential",
    "preferred_chain": "preferred_chain",
    "comment": "comment",
    "challenges": "challenges",
    "csr": "csr",
}
"""Key in certs.toml -> attribute of ManagedCertificate, in the order of the file."""


def sorted_out(texts: Iterable[str]) -> tuple[tuple[HostName, ...], tuple[str, ...]]:
    """Host names and IP addresses, each once, from what a user gave. NameInvalid for neither."""
    found = dict.fromkeys(map(Identifier.parse, texts))
    hosts = tuple(HostName.parse(one.value) for one in found if one.type == "dns")
    return hosts, tuple(one.value for one in found if one.type == "ip")


def plain(value: object) -> object:
    """A field's value as JSON and TOML know it."""
    if isinstance(value, HostName):
        return value.ascii
    if isinstance(value, ChallengeChoice):
        found: dict[str, object] = {"type": value.type, "pattern": value.pattern}
        if value.credential:
            found["credential"] = value.credential
        if value.settings:
            found["settings"] = dict(value.settings)
        return found
    if isinstance(value, tuple):
        return [plain(item) for item in value]
    return value if isinstance(value, bool) else str(value)


def show(value: object) -> str:
    """A field's value in one line, for people."""
    if isinstance(value, (tuple, list)):
        return ", ".join(show(item) for item in value) or "-"
    if isinstance(value, ChallengeChoice):
        settings = "".join(f" {key}={text}" for key, text in sorted(value.settings.items()))
        credential = f" credential={value.credential}" if value.credential else ""
        return f"{value.type} for {value.pattern}{settings}{credential}"
    if isinstance(value, bool):
        return "yes" if value else "no"
    text = "" if value is None else str(value)
    if text.startswith("-----BEGIN"):
        return f"a CSR, SHA-256 {hashlib.sha256(text.encode()).hexdigest()[:16]}"
    return text or "-"
