"""What a task needs, made for a test without a manager."""

from __future__ import annotations

import time
from collections.abc import Mapping
from typing import Any

from certshelf.bundle.model import Bundle
from certshelf.deploy.base import Context, Login
from certshelf.errors import CredentialError
from certshelf.secret import Secret
from tests.support.bundles import make_bundle

PFX_PASSWORD = Secret("the shelf's password")
LEAF = make_bundle("www.example.test", "*.example.test")
NEWER = make_bundle("www.example.test", "*.example.test", days=60)


def context(
    bundle: Bundle | None = LEAF,
    *,
    seconds: float = 20.0,
    login: tuple[str, str] | None = None,
    credentials: Mapping[str, str] | None = None,
    **options: Any,
) -> Context:
    """A context with that much time; credentials: name -> secret."""

    def credential(name: str) -> Login:
        if name not in (credentials or {}):
            raise CredentialError(f"there is no credential {name!r}")
        return Login("", Secret((credentials or {})[name]))

    return Context(
        certificate="web",
        hosts=LEAF.names,
        bundle=bundle,
        ends_at=time.monotonic() + seconds,
        password=lambda: PFX_PASSWORD,
        login=Login(login[0], Secret(login[1])) if login else None,
        credential=credential,
        owner="test",
        **options,
    )
