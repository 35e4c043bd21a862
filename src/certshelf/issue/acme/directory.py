"""The CA's directory: where things are asked, and what the CA says of itself (RFC 8555 7.1.1)."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from urllib.parse import urlsplit

from certshelf.errors import IssuerUnreachable
from certshelf.issue.acme.problem import printable

_LOOPBACK = ("localhost", "127.0.0.1", "::1")


@dataclass(frozen=True, slots=True)
class Directory:
    """The URLs of one CA. renewal_info is "" when the CA has no ARI (RFC 9773).

    profiles: name to description, empty when the CA offers no choice
    (draft-ietf-acme-profiles). caa_identities: what CAA records call this CA.
    """

    new_nonce: str
    new_account: str
    new_order: str
    revoke_cert: str
    key_change: str
    renewal_info: str = ""
    terms: str = ""
    website: str = ""
    caa_identities: tuple[str, ...] = ()
    external_account_required: bool = False
    profiles: Mapping[str, str] = field(default_factory=dict)

    @staticmethod
    def parse(document: Mapping[str, object]) -> Directory:
        """Read the directory's JSON object. Raises IssuerUnreachable for one that is none."""
        meta = document.get("meta")
        meta = meta if isinstance(meta, dict) else {}
        profiles = meta.get("profiles")
        caa = meta.get("caaIdentities")
        return Directory(
            new_nonce=_url(document, "newNonce"),
            new_account=_url(document, "newAccount"),
            new_order=_url(document, "newOrder"),
            revoke_cert=_url(document, "revokeCert"),
            key_change=_url(document, "keyChange"),
            renewal_info=_url(document, "renewalInfo") if "renewalInfo" in document else "",
            terms=printable(meta.get("termsOfService") or ""),
            website=printable(meta.get("website") or ""),
            caa_identities=tuple(printable(c) for c in caa) if isinstance(caa, list) else (),
            external_account_required=meta.get("externalAccountRequired") is True,
            profiles={printable(k): printable(v) for k, v in profiles.items()}
            if isinstance(profiles, dict)
            else {},
        )


def no_step_down(url: str, directory_url: str) -> None:
    """Refuse http to this machine itself for a CA that was not reached so.

    Else any CA could have us ask the services that listen here for this machine alone.
    Raises IssuerUnreachable.
    """
    if urlsplit(url).scheme != "https" and urlsplit(directory_url).scheme == "https":
        raise IssuerUnreachable(
            f"the CA leads from https to {printable(url)!r}",
            hint="this CA is faulty, or somebody answers in its place",
        )


def checked_url(value: object) -> str:
    """A URL that may be asked: https, or http to this machine itself.

    Raises IssuerUnreachable for any other: RFC 8555 section 6.1 demands HTTPS, and a CA's
    answer must not make us send a signature anywhere in clear.
    """
    try:
        parts = urlsplit(value if isinstance(value, str) else "")
        host = parts.hostname
    except ValueError:
        parts, host = urlsplit(""), None
    if host and (parts.scheme == "https" or (parts.scheme == "http" and host in _LOOPBACK)):
        return str(value)
    raise IssuerUnreachable(
        f"the CA names no https URL: {printable(value)!r}",
        hint="check the issuer's directory URL",
    )


def _url(document: Mapping[str, object], member: str) -> str:
    if member not in document:
        raise IssuerUnreachable(
            f"no ACME directory: it has no {member!r}", hint="check the issuer's directory URL"
        )
    return checked_url(document[member])
