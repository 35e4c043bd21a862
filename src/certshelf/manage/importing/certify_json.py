"""Certify's settings export: one JSON file with all managed certificates.

Stored credentials and PFX files in it are encrypted with the export's password in a way that only
Certify reads: names are taken over, keys are not.
Source: docs.certifytheweb.com, "Import & Export"; `ImportExportPackage` and `ManagedCertificate`
(github.com/webprofusion/certify).
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from certshelf.errors import ConfigError
from certshelf.manage.importing.base import (
    MAX_EXPORT,
    MAX_FOUND,
    Found,
    parse_hosts,
    read_json,
    text_of,
    texts,
)

_KEYS = {
    "rs256": "rsa-2048",
    "rsa2048": "rsa-2048",
    "rsa3072": "rsa-3072",
    "rsa4096": "rsa-4096",
    "ecdsa256": "ecdsa-p256",
    "ecda256": "ecdsa-p256",
    "ecdsa384": "ecdsa-p384",
    "ecdsa521": "ecdsa-p521",
}
_DIRECTORIES = {
    ("letsencrypt.org", False): "https://acme-v02.api.letsencrypt.org/directory",
    ("letsencrypt.org", True): "https://acme-staging-v02.api.letsencrypt.org/directory",
    ("zerossl.com", False): "https://acme.zerossl.com/v2/DV90",
}


def read(file: Path) -> list[Found]:
    """What an export holds. ConfigError when it is none."""
    package = _lower(read_json(file, MAX_EXPORT))
    items = _lower(package.get("content")).get("managedcertificates")
    if not isinstance(items, list):
        raise ConfigError(
            f"{file} is no settings export of Certify's: it has no ManagedCertificates",
            hint="Certify: Settings, Import & Export, Export",
        )
    if len(items) > MAX_FOUND:
        raise ConfigError(f"cannot read {file}: more than {MAX_FOUND:,} certificates")
    return [_found(_lower(item)) for item in items]


def _lower(value: object) -> Mapping[str, object]:
    """A JSON object with its keys in lower case, as .NET reads them; empty for anything else."""
    return {key.lower(): item for key, item in value.items()} if isinstance(value, dict) else {}


def _found(item: Mapping[str, object]) -> Found:
    wanted = _lower(item.get("requestconfig"))
    named = [wanted.get("primarydomain"), *texts(wanted.get("subjectalternativenames"))]
    hosts, notes = parse_hosts(name for name in named if name is not None)
    if not hosts:
        notes += ("it names no host",)
    if any(texts(wanted.get("subjectipaddresses"))):
        notes += ("its IP addresses are left out: a shelf holds host names only",)
    for key in ("prerequesttasks", "postrequesttasks"):
        tasks = item.get(key)
        if isinstance(tasks, list) and tasks:
            notes += (f"its {len(tasks)} {key[:-12]}-request task(s) are not taken over",)
    authority = text_of(item.get("certificateauthorityid")) or "letsencrypt.org"
    return Found(
        text_of(item.get("name")) or (hosts[0].ascii if hosts else "?"),
        hosts,
        issuer=_DIRECTORIES.get((authority, item.get("usestagingmode") is True), authority),
        key_type=_KEYS.get(text_of(wanted.get("csrkeyalg")).lower(), ""),
        challenge=_challenge(wanted),
        auto_renew=item.get("includeinautorenew") is not False,
        notes=(*notes, "its key is encrypted in the export: it is issued anew"),
    )


def _challenge(wanted: Mapping[str, object]) -> str:
    """The first challenge; several by domain are a note's business of the planner."""
    listed = wanted.get("challenges")
    first = _lower(listed[0]) if isinstance(listed, list) and listed else {}
    kind = text_of(first.get("challengetype")) or text_of(wanted.get("challengetype"))
    return f"{kind} {text_of(first.get('challengeprovider'))}".strip()
