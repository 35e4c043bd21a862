"""A new key at each renewal, unless the wish says otherwise; every type that can be asked for."""

from __future__ import annotations

import asyncio
from dataclasses import replace
from pathlib import Path

import pytest
from tests.support.homes import manager_in
from tests.support.records import certificate

from certshelf.bundle.model import Bundle
from certshelf.manage.certificates import add_certificate
from certshelf.manage.changes import apply_changes, plan_changes
from certshelf.manage.manager import Manager
from certshelf.manage.pipeline import request_certificate


def issue(manager: Manager) -> Bundle:
    run = asyncio.run(request_certificate(manager, "web", force=True))
    assert run.ok, run.error
    assert isinstance(run.bundle, Bundle)
    return run.bundle


@pytest.mark.parametrize("reuse", [False, True])
def test_a_renewal_has_a_new_key_unless_it_is_to_be_reused(tmp_path: Path, reuse: bool) -> None:
    with manager_in(tmp_path) as manager:
        add_certificate(manager, certificate("web", reuse_key=reuse))
        first, second = issue(manager), issue(manager)
    assert first.serial != second.serial
    assert (first.key.public_key() == second.key.public_key()) is reuse


def test_a_key_is_not_reused_when_another_type_is_asked_for(tmp_path: Path) -> None:
    with manager_in(tmp_path) as manager:
        was = add_certificate(manager, certificate("web", reuse_key=True))
        assert issue(manager).key_type == "ecdsa-p256"
        wish = replace(was, key_type="ecdsa-p384")
        apply_changes(manager, plan_changes([wish], [was], prune=False))
        assert issue(manager).key_type == "ecdsa-p384"


@pytest.mark.parametrize(
    "key_type",
    [
        "ecdsa-p256",
        "ecdsa-p384",
        "rsa-2048",
        pytest.param("rsa-3072", marks=pytest.mark.slow),
        pytest.param("rsa-4096", marks=pytest.mark.slow),
    ],
)
def test_each_key_type_comes_to_the_shelf(tmp_path: Path, key_type: str) -> None:
    with manager_in(tmp_path) as manager:
        add_certificate(manager, certificate("web", key_type=key_type))
        assert issue(manager).key_type == key_type
        file = manager.shelf.look_at("web.example.test.pfx")
    assert file
    assert file.bundle
    assert file.bundle.key_type == key_type
