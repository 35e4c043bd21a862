"""acme.sh: its home (~/.acme.sh), one folder a certificate with `DOMAIN.conf` in it.

The files are shell assignments; they are read as text and never run. Texts of hooks are wrapped
in base64 there. `DOMAIN_ecc` is the folder of a certificate with an elliptic key.
Source: acme.sh's own files, written by its version 3.
"""

from __future__ import annotations

import base64
import binascii
import re
from pathlib import Path

from certshelf.deploy.triggers import Phase
from certshelf.errors import ConfigError
from certshelf.manage.importing import counterparts
from certshelf.manage.importing.base import Found, entries, parse_hosts, read_bundle, read_text
from certshelf.manage.importing.counterparts import BY_HAND
from certshelf.manage.model import ChallengeChoice, Task
from certshelf.names import HostName

_LINE = re.compile(r"([A-Za-z_][A-Za-z0-9_]*)='([^']*)'")
_HOOKS = {
    "Le_PreHook": Phase.BEFORE,
    "Le_PostHook": Phase.AFTER,
    "Le_RenewHook": Phase.AFTER,
    "Le_ReloadCmd": Phase.AFTER,
}
_START, _END = "__ACME_BASE64__START_", "__ACME_BASE64__END_"
_KEYS = {"ec-256": "ecdsa-p256", "ec-384": "ecdsa-p384", "ec-521": "ecdsa-p521", "": "rsa-2048"}


def read(folder: Path) -> list[Found]:
    """What acme.sh renews. folder: its home. ConfigError when it is none."""
    found = [
        _found(file)
        for inner in entries(folder)
        if inner.is_dir() and (file := inner / f"{inner.name.removesuffix('_ecc')}.conf").is_file()
    ]
    if not found:
        raise ConfigError(
            f"{folder} is no home of acme.sh: no folder in it holds DOMAIN/DOMAIN.conf",
            hint="certshelf import acme.sh ~/.acme.sh",
        )
    return found


def parse(text: str) -> dict[str, str]:
    """The assignments in a file of acme.sh, unwrapped; anything else in it is skipped."""
    found = {}
    for line in text.splitlines():
        match = _LINE.fullmatch(line.strip())
        if match:
            found[match.group(1)] = _unwrap(match.group(2))
    return found


def _unwrap(value: str) -> str:
    if not (value.startswith(_START) and value.endswith(_END)):
        return value
    try:
        return base64.b64decode(value[len(_START) : -len(_END)]).decode("utf-8", "replace")
    except binascii.Error:
        return value


def _found(file: Path) -> Found:
    folder, domain = file.parent, file.name.removesuffix(".conf")
    try:
        options = parse(read_text(file))
    except ConfigError as error:
        return Found(domain, notes=(str(error),))
    alternative = options.get("Le_Alt", "no")
    others = [] if alternative == "no" else alternative.split(",")
    hosts, notes = parse_hosts([options.get("Le_Domain", domain), *others])
    bundle, _, missing = read_bundle(folder / f"{domain}.key", folder / "fullchain.cer")
    notes += missing
    choices, told = _proof(folder.parent, options, hosts)
    tasks, also_told = _tasks(options)
    size = options.get("Le_Keylength", "")
    return Found(
        domain,
        hosts,
        issuer=options.get("Le_API", ""),
        key_type=_KEYS.get(size, f"rsa-{size}" if size.isdigit() else ""),
        challenge=_challenge(options.get("Le_Webroot", "")),
        choices=choices,
        tasks=tasks,
        bundle=bundle,
        notes=(*notes, *told, *also_told),
    )


def _proof(home: Path, options: dict[str, str], hosts: tuple[HostName, ...]) -> counterparts.Proof:
    """Le_Webroot: one way for all hosts, or one for each, by commas and in the hosts' order."""
    ways = options.get("Le_Webroot", "").split(",")
    if len(set(ways)) > 1 and not all(way.startswith("/") for way in ways):
        shown = ", ".join(dict.fromkeys(ways))[:200]
        return (), (f"{BY_HAND}its names are proved in several ways ({shown})",)
    way = ways[0]
    if way == "no":
        return counterparts.own_http01(options.get("Le_HTTPPort", ""))
    if way == "alpn":
        return (ChallengeChoice("tls-alpn-01"),), ()
    if way.startswith("dns_"):
        return counterparts.acme_sh_script(home, way)
    if not way or way == "dns":
        return (), (
            f"{BY_HAND}its names are proved by a person who writes TXT: --challenge dns-01",
        )
    folders = zip((host.ascii for host in hosts), ways, strict=False)
    return counterparts.webroots({"*": way} if len(ways) == 1 else dict(folders))


def _tasks(options: dict[str, str]) -> tuple[tuple[Task, ...], tuple[str, ...]]:
    """Hooks that do no more than reload a service are tasks; Le_DeployHook names acme.sh's own."""
    tasks, notes = {}, []
    for key, phase in _HOOKS.items():
        if command := options.get(key, ""):
            task, note = counterparts.hook(key, command, phase)
            notes.append(note)
            if task:
                tasks[task.name] = task
    if deploy := options.get("Le_DeployHook", ""):
        notes.append(f"{BY_HAND}its deploy hooks ({deploy[:200]}): certshelf task types")
    return tuple(tasks.values()), tuple(notes)


def _challenge(webroot: str) -> str:
    """The challenge of the first host: `dns_cf`, `alpn`, `no` (its own server) or a web root."""
    first = webroot.split(",")[0]
    if first.startswith("dns"):
        return f"dns-01 {first}"
    return "tls-alpn-01" if first == "alpn" else f"http-01 {first}"
