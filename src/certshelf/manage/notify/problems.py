"""What needs a person now: a list made from the records, the same as long as nothing changes."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import TYPE_CHECKING

from certshelf.doctor.credentials import EXPIRY_NOTICE
from certshelf.manage.model import Credential, ManagedCertificate
from certshelf.manage.service.checkup import Open, open_findings
from certshelf.manage.settings import NotifySettings

if TYPE_CHECKING:
    from certshelf.manage.db.records import Records


@dataclass(frozen=True, slots=True)
class Problem:
    """One thing that is wrong. key: stays the same while it stays; text: one line for people."""

    key: str
    text: str


def problems(records: Records, settings: NotifySettings, now: datetime) -> tuple[Problem, ...]:
    """All that is wrong now."""
    return (
        *failing(records.certificates.failing(settings.after_failures)),
        *silent(_last_written(records), records.certificates.count(), settings.shelf_days, now),
        *old_credentials(records.credentials.all(), settings.credential_days, now),
        *expiring(records.credentials.all(), now),
        *found_by_the_doctor(open_findings(records)),
    )


def failing(certificates: Iterable[ManagedCertificate]) -> Iterator[Problem]:
    """A certificate that failed too often in a row."""
    for one in certificates:
        text = f"{one.name} failed {one.status.failures} times: {one.status.last_error}"
        yield Problem(f"failing {one.name}", text)


def silent(
    last_written: datetime | None, certificates: int, days: int, now: datetime
) -> Iterator[Problem]:
    """A shelf that was not written for too long, although there is something to keep fresh."""
    if not days or not certificates or last_written is None:
        return
    if now - last_written > timedelta(days=days):
        text = f"no file of the shelf was written since {last_written:%Y-%m-%d}"
        yield Problem("shelf silent", text)


def old_credentials(
    credentials: Iterable[Credential], days: int, now: datetime
) -> Iterator[Problem]:
    """A credential that should be changed by now: shares, tokens and keys let logins expire."""
    for one in credentials:
        if days and one.changed_at is not None and now - one.changed_at > timedelta(days=days):
            text = f"the credential {one.name} was not changed since {one.changed_at:%Y-%m-%d}"
            yield Problem(f"credential {one.name}", text)


def expiring(credentials: Iterable[Credential], now: datetime) -> Iterator[Problem]:
    """A credential whose end comes near, told once more when it is over: also without a doctor."""
    for one in credentials:
        end = one.expires_at
        if end is not None and end - now <= EXPIRY_NOTICE:
            verb = "expired" if end <= now else "expires"
            yield Problem(f"{verb} {one.name}", f"the credential {one.name} {verb} {end:%Y-%m-%d}")


def found_by_the_doctor(found: Mapping[str, Open]) -> Iterator[Problem]:
    """What the last check-up found, drift among it; expiring() tells of credentials."""
    for key, one in found.items():
        if key.startswith("credential-expiring "):
            continue
        about = "" if one.subject in one.what else f"{one.subject}: "
        yield Problem(f"doctor {key}", f"{one.severity} {key.partition(' ')[0]}: {about}{one.what}")


def _last_written(records: Records) -> datetime | None:
    """When a file was last written; when the home was made, if none ever was."""
    found = records.events.latest(1, kind="file.published") or records.events.after(0, limit=1)
    return found[0].at if found else None
