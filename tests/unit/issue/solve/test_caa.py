"""What CAA records allow."""

from __future__ import annotations

import pytest

from certshelf.issue.solve.caa import refusal

ACCOUNT = "https://ca.test/acct/1"


@pytest.mark.parametrize(
    ("records", "wildcard", "why"),
    [
        ([], False, ""),
        ([("iodef", "mailto:a@a.test")], False, ""),
        ([("issue", "CA.test")], False, ""),
        ([("issue", "other.test")], False, "only other.test"),
        ([("issue", "other.test"), ("issue", "ca.test")], False, ""),
        ([("issue", ";")], False, "nobody"),
        ([("issue", "ca.test"), ("issuewild", ";")], True, "nobody"),
        ([("issue", "ca.test"), ("issuewild", ";")], False, ""),
        ([("issue", ";"), ("issuewild", "ca.test")], True, ""),
        ([("issue", f"ca.test; accounturi={ACCOUNT}")], False, ""),
        ([("issue", "ca.test; accounturi=https://ca.test/acct/2")], False, "only the account"),
        ([("issue", "ca.test; validationmethods=dns-01,http-01")], False, ""),
        ([("issue", "ca.test; validationmethods=dns-01")], False, "only by dns-01"),
        ([("issue", "ca.test; a=1; a=2")], False, "malformed"),
    ],
)
def test_who_may_issue(records: list[tuple[str, str]], wildcard: bool, why: str) -> None:
    found = refusal(
        records, wildcard=wildcard, issuers=("ca.test",), account_uri=ACCOUNT, method="http-01"
    )
    assert why in found if why else found == ""


def test_an_unknown_ca_is_only_stopped_by_a_ban_on_everybody() -> None:
    def of(value: str) -> str:
        return refusal([("issue", value)], wildcard=False, issuers=(), account_uri="", method="x")

    assert of("any.test") == ""
    assert of(";") == "nobody may issue"
