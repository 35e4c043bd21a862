"""The one table of event kinds: a number that never changes, how bad it is, and what it means."""

from __future__ import annotations

import uuid
from collections.abc import Mapping
from dataclasses import dataclass
from types import MappingProxyType

from certshelf.finding import Severity

_INFO, _WARNING, _ERROR = Severity.INFO, Severity.WARNING, Severity.ERROR
_MESSAGE_IDS = uuid.UUID("5f1c1c9e-6f0b-5c57-9d0e-5f2f3c9f7a11")  # any, and never another


@dataclass(frozen=True, slots=True)
class EventKind:
    """One kind. id: as the Windows Event Log shows it; a number is never used for another kind."""

    id: int
    severity: Severity
    what: str

    def message_id(self, kind: str) -> str:
        """The journal's MESSAGE_ID, 32 hex digits. Source: systemd.journal-fields(7)."""
        return uuid.uuid5(_MESSAGE_IDS, kind).hex


UNKNOWN = EventKind(1000, _INFO, "a kind that this certshelf does not know")

KINDS: Mapping[str, EventKind] = MappingProxyType(
    {
        "certificate.added": EventKind(1100, _INFO, "a managed certificate was added"),
        "certificate.removed": EventKind(1101, _WARNING, "a managed certificate was removed"),
        "certificate.changed": EventKind(1102, _INFO, "what is wanted of it was changed"),
        "certificate.issued": EventKind(1110, _INFO, "a CA issued it; it is kept from here on"),
        "certificate.done": EventKind(1111, _INFO, "it was issued, and published if it is to be"),
        "certificate.failed": EventKind(1112, _ERROR, "a run failed; what was served stays"),
        "certificate.fallback": EventKind(1113, _WARNING, "another CA was asked instead"),
        "certificate.window": EventKind(1114, _INFO, "its CA names another time to renew it"),
        "certificate.revoked": EventKind(1115, _WARNING, "it was revoked at its CA"),
        "certificate.imported": EventKind(1116, _INFO, "a bundle from a file was taken over"),
        "task.done": EventKind(1130, _INFO, "a deployment task did its work"),
        "task.failed": EventKind(1131, _ERROR, "a deployment task failed; stale names what is old"),
        "task.added": EventKind(1132, _INFO, "a deployment task was added"),
        "task.removed": EventKind(1133, _WARNING, "a deployment task was removed"),
        "task.changed": EventKind(1134, _INFO, "what is wanted of a deployment task was changed"),
        "clock.wrong": EventKind(1120, _ERROR, "this machine's clock is not the CA's: no renewals"),
        "file.published": EventKind(1200, _INFO, "a file of a shelf was written and read back"),
        "file.failed": EventKind(1201, _ERROR, "a file of a shelf could not be written"),
        "shelf.profile": EventKind(1210, _INFO, "the files' encryption was changed"),
        "credential.added": EventKind(1300, _INFO, "a secret was stored"),
        "credential.changed": EventKind(1301, _INFO, "a secret, or when it expires, was changed"),
        "credential.removed": EventKind(1302, _WARNING, "a secret was removed"),
        "credential.revealed": EventKind(1303, _WARNING, "a person asked to see a secret"),
        "credential.used": EventKind(1304, _INFO, "a secret was opened for work; never its text"),
        "keys.rotated": EventKind(1310, _INFO, "all secrets were sealed anew under a new key"),
        "issuer.added": EventKind(1400, _INFO, "an issuer was added"),
        "issuer.removed": EventKind(1401, _WARNING, "an issuer was removed"),
        "issuer.key-changed": EventKind(1402, _INFO, "an account's key was changed at its CA"),
        "issuer.deactivated": EventKind(1403, _WARNING, "an account was deactivated at its CA"),
        "member.added": EventKind(1500, _INFO, "a server of the farm was added"),
        "member.removed": EventKind(1501, _WARNING, "a server of the farm was removed"),
        "group.added": EventKind(1510, _INFO, "a group of servers was added"),
        "group.removed": EventKind(1511, _WARNING, "a group of servers was removed"),
        "rotation.planned": EventKind(1600, _INFO, "a change of the PFX password began"),
        "rotation.copied": EventKind(1601, _INFO, "the shelf with the new password is complete"),
        "rotation.switched": EventKind(1602, _INFO, "the new shelf is the shelf now"),
        "rotation.retired": EventKind(1603, _WARNING, "the shelf with the old password is gone"),
        "iis.applied": EventKind(1700, _WARNING, "a server's IIS was changed"),
        "service.started": EventKind(1800, _INFO, "`certshelf run` began"),
        "service.stopped": EventKind(1801, _INFO, "it ended in order; what was begun is on disk"),
        "service.trouble": EventKind(1802, _ERROR, "a part of the service failed and goes on"),
        "doctor.found": EventKind(1900, _WARNING, "the doctor found something that was not there"),
        "doctor.cleared": EventKind(1901, _INFO, "something that the doctor found is gone"),
        "notification.sent": EventKind(1910, _INFO, "a digest was sent"),
        "notification.failed": EventKind(1911, _ERROR, "a digest could not be sent"),
    }
)


def kind_of(kind: str) -> EventKind:
    """The entry of a kind; UNKNOWN for one that a newer certshelf wrote."""
    return KINDS.get(kind, UNKNOWN)
