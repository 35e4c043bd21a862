"""Events as other programs read them: one JSON object a line, whole or in OCSF's fields."""

from __future__ import annotations

import json
import platform
from collections.abc import Callable, Mapping
from datetime import UTC
from types import MappingProxyType
from typing import Any

from certshelf import __version__
from certshelf.finding import Severity
from certshelf.manage.event_ids import kind_of
from certshelf.manage.model import Event

_OCSF_VERSION = "1.3.0"
_SEVERITY = {Severity.OK: 1, Severity.INFO: 1, Severity.WARNING: 3, Severity.ERROR: 4}
_SEVERITY_WORD = {1: "Informational", 3: "Medium", 4: "High"}
_FILE, _FINDING, _ENTITY, _LIFECYCLE = (1, 1001), (2, 2004), (3, 3004), (6, 6002)
_CLASSES: Mapping[str, tuple[int, int]] = MappingProxyType(
    {"file": _FILE, "doctor": _FINDING, "clock": _FINDING, "service": _LIFECYCLE}
)
"""First word of a kind -> OCSF category and class; all others manage an entity.

Source: schema.ocsf.io 1.3.0: file_activity, detection_finding, entity_management,
application_lifecycle.
"""
_CREATE, _READ, _UPDATE, _DELETE, _START, _STOP, _CLOSE = 1, 2, 3, 4, 3, 4, 3
_ACTIVITIES: Mapping[str, int] = MappingProxyType(
    {
        "added": _CREATE,
        "issued": _CREATE,
        "planned": _CREATE,
        "found": _CREATE,
        "wrong": _CREATE,
        "revealed": _READ,
        "used": _READ,
        "removed": _DELETE,
        "retired": _DELETE,
        "deactivated": _DELETE,
        "started": _START,
        "stopped": _STOP,
        "cleared": _CLOSE,
    }
)
_OTHER = 99


def jsonl(event: Event) -> str:
    """The whole entry, with its hashes: a copy from which the chain can be recomputed."""
    return _line(
        {
            "seq": event.seq,
            "at": event.at.astimezone(UTC).isoformat(timespec="microseconds"),
            "kind": event.kind,
            "id": kind_of(event.kind).id,
            "severity": kind_of(event.kind).severity.value,
            "subject": event.subject,
            "actor": event.actor,
            "data": dict(event.data),
            "prev_hash": event.prev_hash,
            "hash": event.hash,
        }
    )


def ocsf(event: Event) -> str:
    """The entry in the fields of the Open Cybersecurity Schema Framework."""
    return _line(ocsf_fields(event))


FORMATS: Mapping[str, Callable[[Event], str]] = MappingProxyType({"jsonl": jsonl, "ocsf": ocsf})


def ocsf_fields(event: Event) -> dict[str, Any]:
    """The same as a mapping. What OCSF has no field for lies under `unmapped`."""
    kind = kind_of(event.kind)
    noun, _, verb = event.kind.partition(".")
    category, cls = _CLASSES.get(noun, _ENTITY)
    activity = _ACTIVITIES.get(verb, _UPDATE if cls in (_FILE[1], _ENTITY[1]) else _OTHER)
    severity = _SEVERITY[kind.severity]
    failed = kind.severity is Severity.ERROR
    fields: dict[str, Any] = {
        "category_uid": category,
        "class_uid": cls,
        "activity_id": activity,
        "type_uid": cls * 100 + activity,
        "severity_id": severity,
        "severity": _SEVERITY_WORD[severity],
        "status_id": 2 if failed else 1,
        "status": "Failure" if failed else "Success",
        "time": int(event.at.timestamp() * 1000),
        "message": message(event),
        "metadata": {
            "version": _OCSF_VERSION,
            "product": {"name": "certshelf", "vendor_name": "certshelf", "version": __version__},
            "event_code": str(kind.id),
            "uid": event.hash,
            "sequence": event.seq,
        },
        "actor": {"app_name": "certshelf", "user": {"name": event.actor or "certshelf"}},
        "device": {"hostname": platform.node(), "type_id": 0},
        "unmapped": {"kind": event.kind, "prev_hash": event.prev_hash, **event.data},
    }
    return fields | _about(cls, noun, event)


def message(event: Event) -> str:
    """One line for people: kind, subject and data, with every control character escaped."""
    data = " ".join(f"{key}={value}" for key, value in event.data.items())
    text = f"{event.kind} {event.subject} {data}".rstrip()
    return "".join(c if c.isprintable() else c.encode("unicode_escape").decode() for c in text)


def _about(cls: int, noun: str, event: Event) -> dict[str, Any]:
    if cls == _FILE[1]:
        return {"file": {"name": event.subject, "type_id": 1}}
    if cls == _FINDING[1]:
        return {"finding_info": {"uid": event.hash, "title": kind_of(event.kind).what}}
    if cls == _LIFECYCLE[1]:
        return {"app": {"name": "certshelf", "vendor_name": "certshelf", "version": __version__}}
    return {"entity": {"name": event.subject, "type": noun}}


def _line(value: Mapping[str, Any]) -> str:
    return json.dumps(value, ensure_ascii=True, separators=(",", ":"))
