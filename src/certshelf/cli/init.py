"""`certshelf init`: make the manager's home and its shelf; keep whatever is there already."""

from __future__ import annotations

from pathlib import Path

import click

from certshelf.cli import output


@click.command()
@click.option("--store", required=True, help="Where the shelf lies: a folder, smb:// or s3:// URL.")
@click.option("--store-credential", default="", help="The named login that opens the store.")
@click.option("--store-username", default="", help="Make that login, with this user name.")
@click.option(
    "--store-password-file",
    type=click.Path(path_type=Path),
    help="Make that login, with the password in this file.",
)
@click.option("--s3-endpoint", default="", help="The bucket service's address, when not AWS.")
@click.option(
    "--profile",
    type=click.Choice(["modern", "windows-2016"]),
    default="modern",
    show_default=True,
    help="How PFX files are encrypted; windows-2016 when a server is older than Windows 2019.",
)
@click.option(
    "--password-file",
    type=click.Path(path_type=Path),
    help="The PFX password of a shelf that exists; a random one is made otherwise.",
)
@click.option("--new-keys", is_flag=True, help="Start a new key file: the old one is lost.")
@click.pass_obj
def command(
    home: Path | None,
    store: str,
    store_credential: str,
    store_username: str,
    store_password_file: Path | None,
    s3_endpoint: str,
    profile: str,
    password_file: Path | None,
    new_keys: bool,
) -> None:
    """Make the home, key file, database, shelf and PFX password; never overwrite any of them."""
    from certshelf.cli.secrets import read_secret_file
    from certshelf.manage.setup import StoreLogin, prepare_store, set_up
    from certshelf.manage.shelves import open_settings

    password = read_secret_file(password_file) if password_file else None
    login = StoreLogin(
        credential=store_credential,
        username=store_username,
        secret=read_secret_file(store_password_file) if store_password_file else None,
        endpoint=s3_endpoint,
    )
    report = set_up(
        home, store=store, login=login, profile=profile, password=password, new_keys=new_keys
    )
    for what in report.made:
        output.ok(f"made {what}")
    for what in report.found:
        output.say(f"kept {what}")
    if made := prepare_store(*open_settings(home)):
        output.ok(f"made {made}")
        output.say("its owner is this login: for least rights let an administrator own it")
