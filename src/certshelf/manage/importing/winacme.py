"""win-acme and simple-acme: their `*.renewal.json` files, below %ProgramData%\\win-acme.

A plug-in is named by its GUID. Secrets in the files are encrypted for their Windows machine, and
the PFX cache too: names are taken over, keys are not.
Source: simple-acme's `Renewal` and the options of its plug-ins (github.com/simple-acme).
"""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path

from certshelf.errors import ConfigError
from certshelf.manage.importing import counterparts
from certshelf.manage.importing.base import (
    MAX_FOUND,
    Found,
    parse_hosts,
    read_json,
    text_of,
    texts,
)
from certshelf.manage.importing.counterparts import BY_HAND
from certshelf.names import HostName

_SUFFIX = ".renewal.json"
_IIS = (
    "54deb3ee-b5df-4381-8485-fe386054055b",
    "2f5dd428-0f5d-4c8a-8fd0-56fc1b5985ce",
    "d7940b23-f570-460e-ab15-2c822a79009b",
    "cdd79a68-4a87-4039-bee8-5a0ebdca41cb",
)
_CSR_FILE = "5c3db0fb-840b-469f-b5a7-0635d8e9a93d"
_INSTALL_IIS = "ea6a5be3-f8de-4d27-a6bd-750b619b2ee2"
_INSTALL_SCRIPT = "3bb22c70-358d-4251-86bd-11858363d913"
_ELLIPTIC = "9aadcf71-5241-4c4f-aee1-bfe3f6be3489"
_RSA = "b9060d4b-c2d3-49ac-b37f-962e7c3cbe9d"
_CHALLENGES = {
    "c7d5e050-9363-4ba1-b3a8-931b31c618b7": "http-01 self-hosting",
    "1c77b3a4-5310-4c46-92c6-00d866e84d6b": "http-01 filesystem",
    "a1565064-b208-4467-8ca1-1bd3c08aa500": "tls-alpn-01",
    "8f1da72e-f727-49f0-8546-ef69e5ecec32": "dns-01 script",
    "c13acc1b-7571-432b-9652-7a68a5f506c5": "dns-01 acme-dns",
    "ed5dc9d1-739c-4f6a-854f-238bf65b63ee": "dns-01 rfc2136",
    "aa57b028-45fb-4aca-9cac-a63d94c76b4a": "dns-01 azure",
    "73af2c2e-4cf1-4198-a4c8-1129003cfb75": "dns-01 cloudflare",
}


def read(folder: Path) -> list[Found]:
    """What they renew. folder: where the renewal files lie, or above. ConfigError for none."""
    files: list[Path] = []
    for where, _, names in os.walk(folder):
        files += [Path(where) / name for name in names if name.endswith(_SUFFIX)]
        if len(files) > MAX_FOUND:
            raise ConfigError(f"cannot read {folder}: more than {MAX_FOUND:,} renewals")
    if not files:
        raise ConfigError(
            f"no *{_SUFFIX} lies below {folder}",
            hint=r"it is C:\ProgramData\win-acme or C:\ProgramData\simple-acme",
        )
    return [_found(file) for file in sorted(files)]


def _found(file: Path) -> Found:
    name = file.name.removesuffix(_SUFFIX)
    try:
        renewal = read_json(file)
    except ConfigError as error:
        return Found(name, notes=(str(error),))
    if not isinstance(renewal, dict):
        return Found(name, notes=(f"{file} is no renewal",))
    shown = text_of(renewal.get("FriendlyName")) or text_of(renewal.get("LastFriendlyName")) or name
    hosts, notes = _hosts(_part(renewal, "TargetPluginOptions"))
    csr = _part(renewal, "CsrPluginOptions")
    validation = text_of(_part(renewal, "ValidationPluginOptions").get("Plugin")).lower()
    steps = renewal.get("InstallationPluginOptions")
    if isinstance(steps, list) and len(steps) > 0:
        notes += tuple(_step(step) for step in steps)
    choices, told = _proof(_part(renewal, "ValidationPluginOptions"), hosts)
    return Found(
        shown,
        hosts,
        issuer=text_of(renewal.get("EndPoint")) or f"https://{file.parent.name}/",
        key_type={_ELLIPTIC: "ecdsa-p384", _RSA: "rsa-3072"}.get(
            text_of(csr.get("Plugin")).lower(), ""
        ),
        challenge=_CHALLENGES.get(validation, ""),
        choices=choices,
        notes=(*notes, *told, "its key lies encrypted for its machine: it is issued anew"),
    )


def _proof(options: Mapping[str, object], hosts: tuple[HostName, ...]) -> counterparts.Proof:
    """The validation plug-in's counterpart; nothing and no note where the planner has one."""
    way = _CHALLENGES.get(text_of(options.get("Plugin")).lower(), "")
    if way == "http-01 self-hosting":
        port = options.get("Port")
        return counterparts.own_http01(str(port) if isinstance(port, int) else "")
    if way == "http-01 filesystem" and text_of(options.get("Path")):
        return counterparts.webroots({"*": text_of(options.get("Path"))})
    if way == "dns-01 rfc2136":
        port = options.get("ServerPort")
        return counterparts.rfc2136(
            hosts,
            text_of(options.get("ServerHost")),
            str(port) if isinstance(port, int) else "",
            text_of(options.get("TsigKeyName")),
            text_of(options.get("TsigKeyAlgorithm")),
        )
    if way == "dns-01 cloudflare":
        return counterparts.dns_provider(hosts, "cloudflare")
    return (), ()


def _step(step: object) -> str:
    """An installation step, in words; bindings of IIS need none where it reads the shelf."""
    options = step if isinstance(step, dict) else {}
    plugin = text_of(options.get("Plugin")).lower()
    if plugin == _INSTALL_IIS:
        return f"{BY_HAND}IIS reads the shelf by itself once it is set up: certshelf iis plan"
    if plugin == _INSTALL_SCRIPT:
        return f"{BY_HAND}its script {text_of(options.get('Script'))!r}: certshelf task add"
    return f"{BY_HAND}an installation step ({plugin or '?'})"


def _part(renewal: Mapping[str, object], key: str) -> Mapping[str, object]:
    found = renewal.get(key)
    return found if isinstance(found, dict) else {}


def _hosts(target: Mapping[str, object]) -> tuple[tuple[HostName, ...], tuple[str, ...]]:
    """The hosts that are written down; those that IIS is asked for at each renewal are not."""
    plugin = text_of(target.get("Plugin")).lower()
    named = [target.get("CommonName"), *texts(target.get("AlternativeNames"))]
    named += [*texts(target.get("IncludeHosts")), *texts(target.get("Host"))]
    hosts, notes = parse_hosts(name for name in named if name is not None)
    if plugin == _CSR_FILE:
        return (), ("it uses a CSR of another program: not taken over",)
    if plugin in _IIS and not (target.get("IncludeHosts") or target.get("Host")):
        return (), (
            *notes,
            "IIS says its hosts: certshelf cert add --from-bindings applicationHost.config",
        )
    return hosts, notes
