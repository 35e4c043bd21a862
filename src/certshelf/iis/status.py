"""Reading what the check script said about a server, and what is wrong with it.

Pure: JSON text in, a Status out, and findings by comparing it with what the server should be.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from certshelf.errors import ConfigError
from certshelf.farm import Binding
from certshelf.finding import Finding, Severity
from certshelf.iis.applicationhost import parse_information
from certshelf.iis.check_script import FORMAT
from certshelf.iis.plan import CENTRAL, DEFAULT_POLLING_SECONDS, SNI

MAX_BYTES = 16 * 2**20
# Builds of Windows whose PFX import knows AES-256 with SHA-256. Source: simple-acme,
# `PfxService.cs`; acme.sh #6805 for Server 2016 (14393).
FIRST_AES_BUILD = 17763
PAGE = "docs/how-to/iis.md"


@dataclass(frozen=True, slots=True)
class PfxSeen:
    """Whether one file opened on the server with the password it was given."""

    file: str
    ok: bool
    thumbprint: str
    error: str


@dataclass(frozen=True, slots=True)
class Status:
    """How a server stands, in plain values. build: of Windows, 0 when it is not known.

    ip_ports: http.sys entries with a certificate of their own, as `0.0.0.0:443`. central_ports:
    ports that ask the store. store_error, reader_error: "" when it opens, None when not tried.
    """

    server: str
    account: str
    build: int
    feature: bool
    enabled: bool
    location: str
    user: str
    has_password: bool
    has_key_password: bool
    polling_seconds: int
    ip_ports: tuple[str, ...]
    central_ports: tuple[int, ...]
    bindings: tuple[Binding, ...]
    store_error: str
    reader_error: str | None
    pfx: tuple[PfxSeen, ...]


def parse(text: str) -> Status:
    """Read the check script's JSON. Raises ConfigError when it is something else."""
    if len(text) > MAX_BYTES:
        raise ConfigError("the answer of the check script is too long")
    try:
        data = json.loads(text.lstrip("\ufeff"))
        if data["format"] != FORMAT:
            raise ConfigError(f"the answer has format {data['format']}, expected {FORMAT}")
        return _status(data)
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise ConfigError(
            "this is not what the check script writes",
            hint="run `certshelf iis check-script`, start that on the server, give its output",
        ) from error


def _status(data: dict[str, Any]) -> Status:
    provider, reader = data["provider"], data["reader"]
    entries = _rows(data["http_sys"])
    return Status(
        server=str(data["server"]),
        account=str(data["account"]),
        build=_build(str(data["windows"])),
        feature=bool(data["feature"]),
        enabled=bool(provider["enabled"]),
        location=str(provider["location"]),
        user=str(provider["user"]),
        has_password=bool(provider["has_password"]),
        has_key_password=bool(provider["has_key_password"]),
        polling_seconds=int(provider["polling"] or DEFAULT_POLLING_SECONDS),
        ip_ports=tuple(e["name"] for e in entries if e["kind"] == "ipport"),
        central_ports=tuple(p for e in entries if e["kind"] == "ccs" and (p := _port(e["name"]))),
        bindings=tuple(_binding(row) for row in _rows(data["bindings"]["rows"])),
        store_error="" if data["store"]["ok"] else str(data["store"]["error"] or "no answer"),
        reader_error=None
        if reader is None
        else ("" if reader["ok"] else str(reader["error"] or "no answer")),
        pfx=tuple(
            PfxSeen(str(p["file"]), bool(p["ok"]), str(p["thumbprint"]), str(p["error"]))
            for p in _rows(data["pfx"])
        ),
    )


def _rows(value: Any) -> list[dict[str, Any]]:
    """PowerShell 5 writes an empty array as null and may unwrap an array of one."""
    rows = value if isinstance(value, list) else [value]
    return [row for row in rows if row]


def _port(name: object) -> int:
    """The port at the end of an http.sys entry's name: `443`, `0.0.0.0:443`; 0 when there is none.

    How the registry spells a central entry is documented nowhere.
    """
    text = str(name).rpartition(":")[2]
    return int(text) if text.isascii() and text.isdigit() else 0


def _build(version: str) -> int:
    parts = version.split(".")
    return int(parts[2]) if len(parts) > 2 and parts[2].isdigit() else 0


def _binding(row: dict[str, Any]) -> Binding:
    address, port, host = parse_information(str(row["information"]))
    flags = int(row["flags"] or 0)
    thumbprint = "" if flags & CENTRAL else str(row["thumbprint"] or "").upper()
    return Binding(str(row["site"]), host, address, port, flags, thumbprint, "iis")


def findings(status: Status, *, store: str = "", reader: str = "") -> tuple[Finding, ...]:
    """What is wrong with a server; store and reader are what it should have, "" for any."""
    found = [
        *_provider_findings(status, store, reader),
        *_http_sys_findings(status),
        *_file_findings(status),
    ]
    return tuple(found)


def _error(id: str, status: Status, what: str, why: str, do: str) -> Finding:
    return Finding(id, Severity.ERROR, status.server, what, why, do, PAGE)


def _provider_findings(status: Status, store: str, reader: str) -> Iterator[Finding]:
    run_setup = "run `certshelf iis plan` and start its script on the server"
    if not status.feature:
        yield _error(
            "iis-feature",
            status,
            "the feature Web-CertProvider is not installed",
            "without it IIS has no central store",
            run_setup,
        )
        return
    if not status.enabled:
        yield _error(
            "iis-provider",
            status,
            "the central store is switched off",
            "its settings are in each server's registry; shared configuration does not carry them",
            run_setup,
        )
        return
    if store and status.location.rstrip("\\").lower() != store.rstrip("\\").lower():
        yield _error(
            "iis-location",
            status,
            f"IIS reads {status.location}, the farm's shelf is {store}",
            "what is published never reaches this server",
            run_setup,
        )
    if reader and status.user.lower() != reader.lower():
        yield Finding(
            "iis-reader",
            Severity.WARNING,
            status.server,
            f"IIS reads the shelf as {status.user}, planned is {reader}",
            "the account may have more rights than read and list",
            run_setup,
            PAGE,
        )
    if not status.has_password or not status.has_key_password:
        missing = "private-key password" if status.has_password else "password of the account"
        yield _error(
            "iis-password",
            status,
            f"IIS has no {missing}",
            "it cannot open the files of the shelf",
            "start the setup script with -RenewPasswords",
        )


def _http_sys_findings(status: Status) -> Iterator[Finding]:
    wanted = {b.port for b in status.bindings if b.flags & CENTRAL}
    for port in sorted(wanted - set(status.central_ports)):
        yield _error(
            "iis-http-sys",
            status,
            f"http.sys does not ask the central store on port {port}",
            "handshakes on that port fail or get another certificate",
            "run the setup script; it does: netsh http add sslcert ccs=" + str(port),
        )
    for entry in status.ip_ports:
        if _port(entry) in wanted:
            yield _error(
                "iis-hidden-store",
                status,
                f"http.sys has a certificate of its own for {entry}",
                "an IP:port entry wins over the central store: every name gets that certificate",
                f"if no client needs it: netsh http delete sslcert ipport={entry}",
            )
    for binding in status.bindings:
        if binding.flags & CENTRAL and not binding.flags & SNI:
            yield Finding(
                "iis-sni",
                Severity.INFO,
                status.server,
                f"the binding {binding.site} {binding.host} has sslFlags {binding.flags} (no SNI)",
                "3 (SNI and central store) is what Microsoft recommends",
                "set sslFlags to 3",
                PAGE,
            )


def _file_findings(status: Status) -> Iterator[Finding]:
    if status.enabled and status.store_error:
        yield Finding(
            "iis-store-open",
            Severity.INFO,
            status.server,
            f"{status.account} cannot open {status.location}: {status.store_error}",
            "that is as it should be when only the reader account may read",
            "run the check script with -ReaderCredential to see what IIS sees",
            PAGE,
        )
    if status.reader_error:
        yield _error(
            "iis-reader-open",
            status,
            f"{status.user} cannot open {status.location}: {status.reader_error}",
            "IIS reads the shelf as this account",
            "check its password, and its rights on the share and in NTFS: read and list",
        )
    old = bool(status.build) and status.build < FIRST_AES_BUILD
    for seen in status.pfx:
        if seen.ok:
            continue
        cause = (
            "this Windows reads no AES-256 PFX and calls that a wrong password"
            if old
            else "the file's password is not the one that IIS has, or the file is damaged"
        )
        yield _error(
            "iis-pfx",
            status,
            f"{seen.file} does not open on the server: {seen.error}",
            cause,
            "publish with profile windows-2016"
            if old
            else "publish the file again; compare the shelf's password with IIS's",
        )
