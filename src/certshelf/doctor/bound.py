"""Do bindings and files fit: a file for every name, a name for every file?"""

from __future__ import annotations

from collections.abc import Iterator

from certshelf.doctor.base import Check, error, info, no_bindings, no_files
from certshelf.doctor.context import Context
from certshelf.errors import NameInvalid
from certshelf.farm import Binding, Kind, Member
from certshelf.finding import Finding
from certshelf.names import HostName

CENTRAL = 2


def uses_shelf(member: Member, binding: Binding) -> bool:
    """Whether a binding gets its certificate from the shelf: by IIS's flag, or by naming none."""
    if member.kind is Kind.IIS:
        return bool(binding.flags & CENTRAL)
    return not binding.certificate


def host_of(binding: Binding) -> HostName | None:
    """The binding's host name; None for any host and for what is no name of a shelf."""
    try:
        return HostName.parse(binding.host) if binding.host else None
    except NameInvalid:
        return None


def _unread(context: Context) -> Iterator[Finding]:
    for name, reason in context.unread.items():
        yield error(
            "bindings-unreadable",
            name,
            f"what {name} listens for cannot be read: {reason}",
            "its names are not compared with the files of the shelf",
            "correct the file or its path: certshelf member rm, then member add --bindings",
        )


def _no_bindings_files(context: Context) -> str:
    return "" if context.unread else no_bindings(context)


def _without_file(context: Context) -> Iterator[Finding]:
    present = context.hosts_with_files()
    for member, binding in context.member_bindings():
        host = host_of(binding)
        if host is None or not uses_shelf(member, binding):
            continue
        candidates = host.candidates()
        if not any(candidate in present for candidate in candidates):
            files = " or ".join(c.file_name() for c in candidates)
            yield error(
                "binding-without-file",
                f"{member.name} {binding.host}",
                f"{member.name} listens for {binding.host}, and the shelf has no {files}",
                "the handshake fails or another certificate is served; IIS Manager says 'The "
                "system cannot find the file specified'",
                f"certshelf cert add {host.ascii}",
            )
        elif member.kind is Kind.IIS:
            yield from _unicode_file(context, member, host)


def _unicode_file(context: Context, member: Member, host: HostName) -> Iterator[Finding]:
    """IIS looks for the Unicode file name of an internationalised host (win-acme #2434)."""
    files = {file.file.lower() for file in context.files or ()}
    wanted = {names[-1] for c in host.candidates() if len(names := c.file_names()) > 1}
    if len(host.file_names()) > 1 and not wanted & files:
        yield error(
            "binding-unicode-file",
            f"{member.name} {host.unicode}",
            f"the shelf has {host.file_name()}, and IIS looks for {host.file_names()[-1]}",
            "IIS knows internationalised names in Unicode only",
            "certshelf cert renew --force writes both names",
        )


def _without_binding(context: Context) -> Iterator[Finding]:
    if any(not context.bindings.get(member.name) for member in context.members):
        return  # some member's names are not known: nobody can say that a file is not needed
    bound = [(b.host, host_of(b)) for _, b in context.member_bindings()]
    if any(not text for text, _ in bound):
        return  # a server that answers for any name may need every file
    hosts = {host for _, host in bound if host is not None}
    needed = {candidate for host in hosts for candidate in host.candidates()}
    for file in context.files or ():
        if file.host is not None and file.host not in needed:
            yield info(
                "file-without-binding",
                file.file,
                f"no declared server listens for {file.host.unicode}",
                "a private key that nobody needs is a private key that can be lost",
                f"certshelf shelf retire {file.host.ascii}",
            )


def _missing(context: Context) -> str:
    return no_files(context) or no_bindings(context)


CHECKS = (
    Check(
        "bindings-unreadable",
        "every bindings file can be read",
        _unread,
        _no_bindings_files,
    ),
    Check(
        "binding-without-file",
        "every name that a server listens for has a file",
        _without_file,
        _missing,
        ("binding-unicode-file",),
    ),
    Check(
        "file-without-binding",
        "every file has a server that listens for its name",
        _without_binding,
        _missing,
    ),
)
