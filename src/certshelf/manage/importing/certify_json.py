"""Certify's settings export: one JSON file with all managed certificates.

Stored credentials and PFX files in it are encrypted with the export's password in a way that only
Certify reads: names are taken over, keys are not.
Source: docs.certifytheweb.com, "Import & Export"; `ImportExportPackage` and `ManagedCertificate`
(github.com/webprofusion/certify).
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from certshelf.deploy.triggers import Phase
from certshelf.errors import ConfigError
from certshelf.manage.importing import counterparts
from certshelf.manage.importing.base import (
    MAX_EXPORT,
    MAX_FOUND,
    Found,
    parse_hosts,
    read_json,
    text_of,
    texts,
)
from certshelf.manage.importing.counterparts import BY_HAND, service_task
from certshelf.manage.model import Task
from certshelf.names import HostName

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
    found_tasks: dict[str, Task] = {}
    for key in ("prerequesttasks", "postrequesttasks"):
        tasks = item.get(key)
        if isinstance(tasks, list) and tasks:
            phase = Phase.BEFORE if key.startswith("pre") else Phase.AFTER
            for item_ in tasks:
                task, note = _task(_lower(item_), phase)
                notes += (note,)
                found_tasks |= {task.name: task} if task else {}
    choices, told = _proof(wanted, hosts)
    authority = text_of(item.get("certificateauthorityid")) or "letsencrypt.org"
    return Found(
        text_of(item.get("name")) or (hosts[0].ascii if hosts else "?"),
        hosts,
        issuer=_DIRECTORIES.get((authority, item.get("usestagingmode") is True), authority),
        key_type=_KEYS.get(text_of(wanted.get("csrkeyalg")).lower(), ""),
        challenge=_challenge(wanted),
        auto_renew=item.get("includeinautorenew") is not False,
        choices=choices,
        tasks=tuple(found_tasks.values()),
        notes=(*notes, *told, "its key is encrypted in the export: it is issued anew"),
    )


def _challenge(wanted: Mapping[str, object]) -> str:
    """The first challenge; several by domain are a note's business of the planner."""
    listed = wanted.get("challenges")
    first = _lower(listed[0]) if isinstance(listed, list) and listed else {}
    kind = text_of(first.get("challengetype")) or text_of(wanted.get("challengetype"))
    return f"{kind} {text_of(first.get('challengeprovider'))}".strip()


def _proof(wanted: Mapping[str, object], hosts: tuple[HostName, ...]) -> counterparts.Proof:
    """The challenge's counterpart; several of them, by domain, are for the administrator."""
    listed = wanted.get("challenges")
    if isinstance(listed, list) and len(listed) > 1:
        return (), (f"{BY_HAND}its names are proved in {len(listed)} ways, by domain",)
    kind, _, provider = _challenge(wanted).partition(" ")
    if kind == "http-01":
        return counterparts.own_http01("")
    if kind == "dns-01":
        return counterparts.dns_provider(hosts, provider.rpartition(".")[2])
    return (), ()


def _task(task: Mapping[str, object], phase: Phase) -> tuple[Task | None, str]:
    """The restart of a local service is a task of ours; writing into a CCS folder is publishing."""
    kind = text_of(task.get("tasktypeid")).rpartition(".")[2]
    name = text_of(task.get("taskname"))
    if kind.lower() == "ccs":
        return None, "its task that writes into a CCS folder is what publishing on the shelf does"
    where = text_of(task.get("challengeprovider")).lower()
    if kind.lower() == "servicemanager" and (not where or where.endswith(".local")):
        listed = task.get("parameters")
        said = [_lower(one) for one in listed] if isinstance(listed, list) else []
        values = {text_of(one.get("key")).lower(): text_of(one.get("value")) for one in said}
        if made := service_task(values.get("servicename", ""), values.get("action", ""), phase):
            return made, f"its task {name or kind} is the task {made.name}"
    return None, f"{BY_HAND}its task {name or kind or '?'} ({kind or '?'}): certshelf task types"
