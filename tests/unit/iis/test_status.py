"""What the check script's answer means."""

from __future__ import annotations

import copy
import json
from typing import Any

import pytest

from certshelf.errors import ConfigError
from certshelf.finding import Severity
from certshelf.iis.status import findings, parse

GOOD: dict[str, Any] = {
    "format": 1,
    "server": "WEB1",
    "account": "FARM\\admin",
    "windows": "10.0.20348.0",
    "feature": True,
    "provider": {
        "enabled": True,
        "location": "\\\\files\\certs",
        "user": "FARM\\ccs",
        "has_password": True,
        "has_key_password": True,
        "polling": None,
    },
    "http_sys": [{"kind": "ccs", "name": "443"}, {"kind": "hostnameport", "name": "a.b:443"}],
    "bindings": {
        "ok": True,
        "error": "",
        "rows": [
            {"site": "S", "information": "*:443:www.example.com", "flags": 3, "thumbprint": ""}
        ],
    },
    "store": {"ok": True, "error": "", "files": 3},
    "reader": {"ok": True, "value": 3, "error": ""},
    "pfx": [{"file": "www.example.com.pfx", "ok": True, "thumbprint": "AB", "error": ""}],
}


def answer(**changes: Any) -> str:
    """GOOD with changes; `provider__enabled=False` reaches inside."""
    data = copy.deepcopy(GOOD)
    for key, value in changes.items():
        outer, _, inner = key.partition("__")
        if inner:
            data[outer][inner] = value
        else:
            data[outer] = value
    return json.dumps(data)


def ids(text: str) -> list[str]:
    found = findings(parse(text), store="\\\\FILES\\certs\\", reader="farm\\CCS")
    return [f.id for f in found if f.severity is not Severity.INFO]


def test_a_good_server_has_no_finding() -> None:
    assert ids(answer()) == []


def test_polling_is_300_seconds_when_it_is_not_set() -> None:
    assert parse(answer()).polling_seconds == 300
    assert parse(answer(provider__polling=60)).polling_seconds == 60


def test_an_array_of_one_may_be_unwrapped_and_an_empty_one_null() -> None:
    status = parse(answer(http_sys={"kind": "ccs", "name": "0.0.0.0:443"}, pfx=None))
    assert status.central_ports == (443,)
    assert status.pfx == ()


def test_an_entry_spelled_in_an_unknown_way_is_passed_over() -> None:
    status = parse(answer(http_sys=[{"kind": "ccs", "name": "x"}, {"kind": "ccs", "name": "443"}]))
    assert status.central_ports == (443,)


def test_a_byte_order_mark_is_no_harm() -> None:
    assert parse("\ufeff" + answer()).server == "WEB1"


@pytest.mark.parametrize(
    ("changes", "expected"),
    [
        ({"feature": False}, ["iis-feature"]),
        (
            {"provider__enabled": False},
            [
                "iis-provider",
            ],
        ),
        ({"provider__location": "D:\\old"}, ["iis-location"]),
        ({"provider__user": "FARM\\admin"}, ["iis-reader"]),
        ({"provider__has_key_password": False}, ["iis-password"]),
        ({"provider__has_password": False}, ["iis-password"]),
        ({"http_sys": []}, ["iis-http-sys"]),
        (
            {
                "http_sys": [
                    {"kind": "ccs", "name": "443"},
                    {"kind": "ipport", "name": "0.0.0.0:443"},
                ]
            },
            ["iis-hidden-store"],
        ),
        ({"reader": {"ok": False, "value": None, "error": "Access denied"}}, ["iis-reader-open"]),
        (
            {"pfx": [{"file": "a.pfx", "ok": False, "thumbprint": "", "error": "password"}]},
            ["iis-pfx"],
        ),
    ],
)
def test_each_fault_is_its_own_finding(changes: dict[str, Any], expected: list[str]) -> None:
    assert ids(answer(**changes)) == expected


def test_an_old_windows_calls_an_unknown_algorithm_a_wrong_password() -> None:
    pfx = [
        {
            "file": "a.pfx",
            "ok": False,
            "thumbprint": "",
            "error": "The specified network password is not correct",
        }
    ]
    (finding,) = findings(parse(answer(windows="10.0.14393.0", pfx=pfx)))
    assert "AES-256" in finding.why
    assert "windows-2016" in finding.do


@pytest.mark.parametrize("text", ["", "{}", "[]", "null", '{"format": 2}', '{"format": 1}', "<x/>"])
def test_something_else_is_refused(text: str) -> None:
    with pytest.raises(ConfigError):
        parse(text)
