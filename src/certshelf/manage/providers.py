"""Secrets that lie elsewhere: a credential may say where instead of holding the secret itself.

A reference is sealed like a secret. It begins with U+001F, which no password typed by a person has.
Two places: a file whose path an environment variable holds (never the secret itself: an environment
is inherited and readable), and a field of a KV secret in HashiCorp Vault or OpenBao.
"""

from __future__ import annotations

import json
import os
from collections.abc import Mapping
from pathlib import Path
from urllib.parse import urlsplit

from certshelf.errors import ConfigError, CredentialError
from certshelf.secret import Secret

_MARK = "\x1f"
_MAX_BYTES = 64 * 1024
_LOOPBACK = ("127.0.0.1", "::1", "localhost")


def env_path(variable: str) -> Secret:
    """A reference to the file whose path this environment variable holds."""
    if not variable.isidentifier():
        raise ConfigError(f"no name of an environment variable: {variable[:64]!r}")
    return Secret(_MARK + json.dumps({"env": variable}))


def vault(url: str, token_file: Path, ca_file: Path | None = None) -> Secret:
    """A reference to `https://host:8200/v1/MOUNT/data/PATH#FIELD`, asked with the token in a file.

    KV version 2 as written, version 1 without `/data/`. ConfigError for anything but https, except
    to this machine itself, where an agent may listen.
    """
    parts = urlsplit(url)
    is_safe = parts.scheme == "https" or (parts.scheme == "http" and parts.hostname in _LOOPBACK)
    if not is_safe or not parts.path.startswith("/v1/") or not parts.fragment or parts.username:
        raise ConfigError(
            "no address of a secret in Vault or OpenBao",
            hint="https://vault.example.com:8200/v1/secret/data/web#password",
        )
    if not token_file.is_absolute():
        raise ConfigError(f"the token's file needs its whole path: {token_file}")
    found = {"vault": url, "token_file": str(token_file), "ca_file": str(ca_file or "")}
    return Secret(_MARK + json.dumps(found))


def where(secret: Secret) -> str:
    """Where a reference points to, for people; "" for a secret that is held here."""
    found = _reference(secret)
    if found is None:
        return ""
    return f"the file in ${found['env']}" if "env" in found else str(found["vault"])


def resolve(secret: Secret, environ: Mapping[str, str] | None = None) -> Secret:
    """The secret itself, fetched when it is a reference. CredentialError when it cannot be had."""
    found = _reference(secret)
    if found is None:
        return secret
    if "env" in found:
        path = (os.environ if environ is None else environ).get(found["env"], "")
        if not path:
            raise CredentialError(f"the environment variable {found['env']} is not set")
        return _from_file(Path(path))
    from certshelf.manage.vault import read_field  # HTTP is for those who use it

    url, _, field = found["vault"].partition("#")
    return read_field(url, field, _from_file(Path(found["token_file"])), found["ca_file"])


def _reference(secret: Secret) -> dict[str, str] | None:
    text = secret.reveal()
    if not text.startswith(_MARK):
        return None
    reference: dict[str, str] = json.loads(text[1:])
    return reference


def _from_file(path: Path) -> Secret:
    try:
        with path.open("rb") as file:
            text = file.read(_MAX_BYTES).decode().removesuffix("\n").removesuffix("\r")
    except (OSError, UnicodeDecodeError) as error:
        raise CredentialError(f"cannot read the secret in {path}: {error}") from error
    if not text:
        raise CredentialError(f"the secret in {path} is empty")
    return Secret(text)
