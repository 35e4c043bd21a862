"""Add and remove managed certificates, with what must hold for each and a line in the log."""

from __future__ import annotations

from typing import TYPE_CHECKING

from certshelf.bundle.keys import KEY_TYPES
from certshelf.errors import RecordError
from certshelf.manage.groups import get_group
from certshelf.manage.issuers import require_issuer
from certshelf.manage.manager import Manager
from certshelf.manage.model import ManagedCertificate

if TYPE_CHECKING:
    from certshelf.manage.db.records import Records

MAX_HOSTS = 100
"""What the public CAs accept in one certificate (letsencrypt.org, Rate Limits)."""


def add_certificate(manager: Manager, wish: ManagedCertificate) -> ManagedCertificate:
    """Store a new one; RecordError when the name is taken, the issuer unknown or it has too many
    hosts. Nothing is requested yet.
    """
    with manager.database.write() as records:
        require_possible(records, wish)
        added = records.certificates.add(wish)
        data = {"hosts": list(wish.names), "issuer": wish.issuer}
        records.events.append(manager.clock.now(), "certificate.added", wish.name, data)
    return added


def require_possible(records: Records, wish: ManagedCertificate) -> None:
    """RecordError or ConfigError for a wish that could never be issued: too many hosts, an unknown
    issuer, a challenge without its settings, ..."""
    if len(wish.names) > MAX_HOSTS:
        raise RecordError(
            f"cannot add {wish.name}: {len(wish.names)} hosts, a CA accepts {MAX_HOSTS}",
            hint="split it into several certificates",
        )
    if wish.key_type not in KEY_TYPES:
        raise RecordError(f"cannot add {wish.name}: no key type {wish.key_type!r}")
    if wish.csr:
        from certshelf.manage.foreign import require_fit

        require_fit(wish)
    if wish.challenges or wish.addresses:
        from certshelf.manage.solvers import problems, problems_of_addresses

        problems(wish.challenges)
        problems_of_addresses(wish)
    for issuer in (wish.issuer, *wish.fallbacks):
        require_issuer(records, issuer)
    for group in wish.groups:
        get_group(records, group)
    own = wish.password_credential
    if own and records.credentials.find(own) is None:
        raise RecordError(
            f"cannot add {wish.name}: there is no credential {own[:64]!r}",
            hint=f"certshelf credential set {own[:64]}",
        )


def remove_certificate(manager: Manager, name: str) -> None:
    """Forget one; its files stay on the shelf. RecordError when there is none of that name."""
    with manager.database.write() as records:
        records.certificates.remove(name)
        records.events.append(manager.clock.now(), "certificate.removed", name)
