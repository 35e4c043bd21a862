"""Change the PFX password of the main shelf, as one plan that can be stopped and gone on with.

IIS knows one password for all files, so a shelf cannot change its password in place: a second
folder is filled under the new password, the servers are switched one by one, and then the old
folder is retired. Until then every renewal is published to both.

    planned -> copied -> (the administrator switches every server) -> switched -> retired
"""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import asdict, dataclass, replace
from enum import StrEnum

from certshelf.errors import ConfigError, ForeignFile, RecordError
from certshelf.farm import Kind, Member
from certshelf.manage.credentials import set_credential
from certshelf.manage.manager import Manager
from certshelf.manage.model import Credential, CredentialKind
from certshelf.manage.settings import Value, update_settings
from certshelf.manage.setup import make_shelf_folder
from certshelf.manage.shelves import local_folder, open_shelf_of
from certshelf.secret import Secret, generate_password
from certshelf.shelf.rewrite import Skipped, rewrite
from certshelf.shelf.shelf import Shelf

_KEY = "rotation"


class Stage(StrEnum):
    """How far a rotation is."""

    PLANNED = "planned"
    COPIED = "copied"
    SWITCHED = "switched"


@dataclass(frozen=True, slots=True)
class Rotation:
    """A change of password under way. credential: holds the new password."""

    old_store: str
    old_credential: str
    new_store: str
    credential: str
    stage: Stage = Stage.PLANNED


@dataclass(frozen=True, slots=True)
class PlanStep:
    """One step as people read it. command: what to run there, "" when certshelf does it."""

    who: str
    what: str
    command: str = ""
    done: bool = False


def find_rotation(manager: Manager) -> Rotation | None:
    """The rotation under way, or None."""
    with manager.database.read() as records:
        text = records.meta.get(_KEY)
    if not text:
        return None
    fields = json.loads(text)
    return Rotation(**{**fields, "stage": Stage(fields["stage"])})


def plan_rotation(manager: Manager, new_store: str, password: Secret | None = None) -> Rotation:
    """Begin: remember where to and make the new password's credential. No file is touched.

    RecordError when one is under way, ConfigError when the new folder is the old one.
    """
    if find_rotation(manager) is not None:
        raise RecordError(
            "a change of the PFX password is under way",
            hint="certshelf shelf rotate-password apply goes on with it",
        )
    main = manager.settings.shelf
    if _is_same(new_store, main.store):
        raise ConfigError(
            f"cannot change the password: {new_store} is the shelf itself",
            hint="name another folder: servers read the old one until each is switched",
        )
    name = _next_name(manager, main.password_credential)
    secret = password or generate_password()
    set_credential(
        manager.database, Credential(name, CredentialKind.PASSWORD), secret, manager.clock
    )
    rotation = Rotation(main.store, main.password_credential, new_store, name)
    _remember(manager, rotation, "rotation.planned")
    return rotation


def steps(rotation: Rotation, members: list[Member]) -> list[PlanStep]:
    """The whole plan, with the command for each server and what is done already."""
    copied = rotation.stage is not Stage.PLANNED
    switched = rotation.stage is Stage.SWITCHED
    plan = [
        PlanStep(
            "certshelf",
            f"fill {rotation.new_store} under the new password",
            "certshelf shelf rotate-password apply",
            copied,
        )
    ]
    for member in members:
        plan.append(
            PlanStep(member.name, "switch to the new folder", _switch(rotation, member), switched)
        )
    plan += [
        PlanStep(
            "you", "check what every server serves", "certshelf doctor --only served", switched
        ),
        PlanStep(
            "certshelf",
            "use the new folder and password from now on",
            "certshelf shelf rotate-password apply --switched",
            switched,
        ),
        PlanStep(
            "certshelf",
            f"remove our files from {rotation.old_store}",
            "certshelf shelf rotate-password apply --retire",
        ),
    ]
    return plan


def copy(
    manager: Manager, rotation: Rotation, progress: Callable[[], None]
) -> tuple[Rotation, list[Skipped]]:
    """Fill the new folder; how far it is then, and what could not be copied. Safe to repeat.

    Every readable file goes along, also those of others: a server that is switched sees only the
    new folder. RecordError when a file could not be written.
    """
    make_shelf_folder(rotation.new_store)
    target = _open(manager, rotation.new_store, rotation.credential)
    skipped = []
    for outcome in rewrite(manager.shelf, target, foreign=True, progress=progress):
        if isinstance(outcome, Skipped):
            skipped.append(outcome)
        elif outcome.error is not None:
            raise outcome.error
    if rotation.stage is Stage.PLANNED:
        rotation = replace(rotation, stage=Stage.COPIED)
        _remember(manager, rotation, "rotation.copied")
    return rotation, skipped


def switch(manager: Manager, rotation: Rotation) -> None:
    """Make the new folder and password the shelf's: every server was switched. Safe to repeat."""
    if rotation.stage is Stage.PLANNED:
        raise RecordError(
            "cannot switch: the new folder was not filled yet",
            hint="certshelf shelf rotate-password apply",
        )
    changes: dict[str, Value] = {
        "shelf.store": rotation.new_store,
        "shelf.password_credential": rotation.credential,
    }
    update_settings(manager.home.settings, changes)
    _remember(manager, replace(rotation, stage=Stage.SWITCHED), "rotation.switched")


def retire_old(manager: Manager, rotation: Rotation) -> list[str]:
    """Remove our files from the old folder, and end the rotation; the files of others that stay."""
    if rotation.stage is not Stage.SWITCHED:
        raise RecordError(
            "cannot retire the old folder: servers may still read it",
            hint="switch every server, then certshelf shelf rotate-password apply --switched",
        )
    old = _open(manager, rotation.old_store, rotation.old_credential)
    stay = []
    for file in list(old.inventory()):
        try:
            if file.owner == old.owner and file.host is not None:
                old.retire(file.host, keep=False)  # under the old password: of no use later
                continue
        except ForeignFile:
            pass  # the other spelling of the name is somebody else's
        stay.append(file.file)
    with manager.database.write() as records:
        records.meta.put(_KEY, "")
        records.events.append(manager.clock.now(), "rotation.retired", rotation.old_store)
    return stay


def rotation_target(manager: Manager) -> Shelf | None:
    """The second shelf that every renewal goes to while a password is being changed."""
    rotation = find_rotation(manager)
    if rotation is None or rotation.stage is Stage.PLANNED:
        return None
    if manager.settings.shelf.store == rotation.new_store:
        return _open(manager, rotation.old_store, rotation.old_credential)
    return _open(manager, rotation.new_store, rotation.credential)


def _open(manager: Manager, store: str, credential: str) -> Shelf:
    shelf = replace(manager.settings.shelf, store=store, password_credential=credential)
    return open_shelf_of(manager.home, replace(manager.settings, shelf=shelf))


def _remember(manager: Manager, rotation: Rotation, event: str) -> None:
    with manager.database.write() as records:
        records.meta.put(_KEY, json.dumps(asdict(rotation)))
        data = {"to": rotation.new_store}
        records.events.append(manager.clock.now(), event, rotation.old_store, data)


def _is_same(new: str, old: str) -> bool:
    """Whether two addresses are one place, as far as looking tells."""
    if new.rstrip("/") == old.rstrip("/"):
        return True
    folders = local_folder(new), local_folder(old)
    return bool(folders[0] and folders[1] and folders[0].resolve() == folders[1].resolve())


def _next_name(manager: Manager, name: str) -> str:
    with manager.database.read() as records:
        taken = {credential.name for credential in records.credentials.all()}
    stem = name.rstrip("0123456789").rstrip("-")
    return next(f"{stem}-{n}" for n in range(2, 10_000) if f"{stem}-{n}" not in taken)


def _switch(rotation: Rotation, member: Member) -> str:
    if member.kind is Kind.IIS:
        return "certshelf iis plan  (its script sets the new folder and asks for the password)"
    return f"restart its reader with --shelf {rotation.new_store} and the new password file"
