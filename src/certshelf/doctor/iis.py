"""Do the bindings of IIS let the central store answer? And what did the servers themselves say?"""

from __future__ import annotations

from collections.abc import Iterator

from certshelf.doctor.base import Check, error, no_bindings
from certshelf.doctor.bound import CENTRAL
from certshelf.doctor.context import Context
from certshelf.farm import Kind
from certshelf.finding import Finding

SNI = 1
# What certshelf.iis.status finds in the answer of the check script.
FROM_SERVERS = (
    "iis-feature",
    "iis-provider",
    "iis-location",
    "iis-reader",
    "iis-password",
    "iis-http-sys",
    "iis-hidden-store",
    "iis-sni",
    "iis-store-open",
    "iis-reader-open",
    "iis-pfx",
)


def _hides(context: Context) -> Iterator[Finding]:
    central: dict[str, set[int]] = {}
    for member, binding in context.member_bindings(Kind.IIS):
        if binding.flags & CENTRAL:
            central.setdefault(member.name, set()).add(binding.port)
    for member, binding in context.member_bindings(Kind.IIS):
        direct = not binding.flags & (CENTRAL | SNI)
        if direct and binding.port in central.get(member.name, ()):
            yield error(
                "binding-hides-store",
                f"{member.name} {binding.site}",
                f"{member.name} has a certificate of its own for {binding.address}:{binding.port} "
                f"(site {binding.site})",
                "an IP:port binding wins over the central store: every name on that port gets "
                "its certificate",
                "certshelf iis plan --convert, or remove that binding",
            )


def _without_host(context: Context) -> Iterator[Finding]:
    for member, binding in context.member_bindings(Kind.IIS):
        if binding.flags & CENTRAL and not binding.host:
            yield error(
                "binding-without-host",
                f"{member.name} {binding.site}",
                f"the binding {binding.address}:{binding.port} of {binding.site} uses the central "
                "store and has no host name",
                "the store finds files by host name, so this binding has no certificate",
                "give it a host name, or a certificate of its own",
            )


def _flags(context: Context) -> Iterator[Finding]:
    for member, binding in context.member_bindings(Kind.IIS):
        extra = binding.flags & ~(CENTRAL | SNI)
        if binding.flags & CENTRAL and extra:
            yield error(
                "binding-flags",
                f"{member.name} {binding.site}",
                f"{binding.site} {binding.host} has sslFlags {binding.flags}: "
                f"{extra} does not go with the central store",
                "tools refuse or reset it; for the store these are set per port in http.sys",
                f"set sslFlags 3, and the option by netsh http add sslcert ccs={binding.port}",
            )


def _servers(context: Context) -> Iterator[Finding]:
    yield from context.iis or ()


def _no_iis(context: Context) -> str:
    if no_bindings(context):
        return no_bindings(context)
    known = any(m.kind is Kind.IIS and m.name in context.bindings for m in context.members)
    return "" if known else "no IIS has a bindings file"


def _no_answers(context: Context) -> str:
    return "" if context.iis is not None else "no answer of a check script (doctor --iis-answer)"


CHECKS = (
    Check("binding-hides-store", "no IP:port binding hides the store", _hides, _no_iis),
    Check("binding-without-host", "every central binding has a host name", _without_host, _no_iis),
    Check("binding-flags", "sslFlags go with the central store", _flags, _no_iis),
    Check("iis-servers", "IIS reads the shelf as planned", _servers, _no_answers, FROM_SERVERS),
)
