"""A real BIND for tests: zones that may be changed by RFC 2136 with a TSIG key."""

from __future__ import annotations

import base64
import contextlib
import secrets
import shutil
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

import pytest

from certshelf.secret import Secret
from tests.support.processes import Process, free_dns_port, listens

KEY_NAME = "certshelf."


@dataclass
class Bind:
    port: int
    tsig_secret: Secret
    process: Process
    zone_secrets: Mapping[str, Secret]
    """Of a key for each zone, named as the zone, which may write there only."""


def named() -> str:
    found = shutil.which("named") or shutil.which("named", path="/usr/sbin:/usr/local/sbin")
    if found is None:
        pytest.skip("bind9 is not installed")
    return found


@contextlib.contextmanager
def bind(folder: Path, zones: Mapping[str, str], *, writable: bool = True) -> Iterator[Bind]:
    """A BIND that is the authority of these zones: name to extra records (zone file lines).

    The names are below .test. Every name in a zone has the address 127.0.0.1. The key may write
    TXT records only.
    BIND follows a CNAME from one of the zones into another only when it may recurse; here it may
    not.
    """
    folder.mkdir(parents=True, exist_ok=True)
    port, secret = free_dns_port(), base64.b64encode(secrets.token_bytes(32)).decode()
    zone_secrets = {zone: base64.b64encode(secrets.token_bytes(32)).decode() for zone in zones}
    blocks = []
    for zone, extra in {"test": "", **zones}.items():  # CAA is looked for up to the top
        (folder / f"{zone}.db").write_text(
            f"$ORIGIN {zone}.\n$TTL 1\n@ SOA ns h 1 60 60 600 1\n@ NS ns\n@ A 127.0.0.1\n"
            f"ns A 127.0.0.1\n* A 127.0.0.1\n{extra}\n"
        )
        keys = [KEY_NAME, f"{zone}."] if zone in zones else [KEY_NAME]
        grants = " ".join(f"grant {key} wildcard *.{zone} TXT;" for key in keys)
        policy = f"update-policy {{ {grants} }};" if writable else ""
        blocks.append(f'zone "{zone}" {{ type master; file "{zone}.db"; {policy} }};')
    keyed = {KEY_NAME: secret} | {f"{zone}.": text for zone, text in zone_secrets.items()}
    (folder / "named.conf").write_text(
        "".join(
            f'key "{name}" {{ algorithm hmac-sha256; secret "{text}"; }};\n'
            for name, text in keyed.items()
        )
        + f'options {{ directory "{folder}"; listen-on port {port} {{ 127.0.0.1; }};\n'
        "listen-on-v6 { none; }; recursion no; allow-transfer { none; }; dnssec-validation no;\n"
        f'pid-file none; session-keyfile "{folder}/session.key"; notify no; }};\n'
        "controls { };\n" + "\n".join(blocks) + "\n"
    )
    process = Process([named(), "-g", "-c", str(folder / "named.conf")], folder / "named.log")
    try:
        process.ready(lambda: listens(port), "named")
        process.ready(lambda: "all zones loaded" in process.log.read_text(), "named's zones")
        of_zones = {zone: Secret(text) for zone, text in zone_secrets.items()}
        yield Bind(port, Secret(secret), process, of_zones)
    finally:
        process.stop()
