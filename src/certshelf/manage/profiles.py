"""The PFX profile that the oldest declared server can read, and the shelf written in it."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import replace

from certshelf.bundle.model import PfxProfile
from certshelf.farm import Kind, Member
from certshelf.manage.manager import Manager
from certshelf.manage.settings import update_settings
from certshelf.manage.shelves import open_shelf_of
from certshelf.shelf.rewrite import Skipped, rewrite

_OLD_WINDOWS = ("2012", "2012r2", "2016")
_RAISED = "profile-for-members"


def required_profile(members: Iterable[Member]) -> PfxProfile:
    """WINDOWS_2016 while one IIS member is that old: it takes MODERN for a wrong password.

    Source: simple-acme's PfxService: AES is read from build 17763, Windows Server 2019, on.
    """
    old = any(m.kind is Kind.IIS and m.windows in _OLD_WINDOWS for m in members)
    return PfxProfile.WINDOWS_2016 if old else PfxProfile.MODERN


def fit_profile(
    manager: Manager, progress: Callable[[], None] = lambda: None
) -> tuple[PfxProfile, list[str]] | None:
    """Change the shelf's profile if the declared members need another one, and rewrite our files.

    Returns the new profile and the files that could not be rewritten; None when nothing changed.
    A profile that the administrator chose is raised for an old member, and lowered again only when
    it was raised here. No certificate is renewed. Safe to repeat.
    """
    with manager.database.read() as records:
        needed = required_profile(records.members.all())
        raised = records.meta.get(_RAISED) == "yes"
    now = PfxProfile(manager.settings.shelf.profile)
    if needed is now or (needed is PfxProfile.MODERN and not raised):
        return None
    update_settings(manager.home.settings, {"shelf.profile": needed.value})
    with manager.database.write() as records:
        records.meta.put(_RAISED, "yes" if needed is PfxProfile.WINDOWS_2016 else "")
        records.events.append(
            manager.clock.now(),
            "shelf.profile",
            manager.settings.shelf.store,
            {"now": needed.value},
        )
    settings = replace(
        manager.settings, shelf=replace(manager.settings.shelf, profile=needed.value)
    )
    shelf = open_shelf_of(manager.home, settings)
    left = [
        outcome.file
        for outcome in rewrite(shelf, shelf, progress=progress)
        if isinstance(outcome, Skipped) or not outcome.ok
    ]
    return needed, left
