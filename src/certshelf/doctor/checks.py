"""Every check, in the order in which a reader of the report wants them."""

from __future__ import annotations

from certshelf.doctor import bound, credentials, drift, files, iis, machine, place, readers, renewal
from certshelf.doctor.base import Check

CHECKS: tuple[Check, ...] = (
    *place.CHECKS,
    *files.CHECKS,
    *readers.CHECKS,
    *bound.CHECKS,
    *iis.CHECKS,
    *drift.CHECKS,
    *renewal.CHECKS,
    *credentials.CHECKS,
    *machine.CHECKS,
)
