"""`certshelf credential`: the named secrets, kept encrypted at rest."""

from __future__ import annotations

from datetime import UTC, datetime
from pathlib import Path

import click

from certshelf.cli import output
from certshelf.cli.secrets import password_file, password_stdin, read_secret

_KINDS = ["password", "login", "token", "tsig", "eab", "key"]
_DATE = click.DateTime(["%Y-%m-%d"])

expires_option = click.option(
    "--expires",
    type=_DATE,
    metavar="YYYY-MM-DD",
    help="When it ends: you are told before.",
)


@click.group()
def command() -> None:
    """Keep named secrets: PFX passwords, logins, DNS tokens."""


@command.command("set")
@click.argument("name")
@click.option("--username", default="", help="The account that the secret belongs to.")
@click.option("--kind", type=click.Choice(_KINDS), help="Default: login with --username.")
@password_file
@password_stdin
@click.option("--from-env-path", metavar="VAR", help="It lies in the file whose path VAR holds.")
@click.option("--from-vault", metavar="URL#FIELD", help="It lies in Vault or OpenBao (KV).")
@click.option("--vault-token-file", type=click.Path(path_type=Path), help="Its token's file.")
@click.option("--vault-ca-file", type=click.Path(path_type=Path), help="Its CA in PEM.")
@expires_option
@click.option("--force", is_flag=True, help="Even when files are encrypted under the old one.")
@click.pass_obj
def set_(
    home: Path | None,
    name: str,
    username: str,
    kind: str | None,
    password_file: Path | None,
    password_stdin: bool,
    from_env_path: str | None,
    from_vault: str | None,
    vault_token_file: Path | None,
    vault_ca_file: Path | None,
    expires: datetime | None,
    force: bool,
) -> None:
    """Store the secret NAME, new or changed; makes home, key file and database when absent.

    With --from-... only where it lies is stored, and it is fetched whenever it is needed. A new
    secret forgets when the one before expired.
    """
    from certshelf.clock import SYSTEM
    from certshelf.manage.credential_users import refuse_change
    from certshelf.manage.credentials import set_credential
    from certshelf.manage.manager import open_manager
    from certshelf.manage.model import Credential, CredentialKind
    from certshelf.manage.providers import env_path, vault

    if from_env_path:
        secret = env_path(from_env_path)
    elif from_vault:
        if vault_token_file is None:
            raise click.UsageError("--from-vault needs --vault-token-file")
        secret = vault(from_vault, vault_token_file.absolute(), vault_ca_file)
    else:
        secret = read_secret(password_file, password_stdin, f"Secret for {name}", confirm=True)
    chosen = CredentialKind(kind or ("login" if username else "password"))
    with open_manager(home, create=True) as manager:
        if not force:
            refuse_change(manager, name, secret)
        credential = Credential(name, chosen, username, expires_at=_utc(expires))
        is_new = set_credential(manager.database, credential, secret, SYSTEM)
    output.ok(f"credential {name} {'stored' if is_new else 'changed'}")


@command.command("ls")
@output.as_json
@click.pass_obj
def list_credentials(home: Path | None, as_json: bool) -> None:
    """List the credentials, never their secrets."""
    from certshelf.clock import iso
    from certshelf.manage.db.rotation import lost_secrets
    from certshelf.manage.manager import open_manager

    with open_manager(home) as manager:
        with manager.database.read() as records:
            found = records.credentials.all()
        lost = {one.row for one in lost_secrets(manager.database) if one.table == "credential"}
    rows = [
        {
            "name": c.name,
            "kind": c.kind.value,
            "username": c.username or None,
            "changed_at": iso(c.changed_at) if c.changed_at else None,
            "expires_at": iso(c.expires_at) if c.expires_at else None,
            "state": "key lost" if c.name in lost else "ok",
        }
        for c in found
    ]
    if as_json:
        output.print_json(rows)
    else:
        headers = ("NAME", "KIND", "USERNAME", "CHANGED", "EXPIRES", "STATE")
        output.print_table(headers, [tuple(row.values()) for row in rows])


@command.command()
@click.argument("name")
@click.option("--reveal", is_flag=True, help="Print the secret itself.")
@click.pass_obj
def show(home: Path | None, name: str, reveal: bool) -> None:
    """Show one credential; with --reveal its secret, and nothing else, on stdout."""
    from certshelf.manage.manager import open_manager
    from certshelf.manage.providers import where

    with open_manager(home) as manager:
        if reveal:
            secret = manager.reveal(name)
            click.echo(secret.reveal())
            return
        with manager.database.read() as records:
            found = records.credentials.find(name)
            place = where(records.credentials.secret(name))  # or says that it cannot be opened
    held = f"in {place}" if place else "***"
    output.say(f"{name}: {found.kind.value if found else ''} {held} (--reveal prints the secret)")


@command.command()
@click.argument("name")
@click.argument("date", metavar="DATE|never", required=True)
@click.pass_obj
def expires(home: Path | None, name: str, date: str) -> None:
    """Say when the secret NAME ends (YYYY-MM-DD, UTC), without changing it; `never` forgets it."""
    from certshelf.clock import SYSTEM
    from certshelf.manage.credentials import set_expiry
    from certshelf.manage.manager import open_manager

    end = None if date == "never" else _utc(_DATE.convert(date, None, None))
    with open_manager(home) as manager:
        set_expiry(manager.database, name, end, SYSTEM)
    output.ok(f"credential {name} " + (f"expires {date}" if end else "does not expire"))


@command.command("rm")
@click.argument("name")
@click.option("--force", is_flag=True, help="Even when something needs it.")
@click.pass_obj
def remove(home: Path | None, name: str, force: bool) -> None:
    """Forget the secret NAME; refused while something needs it."""
    from certshelf.clock import SYSTEM
    from certshelf.manage.credential_users import refuse_removal
    from certshelf.manage.credentials import remove_credential
    from certshelf.manage.manager import open_manager

    with open_manager(home) as manager:
        if not force:
            refuse_removal(manager, name)
        remove_credential(manager.database, name, SYSTEM)
    output.ok(f"credential {name} removed")


@command.command("rotate-keys")
@click.pass_obj
def rotate_keys(home: Path | None) -> None:
    """Seal every secret anew under a new master key, and drop the old one."""
    from certshelf.clock import SYSTEM
    from certshelf.manage.credentials import rotate_master_key
    from certshelf.manage.manager import open_manager

    with open_manager(home) as manager, output.progress("sealing") as advance:
        count = rotate_master_key(manager.database, SYSTEM, progress=lambda place: advance())
    output.ok(f"{count} secrets sealed under a new key")


def _utc(date: datetime | None) -> datetime | None:
    return date.replace(tzinfo=UTC) if date else None
