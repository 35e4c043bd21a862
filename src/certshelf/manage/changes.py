"""Changes of what is kept issued: planned as values, shown, then made all at once or not at all."""

from __future__ import annotations

import random
from collections.abc import Iterable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from datetime import datetime
from enum import StrEnum
from typing import TYPE_CHECKING

from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat

from certshelf.bundle.model import Bundle
from certshelf.manage.certificates import require_possible
from certshelf.manage.declared_tasks import tasks_fields
from certshelf.manage.manager import Manager
from certshelf.manage.model import CertificateStatus, IssuedRecord, ManagedCertificate, State, Task
from certshelf.manage.plan import renewal_time
from certshelf.manage.task_records import put_tasks
from certshelf.manage.wish import WISHES, show
from certshelf.secret import Secret

if TYPE_CHECKING:
    from certshelf.manage.db.records import Records

Fields = tuple[tuple[str, str, str], ...]
_REISSUED = ("hosts", "key", "csr")
"""What no certificate that is issued already can have changed in it."""


class Action(StrEnum):
    """What happens to one managed certificate."""

    ADD = "add"
    CHANGE = "change"
    REMOVE = "remove"
    SAME = "same"
    LEFT = "left"  # it cannot be; the notes say why


@dataclass(frozen=True, slots=True)
class Change:
    """One line of a plan.

    wish: as it shall be; None for REMOVE and LEFT. fields: (field, was, shall be) of a CHANGE.
    bundle: issued elsewhere, to start from. tasks: as they shall be; None leaves them as they are.
    """

    name: str
    action: Action
    wish: ManagedCertificate | None = None
    fields: Fields = ()
    notes: tuple[str, ...] = ()
    bundle: Bundle | None = None
    tasks: tuple[Task, ...] | None = None

    def as_json(self) -> dict[str, object]:
        """For programs."""
        return {
            "name": self.name,
            "action": self.action.value,
            "hosts": list(self.wish.names) if self.wish else [],
            "fields": [{"field": f, "was": was, "shall_be": new} for f, was, new in self.fields],
            "notes": list(self.notes),
        }


def plan_changes(
    wishes: Sequence[ManagedCertificate], there: Iterable[ManagedCertificate], *, prune: bool
) -> list[Change]:
    """What makes the records as wished, by name; the rest is left alone unless prune is set."""
    known = {one.name: one for one in there}
    changes = [_change(wish, known.get(wish.name)) for wish in wishes]
    wished = {wish.name for wish in wishes}
    if prune:
        changes += [Change(name, Action.REMOVE) for name in known if name not in wished]
    return changes


def _change(wish: ManagedCertificate, was: ManagedCertificate | None) -> Change:
    if was is None:
        return Change(wish.name, Action.ADD, wish)
    fields = tuple(
        (field, show(getattr(was, attribute)), show(getattr(wish, attribute)))
        for field, attribute in WISHES.items()
        if getattr(was, attribute) != getattr(wish, attribute)
    )
    kept = replace(wish, id=was.id, status=was.status, created_at=was.created_at)
    return Change(wish.name, Action.CHANGE if fields else Action.SAME, kept, fields)


def with_tasks(
    changes: Iterable[Change],
    wished: Mapping[str, tuple[Task, ...] | None],
    there: Mapping[str, Sequence[Task]],
) -> list[Change]:
    """The same plan with what becomes of the tasks, by the certificate's name.

    wished: None for a certificate whose tasks stay as they are.
    """
    return [_with_tasks(c, wished.get(c.name), there.get(c.name, ())) for c in changes]


def _with_tasks(change: Change, wished: tuple[Task, ...] | None, there: Sequence[Task]) -> Change:
    if wished is None or change.wish is None:
        return change
    fields = tasks_fields(there, wished)
    if not fields:
        return change
    action = Action.CHANGE if change.action is Action.SAME else change.action
    return replace(change, action=action, fields=change.fields + fields, tasks=wished)


def apply_changes(manager: Manager, changes: Sequence[Change], *, dry_run: bool = False) -> int:
    """Make them in one transaction; how many were made. RecordError, and none is, for a bad one.

    Nothing is issued and no file of the shelf is touched. A change that no issued certificate can
    show (hosts, key) makes the next request issue a new one. Safe to repeat after a new plan.
    dry_run: undo them at the end: whether they could be made is known then.
    """
    todo = [c for c in changes if c.action in (Action.ADD, Action.CHANGE, Action.REMOVE)]
    if not todo:
        return 0
    now = manager.clock.now()
    with suppress(_DryRun), manager.database.write() as records:
        for change in todo:
            _make(records, change, now)
        if dry_run:
            raise _DryRun
    return len(todo)


class _DryRun(Exception):
    """Everything could be done."""


def _make(records: Records, change: Change, now: datetime) -> None:
    if change.wish is None:
        records.certificates.remove(change.name)
        records.events.append(now, "certificate.removed", change.name)
        return
    require_possible(records, change.wish)
    if change.action is Action.ADD:
        wish = _add(records, change.wish, change.bundle, now)
        data: dict[str, object] = {"hosts": list(wish.names)}
        data["issuer"] = wish.issuer
        records.events.append(now, "certificate.added", wish.name, data)
    else:
        wish = change.wish
        _edit(records, wish, change.fields)
        data = {"fields": [field for field, _, _ in change.fields]}
        records.events.append(now, "certificate.changed", wish.name, data)
    if change.tasks is not None:
        put_tasks(records, wish, change.tasks, now)


def _edit(records: Records, wish: ManagedCertificate, fields: Fields) -> None:
    records.certificates.edit(wish)
    if any(field in _REISSUED for field, _, _ in fields):
        records.certificates.set_status(wish.id, replace(wish.status, renew_at=None, retry_at=None))


def _add(
    records: Records, wish: ManagedCertificate, bundle: Bundle | None, now: datetime
) -> ManagedCertificate:
    """Store a new one, and what is issued for it elsewhere as its first bundle."""
    added = records.certificates.add(replace(wish, created_at=now))
    if bundle is None or {name.ascii for name in bundle.names} != set(wish.names):
        return added
    key = bundle.key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())
    records.issued.put(issued_record(added, bundle, now), Secret(key.decode()))
    status = CertificateStatus(
        state=State.VALID,
        generation=1,
        thumbprint=bundle.thumbprint,
        serial=bundle.serial,
        not_before=bundle.not_before,
        not_after=bundle.not_after,
        renew_at=renewal_time(bundle.not_before, bundle.not_after, random.Random()),  # noqa: S311
    )
    records.certificates.set_status(added.id, status)
    return added


def issued_record(wish: ManagedCertificate, bundle: Bundle, now: datetime) -> IssuedRecord:
    """What is remembered of a bundle from elsewhere, as the first of its certificate."""
    chain = b"".join(c.public_bytes(Encoding.PEM) for c in (bundle.leaf, *bundle.chain))
    return IssuedRecord(
        certificate_id=wish.id,
        generation=1,
        issuer=wish.issuer,
        thumbprint=bundle.thumbprint,
        thumbprint_sha256=bundle.sha256,
        serial=bundle.serial,
        key_type=bundle.key_type,
        not_before=bundle.not_before,
        not_after=bundle.not_after,
        issued_at=now,
        chain=chain.decode(),
    )
