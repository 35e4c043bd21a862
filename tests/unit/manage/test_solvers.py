"""From a challenge choice and its credential to what writes TXT records."""

from __future__ import annotations

import argparse
import asyncio
import importlib
from pathlib import Path

import pytest
from tests.support.homes import manager_in

from certshelf.issue.solve.base import Solver
from certshelf.manage.credentials import set_credential
from certshelf.manage.desk import Desk
from certshelf.manage.importing.counterparts import LEXICON
from certshelf.manage.model import ChallengeChoice, Credential, CredentialKind
from certshelf.manage.solvers import CaIdentity, Solvers
from certshelf.secret import Secret

LOOKUP = {"resolver": "127.0.0.1:53"}


def made(folder: Path, settings: dict[str, str], username: str) -> Solver:
    """The solver of a choice whose credential `dns` has that user name."""
    choice = ChallengeChoice("dns-01", settings=settings | LOOKUP, credential="dns")

    async def make() -> Solver:
        desk = Desk(manager.database)
        async with desk, Solvers(desk, manager.clock) as solvers:
            return await solvers.make(choice, CaIdentity(), "a.test")

    with manager_in(folder) as manager:
        credential = Credential("dns", CredentialKind.TOKEN, username)
        set_credential(manager.database, credential, Secret("c2VjcmV0"), manager.clock)
        return asyncio.run(make())


@pytest.mark.parametrize(("username", "option"), [("", "auth_token"), ("auth_key", "auth_key")])
def test_a_token_without_a_user_name_is_lexicons_auth_token(
    tmp_path: Path, username: str, option: str
) -> None:
    settings = {"dns": "lexicon", "provider": "cloudflare", "zone": "a.test"}
    solver = made(tmp_path, settings, username)
    writer = solver._writer  # type: ignore[attr-defined]
    assert list(writer._options) == [option]


@pytest.mark.parametrize(("username", "key"), [("", "dns"), ("key.", "key.")])
def test_a_tsig_key_without_a_user_name_is_called_as_its_credential(
    tmp_path: Path, username: str, key: str
) -> None:
    settings = {"dns": "rfc2136", "server": "127.0.0.1:53", "zone": "a.test"}
    writer = made(tmp_path, settings, username)._writer  # type: ignore[attr-defined]
    assert writer._key.name == key


@pytest.mark.parametrize(("provider", "option"), sorted(set(LEXICON.values())))
def test_what_an_import_names_is_a_provider_of_lexicons_with_that_option(
    provider: str, option: str
) -> None:
    pytest.importorskip("lexicon")
    module = importlib.import_module(f"lexicon._private.providers.{provider}")
    parser = argparse.ArgumentParser()
    module.Provider.configure_parser(parser)
    assert option in vars(parser.parse_args([]))
