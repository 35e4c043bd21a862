"""Is every file of the shelf what a server needs? Most answers are the shelf's own."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import timedelta

from certshelf.doctor.base import Check, error, no_files, warning
from certshelf.doctor.context import Context, FileFacts
from certshelf.finding import Finding

# What certshelf.shelf says of one file (shelf.files) and among files (shelf.inventory).
FROM_SHELF = (
    "file-name-invalid",
    "file-unreadable",
    "file-left-out",
    "file-foreign",
    "file-half-retired",
    "file-changed",
    "file-vanished",
    "file-twins",
    "record-invalid",
    "pfx-unreadable",
    "pfx-hostile",
    "pfx-algorithm",
    "pfx-password",
    "pfx-password-mixed",
    "pfx-key-missing",
    "pfx-many-keys",
    "pfx-refused",
    "key-mismatch",
    "name-not-covered",
    "expired",
    "not-yet-valid",
    "certificate-unsound",
    "signature-weak",
)


def _files(context: Context) -> Iterator[Finding]:
    for file in context.files or ():
        yield from file.findings
    yield from context.among_files


def _chains(context: Context) -> Iterator[Finding]:
    for file in context.files or ():
        if not file.chain_complete:
            yield warning(
                "chain-incomplete",
                file.file,
                f"{file.file} holds no intermediate certificate",
                "browsers may find it by themselves, other clients refuse the connection",
                "renew it, or put the CA's intermediates into the file and publish again",
            )


def _pairs(context: Context) -> Iterator[Finding]:
    """An internationalised host's two files that hold different certificates."""
    files = {file.file: file for file in context.files or ()}
    for file in files.values():
        if file.host is None or len(file.host.file_names()) < 2:
            continue
        plain, unicode = file.host.file_names()
        other = files.get(unicode)
        if file.file == plain and other is not None and _differ(context, file, other):
            yield error(
                "file-pair-differs",
                unicode,
                f"{plain} and {unicode} hold different certificates for one host",
                "IIS serves the file with the Unicode name, every other server the other one",
                "certshelf cert renew --force writes both; a tool of another kind must do so too",
            )


def _differ(context: Context, one: FileFacts, other: FileFacts) -> bool:
    """Whether both can be read, and neither was written just now: publishing is two writes."""
    moments = [file.written_at for file in (one, other) if file.written_at is not None]
    writing = any(context.now - at < _WRITING for at in moments)
    known = bool(one.sha256) and bool(other.sha256)
    return known and one.sha256 != other.sha256 and not writing


_WRITING = timedelta(minutes=1)


CHECKS = (
    Check(
        "file-pair-differs",
        "both files of an internationalised name hold one certificate",
        _pairs,
        no_files,
    ),
    Check(
        "shelf-files",
        "every file opens, is ours and good for its name now",
        _files,
        no_files,
        FROM_SHELF,
    ),
    Check("chain-incomplete", "every file has its chain", _chains, no_files),
)
