"""The CAs that are known by name, as `issuer add` takes them."""

from __future__ import annotations

from pathlib import Path

import pytest
from tests.support.homes import manager_in

from certshelf.errors import ConfigError
from certshelf.issue.acme.client import REQUESTS
from certshelf.issue.acme.known import KNOWN
from certshelf.issue.acme.limits import Rate
from certshelf.manage.accounts import client_settings
from certshelf.manage.budget import LETS_ENCRYPT, NONE, limits_of
from certshelf.manage.issuers import AcmeWish, add_acme
from certshelf.manage.model import IssuerRecord
from certshelf.secret import Secret

EAB = ("kid-1", Secret("zWNDZM6eQGHWpSRTPal5eIUYFTu7EajVIoguysqZ9wG44nMEtx3MUAsUDkMTQ12W"))


def add(folder: Path, wish: AcmeWish) -> IssuerRecord:
    with manager_in(folder) as manager, manager.database.write() as records:
        return add_acme(records, "ca", wish, manager.clock)


@pytest.mark.parametrize("name", [name for name, ca in KNOWN.items() if not ca.needs_binding])
def test_lets_encrypt_needs_its_name_only_and_production_has_its_limits(
    tmp_path: Path, name: str
) -> None:
    record = add(tmp_path, AcmeWish(name.upper()))
    assert record.settings["directory"] == KNOWN[name].directory_url
    assert limits_of(record) == (LETS_ENCRYPT if name == "letsencrypt" else NONE)


@pytest.mark.parametrize("name", ["zerossl", "google", "actalis"])
def test_a_ca_that_wants_a_binding_is_added_with_one_only(tmp_path: Path, name: str) -> None:
    with pytest.raises(ConfigError, match="external account binding") as caught:
        add(tmp_path, AcmeWish(name))
    assert "--eab-kid" in caught.value.hint
    record = add(tmp_path, AcmeWish(name, eab=EAB))
    assert record.settings["directory"] == KNOWN[name].directory_url
    assert record.settings["eab_credential"] == "eab-ca"


def test_buypass_is_refused_with_what_happened_to_it(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="buypass") as caught:
        add(tmp_path, AcmeWish("buypass"))
    assert "ended" in caught.value.hint


@pytest.mark.parametrize(
    ("wish", "rate"), [(None, REQUESTS), (0, None), (10, Rate(10, 5)), (0.5, Rate(0.5, 1))]
)
def test_how_fast_a_ca_is_asked_is_set_for_an_issuer_and_0_is_no_limit(
    tmp_path: Path, wish: float | None, rate: Rate | None
) -> None:
    record = add(tmp_path, AcmeWish("https://ca.test/dir", requests_per_second=wish))
    assert client_settings(record).requests == rate
