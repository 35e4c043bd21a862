"""Task export: write a certificate to a folder, share, bucket or SFTP server, in usual formats."""

from __future__ import annotations

import re
from collections.abc import Mapping
from contextlib import closing
from dataclasses import dataclass
from typing import Any, ClassVar, Self

from certshelf.bundle.model import PfxProfile
from certshelf.deploy.base import Context, Planned, Preview, Stale, TaskOutcome
from certshelf.deploy.bounded import BoundedStore
from certshelf.deploy.deploy_to_shelf import open_target
from certshelf.deploy.formats import FORMATS, File, Format
from certshelf.deploy.settings import parse_settings, setting
from certshelf.deploy.sftp import SftpFiles, is_sftp, parse_sftp
from certshelf.deploy.shelf_preview import check_writable
from certshelf.errors import CertshelfError, ConfigError, DeployError
from certshelf.secret import Secret
from certshelf.store.base import ANY, Store
from certshelf.store.url import open_store

_NAME = re.compile(r"[A-Za-z0-9_][A-Za-z0-9._-]{0,200}", re.ASCII)
_PROFILES = tuple(profile.value for profile in PfxProfile)


@dataclass(frozen=True)
class Export:
    """See deploy.base.Task."""

    kind: ClassVar[str] = "export"

    to: str = setting("A folder: a path, smb://, s3://, gs://, az:// or sftp://user@host/path.")
    format: str = setting(
        "pfx; pem: key, leaf and chain in one file; fullchain: leaf and chain, and the key; "
        "separate: leaf, chain and key.",
        default="pem",
        choices=FORMATS,
    )
    name: str = setting("What the files' names begin with; default: the first host.", default="")
    password: str = setting(
        "Credential with the password of a PFX; without it that of the certificate.", default=""
    )
    profile: str = setting("How a PFX is encrypted.", default="modern", choices=_PROFILES)
    endpoint: str = setting("Address of an S3 server that is not Amazon's.", default="")
    host_key: str = setting("The SFTP server's public key, as in known_hosts.", default="")

    @classmethod
    def parse(cls, settings: Mapping[str, Any]) -> Self:
        """See Task."""
        parsed = parse_settings(cls, settings)
        if parsed.name and not _NAME.fullmatch(parsed.name):
            raise ConfigError(f"export: name cannot be {parsed.name[:64]!r}")
        if is_sftp(parsed.to):
            parse_sftp(parsed.to, parsed.host_key)
        else:
            open_store(parsed.to).close()
        return parsed

    @property
    def target(self) -> str:
        """See Task."""
        return self.to

    def run(self, context: Context) -> TaskOutcome:
        """See Task. The files belong together: when one fails, those before it are put back."""
        names = self._format(context).names()
        try:
            bundle, password = context.issued_leaf(), self._password(context)
            files = self._format(context).files(bundle, password, context.make_pfx)
            with closing(self._open(context)) as target:
                there = [target.get(file.name) for file in files]
                return self._write(context, target, files, there)
        except CertshelfError as error:
            return TaskOutcome(str(error), tuple(Stale(self.to, name) for name in names), error)

    def preview(self, context: Context) -> Preview:
        """See Task."""
        form = self._format(context)
        with closing(self._open(context)) as target:
            target.check_writable()
            there = {name: target.get(name) for name in form.names()}
        files: dict[str, File] = {}
        password = self._password(context)
        if context.bundle is not None:
            files = {file.name: file for file in form.files(context.bundle, password)}

        def outcome(name: str) -> str:
            data = there[name]
            if data is None:
                return "new"
            same = context.bundle is not None and form.holds(
                data, files[name], context.bundle, password
            )
            return "unchanged" if same else "replaced"

        return Preview(tuple(Planned(self.to, name, outcome(name)) for name in form.names()))

    def _format(self, context: Context) -> Format:
        name, has_key = self.name or context.file_stem(), context.has_key
        return Format(self.format, name, PfxProfile(self.profile), has_key)

    def _password(self, context: Context) -> Secret | None:
        if self.format != "pfx":
            return None
        return context.credential(self.password).secret if self.password else context.password()

    def _open(self, context: Context) -> Files:
        if is_sftp(self.to):
            return SftpFiles(parse_sftp(self.to, self.host_key), context)
        return _StoreFiles(open_target(self.to, self.endpoint, context), context)

    def _write(
        self,
        context: Context,
        target: Files,
        files: tuple[File, ...],
        there: list[bytes | None],
    ) -> TaskOutcome:
        form, bundle = self._format(context), context.issued_leaf()
        password = self._password(context)
        log: list[str] = []
        written: list[tuple[File, bytes | None]] = []
        for file, old in zip(files, there, strict=True):
            if old is not None and form.holds(old, file, bundle, password):
                log.append(f"{file.name}: unchanged")
                continue
            try:
                target.put(file.name, file.data)
            except CertshelfError as error:
                log.append(f"{file.name}: failed: {error}")
                return self._put_back(target, written, files, log, error)
            written.append((file, old))
            log.append(f"{file.name}: {'new' if old is None else 'replaced'}")
        return TaskOutcome("\n".join(log))

    def _put_back(
        self,
        target: Files,
        written: list[tuple[File, bytes | None]],
        files: tuple[File, ...],
        log: list[str],
        cause: CertshelfError,
    ) -> TaskOutcome:
        """A new leaf beside an old key is worse than both old: undo what was written."""
        mixed = False
        for file, old in reversed(written):
            try:
                if old is None:
                    target.remove(file.name)
                else:
                    target.put(file.name, old)
                log.append(f"{file.name}: put back")
            except CertshelfError as error:
                mixed = True
                log.append(f"{file.name}: is new, could not be put back: {error}")
        what = f"not written to {self.to}: {cause}"
        if mixed:
            what += "; its files do not fit together now"
        failed = DeployError(what, hint=cause.hint)
        failed.__cause__ = cause
        return TaskOutcome("\n".join(log), tuple(Stale(self.to, f.name) for f in files), failed)


class _StoreFiles:
    """The files of a folder, a share or a bucket."""

    def __init__(self, store: Store, context: Context) -> None:
        self._plain = store
        self._store = BoundedStore(store, context)

    def get(self, name: str) -> bytes | None:
        blob = self._store.get(name)
        return blob.data if blob else None

    def put(self, name: str, data: bytes) -> None:
        self._store.put(name, data, ANY)

    def remove(self, name: str) -> None:
        self._store.delete(name)

    def check_writable(self) -> None:
        check_writable(self._plain)

    def close(self) -> None:
        self._plain.close()


Files = _StoreFiles | SftpFiles
"""Where an export goes: by name get, put (whole, and read back), remove."""
