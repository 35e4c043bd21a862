"""ShelfFile: everything that can be said of one file of a shelf, found without I/O."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import datetime

from certshelf.bundle import pfx
from certshelf.bundle.check import check
from certshelf.bundle.inspect import PfxFacts, read_facts
from certshelf.bundle.model import Bundle, PfxProfile
from certshelf.clock import iso
from certshelf.errors import (
    BundleError,
    KeyMismatch,
    NameInvalid,
    PfxHostile,
    PfxKeyMissing,
    PfxManyKeys,
    PfxPasswordWrong,
    PfxUnreadable,
    PfxUnsupported,
    RecordInvalid,
    StoreError,
)
from certshelf.finding import Finding, Severity
from certshelf.names import HostName
from certshelf.secret import Secret
from certshelf.shelf.manifest import Record, State

Passwords = tuple[Secret | None, ...]
"""The shelf's password first, then older ones that may still open some files."""
Read = Callable[[bytes, Secret | None], Bundle]
"""Opens a PFX: as pfx.decode() does, or by it in another process."""

_SYMPTOM = (
    "IIS does not serve this file; its logs and IIS Manager say "
    "'The specified network password is not correct'"
)


@dataclass(frozen=True, slots=True)
class ShelfFile:
    """One `*.pfx` of the top folder. Fields that could not be read are None or empty.

    is_too_new: Windows Server 2016 and older call its password wrong.
    """

    file: str
    host: HostName | None
    bundle: Bundle | None = field(default=None, repr=False)
    profile: PfxProfile | None = None
    owner: str = ""
    generation: int = 0
    findings: tuple[Finding, ...] = ()
    is_too_new: bool = False

    @property
    def problems(self) -> tuple[str, ...]:
        """What is wrong, one line each; empty when nothing is."""
        bad = (Severity.WARNING, Severity.ERROR)
        return tuple(f"{f.id}: {f.what}" for f in self.findings if f.severity in bad)

    def as_json(self) -> dict[str, object]:
        """The values that scripts read: `shelf ls --json`, `shelf resolve --json`."""
        bundle = self.bundle
        return {
            "file": self.file,
            "host": self.host.ascii if self.host else None,
            "names": [name.ascii for name in bundle.names] if bundle else [],
            "thumbprint": bundle.thumbprint if bundle else None,
            "thumbprint_sha256": bundle.sha256 if bundle else None,
            "serial": bundle.serial if bundle else None,
            "not_before": iso(bundle.not_before) if bundle else None,
            "not_after": iso(bundle.not_after) if bundle else None,
            "key": bundle.key_type if bundle else None,
            "profile": self.profile.value if self.profile else None,
            "windows_2016": not self.is_too_new if bundle else None,
            "owner": self.owner or None,
            "problems": list(self.problems),
        }


def examine(
    file: str,
    data: bytes,
    record: Record | RecordInvalid | None,
    passwords: Passwords,
    now: datetime,
    read: Read = pfx.decode,
) -> ShelfFile:
    """Look at one file's bytes and its record; never raises for what either holds.

    read: opens it with one password.
    """
    findings: list[Finding] = []
    host = _host(file, findings)
    bundle: Bundle | None = None
    try:
        bundle = decode(data, passwords, read)
    except BundleError as error:
        is_whole = isinstance(record, Record) and record.vouches_for(data)
        findings.append(_unreadable(file, error, is_whole=is_whole))
    else:
        findings += _judge(file, bundle, host, now)
        if len(passwords) > 1 and not _opens(data, passwords[0], read):
            findings.append(_mixed(file))
    findings += _ownership(file, data, record)
    facts = _facts(data)
    known = record if isinstance(record, Record) else None
    return ShelfFile(
        file=file,
        host=host,
        bundle=bundle,
        profile=facts.profile if facts else None,
        owner=known.owner if known else "",
        generation=known.generation if known else 0,
        findings=tuple(findings),
        is_too_new=facts is not None and facts.is_too_new,
    )


def unread(file: str, error: StoreError) -> ShelfFile:
    """A file that the store itself does not give out."""
    finding = Finding(
        id="file-unreadable",
        severity=Severity.ERROR,
        subject=file,
        what=str(error),
        why="no server can read it",
        do=error.hint,
    )
    return ShelfFile(file, None, findings=(finding,))


def decode(data: bytes, passwords: Passwords, read: Read = pfx.decode) -> Bundle:
    """Read a PFX by the first password that opens it; the first password's error when none does.

    read: opens it with one password.
    """
    first: PfxPasswordWrong | None = None
    for password in passwords or (None,):
        try:
            return read(data, password)
        except PfxPasswordWrong as error:
            first = first or error
    assert first is not None  # noqa: S101  (the loop ran at least once)
    raise first


def _host(file: str, findings: list[Finding]) -> HostName | None:
    try:
        return HostName.from_file_name(file)
    except NameInvalid as error:
        findings.append(
            Finding(
                id="file-name-invalid",
                severity=Severity.WARNING,
                subject=file,
                what=str(error),
                why="no server asks for a file of this name",
                do="rename it to the host name, with _ for a wildcard's first label",
            )
        )
        return None


def _facts(data: bytes) -> PfxFacts | None:
    try:
        return read_facts(data)
    except BundleError:
        return None


def _unreadable(file: str, error: BundleError, *, is_whole: bool) -> Finding:
    ids: dict[type[BundleError], str] = {
        PfxUnreadable: "pfx-unreadable",
        PfxHostile: "pfx-hostile",
        PfxUnsupported: "pfx-algorithm",
        PfxPasswordWrong: "pfx-password",
        PfxKeyMissing: "pfx-key-missing",
        PfxManyKeys: "pfx-many-keys",
        KeyMismatch: "key-mismatch",
    }
    what, do = str(error), error.hint or f"publish the certificate again, or retire {file}"
    if is_whole and isinstance(error, PfxPasswordWrong):
        what = f"{file} is as it was written, under another password than this one"
        do = (
            "put the earlier password back (certshelf credential set), or write the file under"
            " this one: certshelf cert rebuild"
        )
    return Finding(
        id=ids.get(type(error), "pfx-refused"),
        severity=Severity.ERROR,
        subject=file,
        what=what,
        why=_SYMPTOM,
        do=do,
        source="RFC 7292",
    )


def _judge(file: str, bundle: Bundle, host: HostName | None, now: datetime) -> list[Finding]:
    findings = []
    refusal = check(bundle, host, now) if host else None
    if refusal is not None:
        findings.append(
            Finding(
                id=_refusal_id(bundle, host, now),
                severity=Severity.ERROR,
                subject=file,
                what=str(refusal),
                why="clients refuse the connection",
                do=refusal.hint or "request a new certificate and publish it",
            )
        )
    algorithm = bundle.leaf.signature_hash_algorithm
    if algorithm is not None and algorithm.name in ("md5", "sha1"):
        findings.append(
            Finding(
                id="signature-weak",
                severity=Severity.WARNING,
                subject=file,
                what=f"{file} holds a certificate that is signed with {algorithm.name.upper()}",
                why="browsers refuse such certificates",
                do="request a new certificate and publish it",
            )
        )
    return findings


def _mixed(file: str) -> Finding:
    return Finding(
        id="pfx-password-mixed",
        severity=Severity.ERROR,
        subject=file,
        what=f"{file} opens with an older password, not with the shelf's",
        why=_SYMPTOM,
        do="certshelf cert rebuild writes it under the shelf's password",
    )


def _opens(data: bytes, password: Secret | None, read: Read) -> bool:
    try:
        read(data, password)
    except PfxPasswordWrong:
        return False
    return True


def _refusal_id(bundle: Bundle, host: HostName | None, now: datetime) -> str:
    if host is not None and not bundle.covers(host):
        return "name-not-covered"
    if bundle.not_after <= now:
        return "expired"
    if bundle.not_before > now:
        return "not-yet-valid"
    return "certificate-unsound"


def _ownership(file: str, data: bytes, record: Record | RecordInvalid | None) -> list[Finding]:
    if isinstance(record, RecordInvalid):
        return [
            Finding(
                id="record-invalid",
                severity=Severity.ERROR,
                subject=file,
                what=str(record),
                why="a reader that demands signed records keeps its last good certificate",
                do=record.hint or "publish the certificate again with --adopt",
            )
        ]
    if record is not None and record.state is State.RETIRED and record.vouches_for(data):
        return [
            Finding(
                id="file-half-retired",
                severity=Severity.WARNING,
                subject=file,
                what=f"{file} was retired, and is still there",
                why="a run was stopped before it could remove the file",
                do="repeat certshelf shelf retire",
            )
        ]
    if record is None or record.state is State.RETIRED:
        return [
            Finding(
                id="file-foreign",
                severity=Severity.INFO,
                subject=file,
                what=f"certshelf did not write {file}",
                why="it is read and served, and never overwritten or deleted",
                do="publish with --adopt to take it over",
            )
        ]
    if record.vouches_for(data):
        return []
    return [
        Finding(
            id="file-changed",
            severity=Severity.ERROR,
            subject=file,
            what=f"{file} is not what {record.owner} wrote at {iso(record.written_at)}",
            why="somebody else wrote to the shelf, or the file is damaged",
            do="find out who writes there; then certshelf cert renew --force writes it again",
        )
    ]
