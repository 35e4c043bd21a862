"""Task deploy-to-shelf: publish on a further shelf, named as IIS expects, every file read back."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, ClassVar, Self

from certshelf.bundle.model import PfxProfile
from certshelf.deploy.base import Context, Preview, Stale, TaskOutcome
from certshelf.deploy.bounded import BoundedStore
from certshelf.deploy.settings import parse_settings, setting
from certshelf.deploy.shelf_preview import preview_shelf
from certshelf.errors import CertshelfError, DeployError
from certshelf.shelf.publish import Result
from certshelf.shelf.shelf import Shelf
from certshelf.store.base import DEADLINE_SECONDS, Store, StoreCredentials
from certshelf.store.url import open_store

_PROFILES = tuple(profile.value for profile in PfxProfile)


@dataclass(frozen=True)
class DeployToShelf:
    """See deploy.base.Task."""

    kind: ClassVar[str] = "deploy-to-shelf"

    store: str = setting("Where the shelf lies: a path, smb://, s3://, gs:// or az://.")
    endpoint: str = setting("Address of an S3 server that is not Amazon's.", default="")
    profile: str = setting("How the PFX is encrypted.", default="modern", choices=_PROFILES)
    password: str = setting(
        "Credential with the PFX password; without it that of the certificate.", default=""
    )
    adopt: bool = setting("Overwrite files that certshelf did not write.", default=False)

    @classmethod
    def parse(cls, settings: Mapping[str, Any]) -> Self:
        """See Task."""
        parsed = parse_settings(cls, settings)
        open_store(parsed.store).close()  # refuses what is no address; nothing is opened yet
        return parsed

    @property
    def target(self) -> str:
        """See Task."""
        return self.store

    def run(self, context: Context) -> TaskOutcome:
        """See Task. One file that fails does not keep the others from being written."""
        try:
            results = self._publish(context)
        except CertshelfError as error:
            files = [file for host in context.hosts for file in host.file_names()]
            return TaskOutcome(str(error), tuple(Stale(self.store, f) for f in files), error)
        return _outcome(self.store, results)

    def preview(self, context: Context) -> Preview:
        """See Task."""
        _need_hosts(context)
        context.need_key()
        bundle = context.issued() if context.bundle is not None else None
        store = open_target(self.store, self.endpoint, context)
        try:
            return preview_shelf(
                self._shelf(store, context), context.hosts, bundle, adopt=self.adopt
            )
        finally:
            store.close()

    def _publish(self, context: Context) -> tuple[Result, ...]:
        bundle = context.issued()
        _need_hosts(context)
        store = open_target(self.store, self.endpoint, context)
        try:
            shelf = self._shelf(BoundedStore(store, context), context)
            return shelf.publish(
                bundle, context.hosts, adopt=self.adopt, older=True, make=context.make_pfx
            ).results
        finally:
            store.close()

    def _shelf(self, store: Store, context: Context) -> Shelf:
        password = context.credential(self.password).secret if self.password else context.password()
        return Shelf(
            store,
            password,
            profile=PfxProfile(self.profile),
            owner=context.owner,
            signing_key=context.signing_key,
            clock=context.clock,
        )


def _need_hosts(context: Context) -> None:
    if not context.hosts:
        raise DeployError(
            f"{context.certificate} is for addresses only, and they have no file on a shelf",
            hint="a task of type export writes it to a folder",
        )


def open_target(address: str, endpoint: str, context: Context) -> Store:
    """A store at an address as the task's login; each of its calls ends with the task's time."""
    login = context.login
    credentials = StoreCredentials(login.username, login.secret, endpoint) if login else None
    seconds = min(DEADLINE_SECONDS, context.left())
    return open_store(address, credentials=credentials, deadline_seconds=seconds)


def _outcome(target: str, results: tuple[Result, ...]) -> TaskOutcome:
    lines = [_line(result) for result in results]
    failed = [result for result in results if result.error is not None]
    if not failed:
        return TaskOutcome("\n".join(lines))
    cause = failed[0].error
    assert cause is not None  # noqa: S101 - that is what failed means
    error = DeployError(
        f"{len(failed)} of {len(results)} files not written to {target}: {cause}", hint=cause.hint
    )
    error.__cause__ = cause
    stale = tuple(Stale(target, result.file) for result in failed)
    return TaskOutcome("\n".join(lines), stale, error)


def _line(result: Result) -> str:
    return f"{result.file}: {result.outcome.value}" + (f": {result.error}" if result.error else "")
