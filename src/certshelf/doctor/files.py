"""Is every file of the shelf what a server needs? Most answers are the shelf's own."""

from __future__ import annotations

from collections.abc import Iterator

from certshelf.doctor.base import Check, no_files, warning
from certshelf.doctor.context import Context
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


CHECKS = (
    Check(
        "shelf-files",
        "every file opens, is ours and good for its name now",
        _files,
        no_files,
        FROM_SHELF,
    ),
    Check("chain-incomplete", "every file has its chain", _chains, no_files),
)
