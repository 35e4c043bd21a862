"""Every setting is in the reference, with its default and meaning."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from certshelf.manage.model import CredentialKind
from certshelf.manage.settings import Value, describe

DOCS = Path(__file__).parents[2] / "docs"


@pytest.mark.parametrize(("key", "default", "what"), describe())
def test_a_setting_is_in_the_reference(key: str, default: Value, what: str) -> None:
    page = (DOCS / "reference" / "home.md").read_text("utf-8")
    assert f"| `{key}` | `{json.dumps(default)}` | {what} |\n" in page


@pytest.mark.parametrize("kind", CredentialKind)
def test_a_kind_of_credential_is_explained(kind: str) -> None:
    assert f"\n| `{kind}` | " in (DOCS / "how-to" / "credentials.md").read_text("utf-8")
