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

from certshelf.errors import ConfigError
from certshelf.manage.importing.base import Found, entries, parse_hosts, read_bundle, read_text

_LINE = re.compile(r"([A-Za-z_][A-Za-z0-9_]*)='([^']*)'")
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
    hooks = [
        key
        for key in ("Le_PreHook", "Le_PostHook", "Le_RenewHook", "Le_ReloadCmd", "Le_DeployHook")
        if options.get(key)
    ]
    if hooks:
        notes += (f"its {', '.join(hooks)} is not taken over: make it a task",)
    size = options.get("Le_Keylength", "")
    return Found(
        domain,
        hosts,
        issuer=options.get("Le_API", ""),
        key_type=_KEYS.get(size, f"rsa-{size}" if size.isdigit() else ""),
        challenge=_challenge(options.get("Le_Webroot", "")),
        bundle=bundle,
        notes=notes,
    )


def _challenge(webroot: str) -> str:
    """The challenge of the first host: `dns_cf`, `alpn`, `no` (its own server) or a web root."""
    first = webroot.split(",")[0]
    if first.startswith("dns"):
        return f"dns-01 {first}"
    return "tls-alpn-01" if first == "alpn" else f"http-01 {first}"
