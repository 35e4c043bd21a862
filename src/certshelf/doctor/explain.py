"""The whole story of one name: who listens for it, which file answers, who serves what."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from certshelf.clock import iso
from certshelf.doctor.bound import host_of, uses_shelf
from certshelf.doctor.causes import TEXTS
from certshelf.doctor.context import CertificateFacts, Context, FileFacts
from certshelf.doctor.drift import what
from certshelf.doctor.served import Served, Verdict
from certshelf.farm import Binding, Member
from certshelf.names import HostName


@dataclass(frozen=True, slots=True)
class Candidate:
    """A file that is looked for (by IIS the Unicode name), and whether it is there."""

    file: str
    there: bool


@dataclass(frozen=True, slots=True)
class Story:
    """Everything that is known of one name. file: the one that answers, None when none does."""

    host: HostName
    bindings: tuple[tuple[Member, Binding], ...]
    candidates: tuple[Candidate, ...]
    file: FileFacts | None
    certificate: CertificateFacts | None
    served: tuple[Served, ...]

    @property
    def is_well(self) -> bool:
        """Whether a readable file answers, and every member that was asked serves it."""
        fine = (Verdict.CURRENT, Verdict.PENDING)
        readable = self.file is not None and bool(self.file.sha256)
        return readable and all(served.verdict in fine for served in self.served)

    def as_json(self) -> dict[str, Any]:
        """The story as plain values, for --json."""
        return {
            "host": self.host.ascii,
            "unicode": self.host.unicode,
            "bindings": [_binding_json(m, b) for m, b in self.bindings],
            "candidates": [{"file": c.file, "there": c.there} for c in self.candidates],
            "file": _file_json(self.file),
            "certificate": _certificate_json(self.certificate),
            "members": [_served_json(s) for s in self.served],
        }


def explain(host: HostName, context: Context) -> Story:
    """Tell what a context knows of a host, by the one lookup rule: exact, then wildcard."""
    by_host: dict[HostName, FileFacts] = {}
    for file in context.files or ():
        if file.host is not None and (
            file.host not in by_host or file.file == file.host.file_name()
        ):
            by_host[file.host] = file
    names = {file.file for file in context.files or ()}
    candidates = host.candidates()
    answering = next((by_host[c] for c in candidates if c in by_host), None)
    return Story(
        host=host,
        bindings=tuple(_listeners(host, context)),
        candidates=tuple(
            Candidate(name, name in names) for c in candidates for name in c.file_names()
        ),
        file=answering,
        certificate=_managed(host, answering, context),
        served=tuple(s for s in context.served or () if s.target.name == host),
    )


def _listeners(host: HostName, context: Context) -> Iterator[tuple[Member, Binding]]:
    for member, binding in context.member_bindings():
        bound = host_of(binding)
        if not binding.host or (bound is not None and bound.covers(host)):
            yield member, binding


def _managed(host: HostName, file: FileFacts | None, context: Context) -> CertificateFacts | None:
    """The managed certificate behind the file, or else behind the name."""
    wanted = [file.host] if file is not None and file.host is not None else []
    for name in [*wanted, *host.candidates()]:
        for certificate in context.certificates or ():
            if name in certificate.hosts:
                return certificate
    return None


def render(story: Story) -> str:
    """The story as text for one screen."""
    return "\n".join(_lines(story)) + "\n"


def _lines(story: Story) -> Iterator[str]:
    shown = story.host.ascii
    yield shown if shown == story.host.unicode else f"{shown} ({story.host.unicode})"
    yield ""
    yield "Bindings"
    for member, binding in story.bindings:
        source = "the shelf" if uses_shelf(member, binding) else binding.certificate or "its own"
        yield (
            f"  {member.name}  {binding.site or '-'}  {binding.address}:{binding.port}  "
            f"{binding.host or '(any name)'}  flags {binding.flags}  from {source}"
        )
    if not story.bindings:
        yield "  none that is known (certshelf member add NAME --bindings FILE)"
    yield "Looked for"
    for candidate in story.candidates:
        yield f"  {candidate.file}  {'there' if candidate.there else 'not there'}"
    yield "File"
    yield from _file_lines(story.file)
    yield "Managed certificate"
    yield from _certificate_lines(story.certificate)
    yield "Members"
    for served in story.served:
        yield f"  {served.verdict:<20} {what(served)}"
        if served.cause:
            yield f"  {'':<20} because {TEXTS[served.cause].why} [{served.cause}]"
            yield f"  {'':<20} do: {TEXTS[served.cause].do}"
    if not story.served:
        yield "  none was asked (certshelf member add NAME HOST:PORT)"


def _file_lines(file: FileFacts | None) -> Iterator[str]:
    if file is None:
        yield "  none: servers refuse the name or show their default certificate"
        return
    yield f"  {file.file}  thumbprint {file.thumbprint or 'not readable'}"
    yield f"  sha256 {file.sha256 or 'not readable'}  serial {file.serial or '-'}"
    if file.not_before and file.not_after:
        yield f"  valid {iso(file.not_before)} to {iso(file.not_after)}  key {file.key_type}"
    written = f" at {iso(file.written_at)}" if file.written_at else ""
    yield f"  written by {file.owner or 'somebody else'}{written}"
    for finding in file.findings:
        yield f"  {finding.severity}: {finding.id}: {finding.what}"


def _certificate_lines(certificate: CertificateFacts | None) -> Iterator[str]:
    if certificate is None:
        yield "  none: nobody renews this name here"
        return
    due = iso(certificate.renew_at) if certificate.renew_at else "not planned"
    yield f"  {certificate.name}  {certificate.state}  issuer {certificate.issuer or '-'}"
    yield f"  next renewal {due}  failures {certificate.failures}"
    if certificate.last_error:
        yield f"  last error: {certificate.last_error}"


def _binding_json(member: Member, binding: Binding) -> dict[str, Any]:
    return {
        "member": member.name,
        "kind": member.kind.value,
        "site": binding.site,
        "host": binding.host,
        "address": binding.address,
        "port": binding.port,
        "flags": binding.flags,
        "certificate": binding.certificate,
        "from_shelf": uses_shelf(member, binding),
    }


def _file_json(file: FileFacts | None) -> dict[str, Any] | None:
    if file is None:
        return None
    return {
        "file": file.file,
        "thumbprint": file.thumbprint or None,
        "thumbprint_sha256": file.sha256 or None,
        "serial": file.serial or None,
        "not_before": iso(file.not_before) if file.not_before else None,
        "not_after": iso(file.not_after) if file.not_after else None,
        "key": file.key_type or None,
        "owner": file.owner or None,
        "written_at": iso(file.written_at) if file.written_at else None,
        "findings": [finding.as_json() for finding in file.findings],
    }


def _certificate_json(certificate: CertificateFacts | None) -> dict[str, Any] | None:
    if certificate is None:
        return None
    return {
        "name": certificate.name,
        "state": certificate.state,
        "issuer": certificate.issuer,
        "renew_at": iso(certificate.renew_at) if certificate.renew_at else None,
        "failures": certificate.failures,
        "last_error": certificate.last_error,
    }


def _served_json(served: Served) -> dict[str, Any]:
    seen, expected = served.seen, served.expected
    return {
        "member": served.target.member,
        "address": f"{served.target.host}:{served.target.port}",
        "verdict": served.verdict.value,
        "should_serve": expected.sha256 if expected else None,
        "serves": seen.sha256 or None if seen else None,
        "cause": served.cause.value if served.cause else None,
        "why": TEXTS[served.cause].why if served.cause else "",
        "do": TEXTS[served.cause].do if served.cause else "",
    }
