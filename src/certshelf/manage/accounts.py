"""Our account at each ACME CA: its key is made once and sealed, whoever asks first."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

from cryptography.hazmat.primitives.serialization import (
    Encoding,
    NoEncryption,
    PrivateFormat,
    load_pem_private_key,
)

from certshelf.bundle.keys import generate
from certshelf.bundle.model import PrivateKey
from certshelf.errors import ConfigError, CredentialError, RecordError
from certshelf.issue.acme import account as acme
from certshelf.issue.acme import jws
from certshelf.issue.acme.account import Account, ExternalBinding
from certshelf.issue.acme.client import REQUESTS, TIMEOUT_S, AcmeClient, ClientSettings
from certshelf.issue.acme.limits import Rate
from certshelf.issue.acme.retry import Polling
from certshelf.manage.credentials import note_use
from certshelf.manage.model import (
    AccountRecord,
    Credential,
    CredentialKind,
    IssuerKind,
    IssuerRecord,
)
from certshelf.manage.providers import resolve
from certshelf.secret import Secret

if TYPE_CHECKING:
    from certshelf.clock import Clock
    from certshelf.manage.db.records import Records
    from certshelf.manage.desk import Desk

IN_FLIGHT = 32
"""Requests and orders at once for each issuer."""


def client_settings(issuer: IssuerRecord) -> ClientSettings:
    """How to reach an ACME issuer. RecordError when it is the local CA."""
    if issuer.kind is not IssuerKind.ACME:
        raise RecordError(f"{issuer.name} is no ACME issuer", hint="certshelf issuer ls")
    ca_file = issuer.settings.get("ca_file")
    return ClientSettings(
        str(issuer.settings["directory"]),
        ca_file=Path(ca_file) if ca_file else None,
        timeout_s=float(issuer.settings.get("timeout") or TIMEOUT_S),
        in_flight=IN_FLIGHT,
        requests=request_rate(issuer),
    )


def request_rate(issuer: IssuerRecord) -> Rate | None:
    """How fast it may be asked; `requests_per_second` of its settings, where 0 is no limit."""
    wish = issuer.settings.get("requests_per_second")
    if wish is None:
        return REQUESTS
    return Rate(float(wish), max(1.0, float(wish) / 2)) if wish else None


def polling(issuer: IssuerRecord) -> Polling:
    """How often its orders are looked at; `poll_interval` of its settings, in seconds."""
    seconds = issuer.settings.get("poll_interval")
    if seconds is None:
        return Polling()
    return Polling(first_s=float(seconds), interval_s=float(seconds))


def pem(key: PrivateKey) -> Secret:
    """A private key as it is sealed: PKCS#8 PEM."""
    return Secret(key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()).decode())


def load(key: Secret) -> PrivateKey:
    """A private key that was sealed as PEM."""
    return load_pem_private_key(key.reveal_bytes(), None)  # type: ignore[return-value]  # pem() made it


def account_key(records: Records, issuer: IssuerRecord, clock: Clock) -> PrivateKey:
    """The account's key, made and sealed when there is none: to be called in a transaction.

    Two processes get one key, and so one account: newAccount with a known key gives the account
    that it has (RFC 8555 section 7.3.1). CredentialError when the key cannot be opened.
    """
    found = records.accounts.key(issuer.name)
    if found is not None:
        return load(found)
    key = generate("ecdsa-p256")
    record = AccountRecord(
        issuer.name,
        str(issuer.settings["directory"]),
        kid="",
        thumbprint=jws.thumbprint(key),
        status="new",
        created_at=clock.now(),
    )
    records.accounts.put(record, pem(key))
    return key


def binding(records: Records, issuer: IssuerRecord) -> ExternalBinding | None:
    """The external account binding that the issuer's settings name, or None."""
    credential = str(issuer.settings.get("eab_credential", ""))
    if not credential:
        return None
    found = records.credentials.find(credential)
    secret = records.credentials.secret(credential)
    return ExternalBinding(found.username if found else "", resolve(secret))


async def open_account(
    desk: Desk, client: AcmeClient, issuer: IssuerRecord, *, register: bool = False
) -> Account:
    """The account at the CA, made at first use; register: also when we know its URL already.

    Safe to repeat and to run twice at once: see account_key().
    """

    def prepare(
        records: Records,
    ) -> tuple[PrivateKey, AccountRecord | None, ExternalBinding | None]:
        key = account_key(records, issuer, client.clock)
        external = binding(records, issuer)
        if external is not None:
            name = str(issuer.settings["eab_credential"])
            note_use(records, name, f"issuer {issuer.name}", client.clock.now())
        return key, records.accounts.find(issuer.name), external

    key, record, external = await desk.write(prepare)
    if record is None:  # account_key() has just written it
        raise RecordError(f"the account at {issuer.name} is gone")
    if record.status == "deactivated":
        raise CredentialError(
            f"the account at {issuer.name} was deactivated",
            hint=f"remove the issuer and add it again: certshelf issuer rm {issuer.name}",
        )
    if record.kid and not register:
        return Account(record.kid, key)
    email = issuer.settings.get("email")
    made = await acme.register(client, key, contact=[email] if email else [], binding=external)
    await desk.write(lambda records: _note(records, record, made))
    return made


def _note(records: Records, record: AccountRecord, made: Account) -> None:
    records.accounts.put(replace(record, kid=made.url, status=made.status))


async def roll_over(desk: Desk, client: AcmeClient, issuer: IssuerRecord) -> Account:
    """Give the account a new key; the new one is sealed before the CA hears of it.

    Killed in between, the next call finds out which key the CA knows. The thumbprint changes:
    challenge rules on servers must be written again.
    """
    account = await open_account(desk, client, issuer)
    name = f"rollover-{issuer.name}"[:64]

    def keep(records: Records) -> Secret:
        if records.credentials.find(name) is None:
            pending = Credential(name, CredentialKind.KEY, comment="the account's next key")
            records.credentials.put(pending, pem(generate("ecdsa-p256")))
        return records.credentials.secret(name)

    new_key = load(await desk.write(keep))
    return await _change_key(
        desk, client, issuer, account, new_key, lambda records: records.credentials.remove(name)
    )


async def roll_over_to(
    desk: Desk, client: AcmeClient, issuer: IssuerRecord, *, like: str
) -> Account:
    """Give the account the key of our account at another CA, `like`; safe to repeat.

    One key may have an account at each of several CAs (RFC 8555 section 7.3): then one rule of
    farm mode answers for all of them. RecordError when it is no ACME issuer, ConfigError when both
    are at one CA, where a key has one account.
    """

    def other(records: Records) -> PrivateKey:
        record = records.issuers.get(like)
        if record.kind is not IssuerKind.ACME:
            raise RecordError(f"{like} is no ACME issuer", hint="certshelf issuer ls")
        if record.settings["directory"] == issuer.settings["directory"]:
            raise ConfigError(
                f"{like} and {issuer.name} are the same CA, where a key has one account",
                hint="fallbacks are for other CAs",
            )
        return account_key(records, record, client.clock)

    new_key = await desk.write(other)
    account = await open_account(desk, client, issuer)
    return await _change_key(desk, client, issuer, account, new_key, lambda records: None)


async def _change_key(
    desk: Desk,
    client: AcmeClient,
    issuer: IssuerRecord,
    account: Account,
    new_key: PrivateKey,
    also: Callable[[Records], None],
) -> Account:
    """The change at the CA, unless it was made before, and in the records. also: written there."""
    known = await acme.find(client, new_key)
    if known is None:
        account = await acme.roll_over(client, account, new_key)
    elif known.url != account.url:
        raise ConfigError(
            f"another account at the CA of {issuer.name} has that key already, and a key has one",
            hint="keep the account's own key, or use one issuer for both",
        )
    rolled = replace(account, key=new_key)

    def settle(records: Records) -> None:
        record = records.accounts.find(issuer.name)
        if record is not None:
            changed = replace(record, thumbprint=rolled.thumbprint)
            records.accounts.put(changed, pem(new_key))
        also(records)
        records.events.append(client.clock.now(), "issuer.key-changed", issuer.name)

    await desk.write(settle)
    return rolled


async def deactivate(desk: Desk, client: AcmeClient, issuer: IssuerRecord) -> None:
    """Close the account at the CA for good; its certificates stay valid. Safe to repeat."""
    account = await open_account(desk, client, issuer)
    closed = await acme.deactivate(client, account)

    def note(records: Records) -> None:
        record = records.accounts.find(issuer.name)
        if record is not None:
            records.accounts.put(replace(record, status=closed.status))
        records.events.append(client.clock.now(), "issuer.deactivated", issuer.name)

    await desk.write(note)
