"""What a server's plan decides, and what its script holds."""

from __future__ import annotations

import re

import pytest
from tests.support.powershell import syntax_errors

from certshelf.errors import ConfigError
from certshelf.farm import Binding
from certshelf.iis.check_script import check_script
from certshelf.iis.plan import ServerPlan, SiteBinding, plan
from certshelf.iis.scripts import setup_script, undo_script
from certshelf.names import HostName

WWW = HostName.parse("www.example.com")
STORE = r"\\files\certs"


def planned(*found: Binding, on_shelf: tuple[HostName, ...] = (WWW,)) -> ServerPlan:
    return plan("WEB1", STORE, r"FARM\ccs", found=found, on_shelf=on_shelf)


def test_a_direct_binding_with_a_file_is_converted() -> None:
    result = planned(Binding("Site", "WWW.example.com", "192.0.2.1", 443, 1, "AB"))
    assert [(c.site, c.host, c.address) for c in result.conversions] == [("Site", WWW, "192.0.2.1")]


def test_a_wildcard_file_is_enough_to_convert() -> None:
    result = planned(
        Binding("Site", "www.example.com", "*", 443), on_shelf=(HostName.parse("*.example.com"),)
    )
    assert len(result.conversions) == 1


@pytest.mark.parametrize(
    ("binding", "why"),
    [
        (Binding("S", "", "*", 443), "no host name"),
        (Binding("S", "shop.example.com", "*", 443), "no file"),
        (Binding("S", "www.example.com", "*", 443, 5), "disablehttp2=enable"),
        (Binding("S", "10.0.0.1", "*", 443), "IP address"),
    ],
)
def test_a_binding_that_would_go_dark_is_left_alone_with_its_reason(
    binding: Binding, why: str
) -> None:
    result = planned(binding)
    assert not result.conversions
    assert why in result.left[0].why
    assert why in setup_script(result)


def test_a_central_binding_is_neither_converted_nor_left() -> None:
    result = planned(Binding("S", "www.example.com", "*", 443, 3))
    assert (result.conversions, result.left) == ((), ())


def test_each_port_in_use_gets_one_entry_in_http_sys() -> None:
    wanted = [SiteBinding("A", WWW, 8443), SiteBinding("B", WWW, 8443), SiteBinding("A", WWW)]
    result = plan("WEB1", STORE, "ccs", wanted=wanted)
    assert result.ports == (443, 8443)
    assert "$Ports = @(443, 8443)" in setup_script(result)


@pytest.mark.parametrize("store", ["/mnt/certs", "certs", r"\\files", "//files/certs", "D:", ""])
def test_a_location_that_iis_cannot_read_is_refused(store: str) -> None:
    with pytest.raises(ConfigError, match="cannot read a store"):
        plan("WEB1", store, "ccs")


@pytest.mark.parametrize("store", [r"\\files\certs", r"\\files\certs\farm", r"D:\certs"])
def test_shares_and_local_folders_are_taken(store: str) -> None:
    assert plan("WEB1", store, "ccs").store == store


def test_no_account_is_refused() -> None:
    with pytest.raises(ConfigError, match="no account"):
        plan("WEB1", STORE, " ")


def test_polling_outside_a_day_is_refused() -> None:
    with pytest.raises(ConfigError, match="polling"):
        plan("WEB1", STORE, "ccs", polling_seconds=0)


def test_the_script_asks_for_secrets_and_has_the_right_cmdlet() -> None:
    script = setup_script(planned(Binding("Site", "www.example.com", "*", 443, 1)))
    assert "Get-Credential" in script
    assert "-AsSecureString" in script
    assert "-Enabled" not in re.sub(r"(?m)^#.*$", "", script)  # Set-IISCentral... has no such one
    assert "SupportsShouldProcess" in script
    assert "'www.example.com'" in script


def test_every_change_asks_should_process_first() -> None:
    """Each line that changes something lies inside a block that -WhatIf skips."""
    script = setup_script(
        plan(
            "WEB1",
            STORE,
            "ccs",
            found=[Binding("Site", "www.example.com", "192.0.2.1", 443)],
            wanted=[SiteBinding("Site", WWW)],
            on_shelf=[WWW],
        )
    )
    for part in (script, undo_script(planned())):
        for line in part.splitlines():
            changes = re.match(
                r"\s+(?:& netsh|& dism|New-WebBinding|Set-|New-Item|Backup-|\$old \||& \"\$verb)",
                line,
            )
            if changes:
                assert "ShouldProcess" in part[: part.index(line)]
                assert line.startswith("    ")


@pytest.mark.parametrize(
    "script", [setup_script(planned()), undo_script(planned()), check_script("WEB1")]
)
def test_every_script_is_ascii_and_parses(script: str) -> None:
    assert script.isascii()
    assert syntax_errors(script) == []


def test_the_check_script_changes_nothing() -> None:
    changing = re.compile(
        r"\b(?:Set-(?!Content)|Remove-(?!PSDrive)|New-(?!PSDrive)|Install-|Enable-|Import-Pfx)\w"
    )
    assert changing.findall(check_script()) == []
