"""Who needs a credential: what stops working when it is removed or changed."""

from __future__ import annotations

from dataclasses import fields
from typing import TYPE_CHECKING

from certshelf.errors import CredentialError, StoreError
from certshelf.manage.groups import all_groups
from certshelf.manage.publishing import open_group_shelf
from certshelf.manage.rotation import find_rotation
from certshelf.secret import Secret
from certshelf.shelf.inventory import pfx_entries
from certshelf.shelf.shelf import Shelf

if TYPE_CHECKING:
    from certshelf.manage.manager import Manager


def users_of(manager: Manager, name: str) -> list[str]:
    """What names this credential, in words: settings, groups, issuers, certificates, tasks."""
    sections = {f.name: getattr(manager.settings, f.name) for f in fields(manager.settings)}
    users = [
        f"{name_of}.{setting.name} of the settings"
        for name_of, section in sections.items()
        for setting in fields(section)
        if setting.name.endswith("_credential") and getattr(section, setting.name) == name
    ]
    with manager.database.read() as records:
        for group in all_groups(records):
            if name in (
                group.password_credential,
                group.store_credential,
                group.reader_credential,
            ):
                users.append(f"group {group.name}")
        for issuer in records.issuers.all():
            if issuer.settings.get("eab_credential") == name:
                users.append(f"issuer {issuer.name}")
        for certificate in records.certificates.all():
            named = {choice.credential for choice in certificate.challenges}
            if name in named | {certificate.password_credential}:
                users.append(f"certificate {certificate.name}")
            users += [
                f"task {task.name} of {certificate.name}"
                for task in records.tasks.of(certificate.id)
                if name in (task.credential, task.settings.get("password"))
            ]
    rotation = find_rotation(manager)
    if rotation and name in (rotation.credential, rotation.old_credential):
        users.append("the change of the PFX password under way")
    return users


def refuse_removal(manager: Manager, name: str) -> None:
    """Raise CredentialError when something needs the credential."""
    users = users_of(manager, name)
    if users:
        raise CredentialError(
            f"cannot remove {name}: {', '.join(users[:5])} needs it",
            hint="name another credential there first; --force removes it all the same",
        )


def refuse_change(manager: Manager, name: str, secret: Secret) -> None:
    """Raise CredentialError when files of a shelf are encrypted under the secret that would go.

    A random PFX password is nowhere else: without it the shelf is lost.
    """
    with manager.database.read() as records:
        if records.credentials.find(name) is None:
            return
        try:
            if records.credentials.secret(name) == secret:
                return
        except CredentialError:
            return  # it cannot be opened any more: nothing is lost by a new one
    if any(_holds_files(shelf) for shelf in _shelves_under(manager, name)):
        raise CredentialError(
            f"cannot change {name}: files on the shelf are encrypted under it",
            hint="certshelf shelf rotate-password plan --to FOLDER changes it without an outage; "
            "--force changes it all the same",
        )


def _shelves_under(manager: Manager, name: str) -> list[Shelf]:
    main = manager.settings.shelf
    with manager.database.read() as records:
        groups = [g.name for g in all_groups(records) if g.password_credential == name]
    shelves = [open_group_shelf(manager, group) for group in groups]
    return [*shelves, manager.shelf] if main.store and main.password_credential == name else shelves


def _holds_files(shelf: Shelf) -> bool:
    try:
        return next(pfx_entries(shelf.store), None) is not None
    except StoreError:
        return True  # nobody can tell: then it is not ours to break
