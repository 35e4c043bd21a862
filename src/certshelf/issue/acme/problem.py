"""The CA's error documents (RFC 8555 section 6.7, RFC 9457) as our errors."""

from __future__ import annotations

import re
from collections.abc import Mapping
from datetime import datetime, timedelta

from certshelf.errors import AcmeProblem, IssueError, IssuerUnreachable, RateLimited

PREFIX = "urn:ietf:params:acme:error:"
_MAX_DETAIL = 400
_MAX_SUBPROBLEMS = 100
_DEFAULT_LIMIT_WAIT = timedelta(hours=1)
_DEFAULT_OUTAGE_WAIT = timedelta(minutes=1)
# control characters, line ends, overrides of direction, and halves of surrogate pairs
_CONTROL = re.compile(r"[\x00-\x1f\x7f-\x9f\u2028-\u202e\u2066-\u2069\ud800-\udfff]+")

# What to do about each type of RFC 8555 section 6.7 and its successors, said to an administrator.
_HINTS: dict[str, str] = {
    "accountDoesNotExist": "the CA does not know this account key: register the account again",
    "caa": "a CAA record forbids this CA: add it, or choose another issuer",
    "connection": "the CA could not reach the server: check the firewall and the DNS records",
    "dns": "the CA could not look the name up: check its DNS records and DNSSEC",
    "externalAccountRequired": "this CA wants an EAB key: give --eab-kid and --eab-key-file",
    "incorrectResponse": "another server answered the challenge: check that each member has the "
    "challenge rule of this account",
    "invalidContact": "give an e-mail address of a real domain",
    "invalidProfile": "run `certshelf issuer show` for the profiles that this CA offers",
    "rejectedIdentifier": "this CA does not issue for that name",
    "tls": "the CA could not make a TLS connection to the server: check port 443",
    "unauthorized": "the CA saw a wrong answer, or this account may not do that",
    "unsupportedIdentifier": "this CA does not issue for that kind of name",
    "userActionRequired": "the CA has new terms: read and accept them",
}


def short_type(value: object) -> str:
    """`rateLimited` of `urn:ietf:params:acme:error:rateLimited`; other types stay whole."""
    return printable(value, 100).removeprefix(PREFIX) if isinstance(value, str) else ""


def from_document(document: Mapping[str, object], retry_at: datetime | None = None) -> AcmeProblem:
    """A problem document as an AcmeProblem: `type` in short, the subproblems with it.

    Whatever the CA sends is made one printable line of bounded length.
    """
    kind = short_type(document.get("type"))
    detail = printable(document.get("detail") or document.get("title") or "no detail", _MAX_DETAIL)
    who = _identifier(document)
    status = document.get("status")
    return AcmeProblem(
        f"{who}{kind or 'problem'}: {detail}",
        hint=_HINTS.get(kind, ""),
        retry_at=retry_at,
        type=kind,
        status=status if isinstance(status, int) else 0,
        subproblems=_subproblems(document),
    )


def from_response(
    status: int, document: Mapping[str, object] | None, retry_at: datetime | None, now: datetime
) -> IssueError:
    """The error for an HTTP answer of 400 and above.

    document: its JSON object, or None when the body is none. RateLimited when the CA says so (429
    or the type), IssuerUnreachable for a fault on its side, else AcmeProblem.
    """
    problem = from_document(document or {"detail": f"HTTP status {status}, no explanation"})
    problem.status = status
    if status == 429 or problem.type == "rateLimited":
        until = retry_at or now + _DEFAULT_LIMIT_WAIT
        return RateLimited(f"the CA limits us: {problem}", retry_at=until)
    if status >= 500:
        until = retry_at or now + _DEFAULT_OUTAGE_WAIT
        return IssuerUnreachable(f"the CA has a fault (HTTP {status}): {problem}", retry_at=until)
    problem.retry_at = retry_at
    return problem


def unreachable(what: str, now: datetime, hint: str = "") -> IssuerUnreachable:
    """The CA does not answer or answers nonsense; it may be asked again in a minute."""
    return IssuerUnreachable(what, hint=hint, retry_at=now + _DEFAULT_OUTAGE_WAIT)


def printable(value: object, limit: int = 200) -> str:
    """Foreign text as one line without control characters, cut at limit characters."""
    text = _CONTROL.sub(" ", str(value)).strip()
    return text if len(text) <= limit else text[: limit - 3] + "..."


def _identifier(document: Mapping[str, object]) -> str:
    identifier = document.get("identifier")
    if not isinstance(identifier, dict) or "value" not in identifier:
        return ""
    return printable(identifier["value"]) + ": "


def _subproblems(document: Mapping[str, object]) -> tuple[AcmeProblem, ...]:
    found = document.get("subproblems")
    if not isinstance(found, list):
        return ()
    # a subproblem has no subproblems of its own (RFC 8555 section 6.7.1): no recursion to bound
    plain = ({**d, "subproblems": None} for d in found[:_MAX_SUBPROBLEMS] if isinstance(d, dict))
    return tuple(from_document(d) for d in plain)
