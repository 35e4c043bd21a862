"""Can every declared server read how the files are encrypted, and what keys they hold?"""

from __future__ import annotations

from collections.abc import Iterator

from certshelf.bundle.model import PfxProfile
from certshelf.doctor.base import Check, error, info, no_files, warning
from certshelf.doctor.context import Context, FileFacts
from certshelf.farm import Kind, Member
from certshelf.finding import Finding

# Windows releases in order. AES-256 PFX: 2019 and later (simple-acme `PfxService.cs`, acme.sh
# #6805). ECDSA under IIS: trouble up to 2012 R2 (win-acme #1298, certify-docs `csr.md`).
RELEASES = ("2012", "2012r2", "2016", "2019", "2022", "2025")
FIRST_AES = "2019"
FIRST_ECDSA = "2016"
ENDED = {"2012": "2023-10-10", "2012r2": "2023-10-10"}  # learn.microsoft.com, product lifecycle


def release(member: Member) -> int | None:
    """The place of a member's Windows in RELEASES; None when it is no Windows or not known."""
    text = member.windows.lower().replace(" ", "")
    return RELEASES.index(text) if text in RELEASES else None


def _older(context: Context, first: str) -> list[Member]:
    limit = RELEASES.index(first)
    return [m for m in context.members if (at := release(m)) is not None and at < limit]


def _algorithm(context: Context) -> Iterator[Finding]:
    old = _older(context, FIRST_AES)
    files = [f for f in context.files or () if f.profile is PfxProfile.MODERN]
    if old and files:
        yield error(
            "reader-algorithm",
            ", ".join(member.name for member in old),
            f"{_some(files)} encrypted with AES-256, which Windows Server {old[0].windows} "
            "cannot read",
            "IIS says 'The specified network password is not correct', although it is",
            'set profile = "windows-2016" in certshelf.toml, then certshelf shelf rewrite',
        )


def _key_type(context: Context) -> Iterator[Finding]:
    old = _older(context, FIRST_ECDSA)
    files = [f for f in context.files or () if f.key_type.startswith("ecdsa")]
    if old and files:
        yield error(
            "reader-key-type",
            ", ".join(member.name for member in old),
            f"{_some(files)} with an ECDSA key, which Windows Server {old[0].windows} "
            "may not serve",
            "one name has one file, so a farm with such a server needs RSA keys",
            "request these certificates with --key rsa-2048",
        )


def _version(context: Context) -> Iterator[Finding]:
    for member in context.members:
        if member.kind is not Kind.IIS:
            continue
        if release(member) is None:
            yield info(
                "reader-version",
                member.name,
                "which Windows it runs is not declared"
                if not member.windows
                else f"{member.windows!r} is no Windows Server that is known here",
                "how files must be encrypted depends on it",
                f"declare it: member add {member.name} --windows one of {', '.join(RELEASES)}",
            )
        elif member.windows.lower().replace(" ", "") in ENDED:
            ended = ENDED[member.windows.lower().replace(" ", "")]
            yield warning(
                "reader-version",
                member.name,
                f"Windows Server {member.windows} has had no free updates since {ended}",
                "it knows neither TLS 1.3 nor current PFX encryption",
                "plan its replacement",
            )


def _some(files: list[FileFacts]) -> str:
    rest = f" and {len(files) - 1} more are" if len(files) > 1 else " is"
    return files[0].file + rest


def _missing(context: Context) -> str:
    return no_files(context) or _no_members(context)


def _no_members(context: Context) -> str:
    return "" if context.members else "no members are declared (certshelf member add)"


CHECKS = (
    Check("reader-algorithm", "every server can decrypt the files", _algorithm, _missing),
    Check("reader-key-type", "every server can serve the keys", _key_type, _missing),
    Check(
        "reader-version", "the Windows of every IIS is known and cared for", _version, _no_members
    ),
)
