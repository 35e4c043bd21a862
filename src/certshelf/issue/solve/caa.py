"""Whether CAA records let a CA issue (RFC 8659, and RFC 8657's accounturi, validationmethods)."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from certshelf.issue.solve.dnspersist01 import parse


def refusal(
    records: Iterable[tuple[str, str]],
    *,
    wildcard: bool,
    issuers: Sequence[str],
    account_uri: str,
    method: str,
) -> str:
    """Why these CAA records keep the CA from issuing, in words; "" when they do not.

    records: (tag, value) of the name that rules. issuers: what the CA calls itself; empty means
    unknown, and then only a ban on everybody counts. wildcard: `issuewild` rules when there is
    any (RFC 8659 section 4.3).
    """
    found = list(records)
    wild = [value for tag, value in found if tag == "issuewild"] if wildcard else []
    values = wild or [value for tag, value in found if tag == "issue"]
    if not values:
        return ""  # iodef and the like say nothing about who may issue
    reasons = [_one(value, issuers, account_uri, method) for value in values]
    return "" if "" in reasons else "; ".join(dict.fromkeys(reasons))


def _one(value: str, issuers: Sequence[str], account_uri: str, method: str) -> str:
    issuer, parameters = parse(value)
    if parameters is None:
        return f"{value!r} is malformed, which forbids"
    if not issuer:
        return "nobody may issue"
    if issuers and issuer not in (i.lower().rstrip(".") for i in issuers):
        return f"only {issuer} may issue"
    if (wanted := parameters.get("accounturi")) and wanted != account_uri:
        return f"only the account {wanted} may ask"
    methods = parameters.get("validationmethods", "")
    if methods and method not in (m.strip() for m in methods.split(",")):
        return f"only by {methods}"
    return ""
