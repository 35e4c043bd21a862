"""Whatever a CA answers, it ends in one of our values or in one named error."""

from __future__ import annotations

import contextlib
import json
from collections.abc import Callable
from datetime import UTC, datetime

import pytest
from hypothesis import given
from hypothesis import strategies as st

from certshelf.errors import IssueError, IssuerUnreachable
from certshelf.issue.acme import fields, order
from certshelf.issue.acme.challenge import read_challenge
from certshelf.issue.acme.directory import Directory, checked_url
from certshelf.issue.acme.problem import from_document, from_response
from certshelf.issue.acme.response import Response
from certshelf.issue.acme.retry import MAX_WAIT, retry_after

NOW = datetime(2030, 1, 1, tzinfo=UTC)
URL = "https://ca.test/x"
TEXTS = st.one_of(
    st.text(max_size=40),
    st.sampled_from(
        [
            *("valid", "pending", "dns", "ip", URL, "https://[", "http://127.0.0.1:x/"),
            *("0001-01-01T00:00:00+14:00", "9999-12-31T23:59:59-14:00", "\ud800", "a\r\nb"),
        ]
    ),
)
VALUES = st.recursive(
    st.one_of(st.none(), st.booleans(), st.integers(), st.floats(), TEXTS),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(TEXTS, inner, max_size=3),
    max_leaves=6,
)
MEMBERS = [
    *("type", "detail", "title", "status", "identifier", "subproblems", "value", "url", "token"),
    *("error", "issuerDomainNames", "newNonce", "newAccount", "newOrder", "revokeCert"),
    *("keyChange", "renewalInfo", "meta", "profiles", "caaIdentities", "identifiers"),
    *("authorizations", "finalize", "certificate", "expires", "profile", "challenges"),
]
DOCUMENTS = st.dictionaries(st.sampled_from(MEMBERS), VALUES, max_size=12)


def read_order(document: dict[str, object]) -> object:
    return order.read(Response(URL, 200, json.dumps(document).encode()))


READERS: list[Callable[[dict[str, object]], object]] = [
    read_order,
    Directory.parse,
    read_challenge,
    lambda d: fields.moment(d, "expires"),
    lambda d: fields.identifier(d.get("identifier")),
]


@pytest.mark.parametrize("reader", READERS)
@given(document=DOCUMENTS)
def test_a_wrong_object_is_nonsense_by_name(
    reader: Callable[[dict[str, object]], object], document: dict[str, object]
) -> None:
    with contextlib.suppress(IssuerUnreachable):
        reader(document)


@given(document=DOCUMENTS, status=st.integers(400, 599))
def test_every_refusal_is_an_error_of_one_printable_line(
    document: dict[str, object], status: int
) -> None:
    for error in (from_document(document), from_response(status, document, None, NOW)):
        assert isinstance(error, IssueError)
        assert "\n" not in str(error)
        str(error).encode()


@given(
    header=st.one_of(
        st.none(),
        st.text(max_size=60),
        st.sampled_from(
            ["0", "9" * 9, "Mon, 01 Jan 0001 00:00:00 +1400", "Fri, 31 Dec 9999 23:59:59 -1400"]
        ),
    )
)
def test_a_retry_after_is_nothing_or_within_a_week(header: str | None) -> None:
    moment = retry_after(header, NOW)
    assert moment is None or NOW <= moment <= NOW + MAX_WAIT


@given(url=st.one_of(TEXTS, st.text().map(lambda t: "https://" + t)))
def test_a_url_is_https_or_this_machine_or_refused(url: str) -> None:
    with contextlib.suppress(IssuerUnreachable):
        assert checked_url(url).lower().startswith(("https://", "http://"))


@given(body=st.binary(max_size=200), links=st.lists(st.text(max_size=60), max_size=3))
def test_any_bytes_are_a_document_or_none(body: bytes, links: list[str]) -> None:
    response = Response(URL, 200, body, links=tuple(links))
    assert response.document() is None or isinstance(response.document(), dict)
    with contextlib.suppress(IssuerUnreachable):
        response.related("alternate")
