"""The CA's error documents as our errors."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import pytest

from certshelf.errors import AcmeProblem, IssuerUnreachable, RateLimited
from certshelf.issue.acme.problem import from_document, from_response

NOW = datetime(2030, 1, 1, tzinfo=UTC)
URN = "urn:ietf:params:acme:error:"


def test_a_problem_keeps_type_detail_and_each_name_of_its_subproblems() -> None:
    document = {
        "type": URN + "compound",
        "detail": "two names failed",
        "subproblems": [
            {
                "type": URN + "caa",
                "detail": "CAA forbids",
                "identifier": {"type": "dns", "value": "a.test"},
            },
            {"type": URN + "dns", "detail": "NXDOMAIN"},
        ],
    }
    problem = from_response(403, document, None, NOW)
    assert isinstance(problem, AcmeProblem)
    assert (problem.type, problem.status) == ("compound", 403)
    assert [p.type for p in problem.subproblems] == ["caa", "dns"]
    assert str(problem.subproblems[0]) == "a.test: caa: CAA forbids"
    assert problem.subproblems[0].hint


@pytest.mark.parametrize(
    ("status", "document"),
    [(429, None), (429, {"type": "other"}), (503, {"type": URN + "rateLimited", "detail": "x"})],
)
def test_a_rate_limit_says_when_to_come_back(status: int, document: dict[str, object]) -> None:
    until = NOW + timedelta(minutes=3)
    error = from_response(status, document, until, NOW)
    assert isinstance(error, RateLimited)
    assert error.retry_at == until


def test_a_rate_limit_without_a_time_waits_an_hour() -> None:
    assert from_response(429, None, None, NOW).retry_at == NOW + timedelta(hours=1)


@pytest.mark.parametrize("status", [500, 502, 503, 599])
def test_a_fault_of_the_ca_may_be_retried(status: int) -> None:
    error = from_response(status, None, None, NOW)
    assert isinstance(error, IssuerUnreachable)
    assert error.retry_at == NOW + timedelta(minutes=1)


def test_foreign_text_becomes_one_bounded_line() -> None:
    problem = from_document({"type": URN + "dns", "detail": "a\r\nb\x1b[31m\u2028c" + "x" * 9999})
    assert str(problem).isprintable()
    assert len(str(problem)) < 500


@pytest.mark.parametrize(
    "document",
    [
        {},
        {"type": 5, "detail": ["x"], "status": "y", "subproblems": "z"},
        {"subproblems": [1, None, {"subproblems": [{"subproblems": []}]}], "identifier": {}},
        {"identifier": {"value": {"deep": [1]}}},
    ],
)
def test_a_document_of_the_wrong_shape_is_still_a_problem(document: dict[str, object]) -> None:
    assert isinstance(from_document(document), AcmeProblem)
