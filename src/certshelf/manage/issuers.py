"""Issuers by name: the built-in local CA, made on first use, and what the settings added."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from certshelf.clock import Clock
from certshelf.errors import ConfigError, RecordError
from certshelf.issue.local_ca import LocalCa, LocalCaMaterial
from certshelf.manage.model import Credential, CredentialKind, IssuerKind, IssuerRecord
from certshelf.secret import Secret

if TYPE_CHECKING:
    from certshelf.manage.db.records import Records
    from certshelf.manage.manager import Manager

LOCAL = "local"
"""The local CA that every home has, once it is first used."""
_ISSUING = "issuing"


def require_issuer(records: Records, name: str) -> None:
    """RecordError unless there is an issuer of that name; `local` always is."""
    if name != LOCAL and records.issuers.find(name) is None:
        known = ", ".join([LOCAL, *(i.name for i in records.issuers.all() if i.name != LOCAL)])
        raise RecordError(f"there is no issuer {name!r}", hint=f"known: {known}")


def add_local_ca(
    records: Records,
    name: str,
    clock: Clock,
    *,
    permitted_names: tuple[str, ...] = (),
    lifetime_days: float | None = None,
) -> LocalCa:
    """Make a private CA and store it, its key sealed. RecordError when the name is taken."""
    authority = LocalCa.create(f"certshelf {name} CA", clock, permitted_names=permitted_names)
    material = authority.export()
    settings: dict[str, object] = {_ISSUING: material.issuing_pem.decode()}
    if lifetime_days is not None:
        settings["lifetime_days"] = lifetime_days
    record = IssuerRecord(
        name,
        IssuerKind.LOCAL,
        settings,
        certificate=material.root_pem.decode(),
        created_at=clock.now(),
    )
    records.issuers.add(record, material.key)
    records.events.append(clock.now(), "issuer.added", name, {"kind": "local"})
    return authority


@dataclass(frozen=True, slots=True)
class AcmeWish:
    """What to know of an ACME CA.

    directory: a URL or the name of a known CA. ca_file: PEM roots of the CA's own server. email:
    for the account. eab: key id and base64url MAC key of an external account binding. profile,
    preferred_chain: of certificates that name none. poll_interval: seconds between looks at an
    order when the CA names none. timeout: seconds for one whole request. requests_per_second: from
    this machine, 0 for as many as it answers (a CA of one's own); None for a public CA's default.
    """

    directory: str
    ca_file: Path | None = None
    email: str = ""
    eab: tuple[str, Secret] | None = None
    profile: str = ""
    preferred_chain: str = ""
    fallbacks: tuple[str, ...] = ()
    poll_interval: float | None = None
    timeout: float | None = None
    requests_per_second: float | None = None


def add_acme(records: Records, name: str, wish: AcmeWish, clock: Clock) -> IssuerRecord:
    """Store an ACME issuer, and make its account's key; the CA is not asked yet.

    RecordError when the name is taken or a fallback is unknown, ConfigError for no directory.
    """
    from certshelf.issue.acme.directory import checked_url
    from certshelf.issue.acme.known import KNOWN, directory_url
    from certshelf.manage.accounts import account_key

    for fallback in wish.fallbacks:
        require_issuer(records, fallback)
    if wish.ca_file is not None and not wish.ca_file.is_file():
        raise ConfigError(f"the CA file {wish.ca_file} is not there")
    known = KNOWN.get(wish.directory.lower())
    if known is not None and known.needs_binding and wish.eab is None:
        raise ConfigError(
            f"{known.title} opens accounts with an external account binding only",
            hint="take key id and key from your account there: --eab-kid KID --eab-key-file FILE",
        )
    url = checked_url(directory_url(wish.directory))
    settings: dict[str, object] = {
        "directory": url,
        "ca_file": str(wish.ca_file.resolve()) if wish.ca_file else "",
        "email": wish.email,
        "profile": wish.profile,
        "preferred_chain": wish.preferred_chain,
        "poll_interval": wish.poll_interval,
        "timeout": wish.timeout,
        "requests_per_second": wish.requests_per_second,
        "limits": "letsencrypt" if "acme-v02.api.letsencrypt.org" in url else "",
    }
    now = clock.now()
    if wish.eab is not None:
        kid, key = wish.eab
        settings["eab_credential"] = credential = f"eab-{name}"[:64]
        records.credentials.put(
            Credential(credential, CredentialKind.EAB, kid, created_at=now, changed_at=now), key
        )
    settings = {key: value for key, value in settings.items() if value not in ("", None)}
    record = IssuerRecord(name, IssuerKind.ACME, settings, wish.fallbacks, created_at=now)
    records.issuers.add(record)
    account_key(records, record, clock)
    records.events.append(now, "issuer.added", name, {"kind": "acme", "directory": url})
    return record


def remove_issuer(records: Records, name: str, clock: Clock) -> None:
    """Forget an issuer and our account's key at it. RecordError while a certificate uses it."""
    record = records.issuers.get(name)
    users = [c.name for c in records.certificates.all() if name in (c.issuer, *c.fallbacks)]
    users += [i.name for i in records.issuers.all() if name in i.fallbacks]
    if users:
        raise RecordError(
            f"{name} is used by {', '.join(users[:5])}", hint="give them another issuer first"
        )
    records.issuers.remove(name)
    credential = str(record.settings.get("eab_credential", ""))
    if credential and records.credentials.find(credential) is not None:
        records.credentials.remove(credential)
    records.events.append(clock.now(), "issuer.removed", name)


def local_ca(records: Records, name: str, clock: Clock) -> LocalCa:
    """The local CA of that name; the one called `local` is made when it is first asked for.

    RecordError when there is none, CredentialError when its key cannot be opened.
    """
    found = records.issuers.find(name)
    if found is None and name == LOCAL:
        return add_local_ca(records, name, clock)
    record = found or records.issuers.get(name)
    key = records.issuers.key(name)
    if record.kind is not IssuerKind.LOCAL or key is None:
        raise RecordError(f"{name} is no local CA", hint="certshelf issuer ls")
    issuing = str(record.settings[_ISSUING]).encode()
    return LocalCa.load(LocalCaMaterial(record.certificate.encode(), issuing, key), clock)


def root_pem(manager: Manager, name: str) -> bytes:
    """The root of a local CA: what clients are told to trust."""
    with manager.database.write() as records:
        return local_ca(records, name, manager.clock).root_pem()


def all_issuers(records: Records) -> list[IssuerRecord]:
    """All issuers by name, `local` among them even before it is first used."""
    found = records.issuers.all()
    if any(record.name == LOCAL for record in found):
        return found
    return sorted([*found, IssuerRecord(LOCAL, IssuerKind.LOCAL)], key=lambda r: r.name)


def issuer_json(records: Records, name: str) -> dict[str, object]:
    """An issuer and our account there, for people and programs; no secrets."""
    record = next((one for one in all_issuers(records) if one.name == name), None)
    record = record or records.issuers.get(name)
    shown: dict[str, object] = {"name": record.name, "kind": record.kind.value}
    if record.kind is not IssuerKind.ACME:
        return shown
    account = records.accounts.find(name)
    settings = record.settings
    return shown | {
        "directory": settings["directory"],
        "ca_file": settings.get("ca_file"),
        "email": settings.get("email"),
        "profile": settings.get("profile"),
        "preferred_chain": settings.get("preferred_chain"),
        "poll_interval": settings.get("poll_interval"),
        "timeout": settings.get("timeout"),
        "requests_per_second": settings.get("requests_per_second"),
        "eab_credential": settings.get("eab_credential"),
        "fallbacks": list(record.fallbacks),
        "account": (account.kid or None) if account else None,
        "status": account.status if account else None,
        "thumbprint": account.thumbprint if account else None,
    }


def account_thumbprint(records: Records, name: str) -> str:
    """The thumbprint that ends every answer of an ACME issuer's account (RFC 8555 section 8.1)."""
    record = records.issuers.get(name)
    account = records.accounts.find(name)
    if record.kind is not IssuerKind.ACME or account is None:
        raise RecordError(f"{name} is no ACME issuer", hint="certshelf issuer ls")
    return account.thumbprint
