"""Secrets that lie elsewhere: fetched when needed, refused in words, never shown by the way."""

from __future__ import annotations

import http.server
import json
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from tests.support.homes import manager_in

from certshelf.clock import SYSTEM
from certshelf.errors import ConfigError, CredentialError
from certshelf.manage import dpapi
from certshelf.manage.credentials import read_secret, set_credential
from certshelf.manage.keyring import KeyRing
from certshelf.manage.manager import open_manager
from certshelf.manage.model import Credential
from certshelf.manage.providers import env_path, resolve, vault, where
from certshelf.secret import Secret

TOKEN, CANARY = "token-canary-5J", "vault-canary-2W"


class Vault:
    """Answers as Vault's KV does, to whoever has the token."""

    def __init__(self) -> None:
        self.document: dict[str, Any] = {
            "data": {"data": {"pfx": CANARY}, "metadata": {"version": 1}}
        }
        self.moved = ""
        rig = self

        class Handler(http.server.BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                right = self.headers.get("X-Vault-Token") == TOKEN
                known = self.path == "/v1/secret/data/web"
                self.send_response(302 if rig.moved else 200 if right and known else 403)
                if rig.moved:
                    self.send_header("Location", rig.moved)
                self.end_headers()
                if right and known:
                    self.wfile.write(json.dumps(rig.document).encode())

            def log_message(self, *_: object) -> None:
                pass

        self._server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.url = f"http://127.0.0.1:{self._server.server_address[1]}/v1/secret/data/web"
        threading.Thread(target=self._server.serve_forever, daemon=True).start()

    def close(self) -> None:
        self._server.shutdown()
        self._server.server_close()


@pytest.fixture
def server() -> Iterator[Vault]:
    running = Vault()
    yield running
    running.close()


@pytest.fixture
def token(tmp_path: Path) -> Path:
    (tmp_path / "token").write_text(TOKEN + "\n")
    return tmp_path / "token"


def test_a_secret_held_here_is_itself() -> None:
    assert resolve(Secret("plain")) == Secret("plain")
    assert where(Secret("plain")) == ""


def test_an_environment_variable_names_a_file(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("the secret\n")
    reference = env_path("SHARE_FILE")
    assert resolve(reference, {"SHARE_FILE": str(tmp_path / "file")}) == Secret("the secret")
    assert where(reference) == "the file in $SHARE_FILE"
    with pytest.raises(CredentialError, match="not set"):
        resolve(reference, {})
    with pytest.raises(CredentialError, match="cannot read"):
        resolve(reference, {"SHARE_FILE": str(tmp_path / "gone")})


@pytest.mark.parametrize("version", [1, 2])
def test_a_field_of_a_kv_secret(server: Vault, token: Path, version: int) -> None:
    if version == 1:
        server.document = {"data": {"pfx": CANARY}}
    reference = vault(f"{server.url}#pfx", token)
    assert resolve(reference) == Secret(CANARY)
    assert CANARY not in where(reference) + repr(reference)


def test_a_refusal_is_told_without_the_token(server: Vault, token: Path) -> None:
    cases = {
        f"{server.url}#other": "no text in 'other'",
        f"{server.url}x#pfx": "answers 403",
        "http://127.0.0.1:1/v1/secret/data/web#pfx": "cannot read",
    }
    for url, said in cases.items():
        with pytest.raises(CredentialError, match=said) as caught:
            resolve(vault(url, token))
        assert TOKEN not in str(caught.value)
    token.write_text("a wrong one")
    with pytest.raises(CredentialError, match="answers 403"):
        resolve(vault(f"{server.url}#pfx", token))


def test_the_token_follows_no_redirect(server: Vault, token: Path) -> None:
    server.moved = "http://127.0.0.1:1/elsewhere"
    with pytest.raises(CredentialError, match="answers 302"):
        resolve(vault(f"{server.url}#pfx", token))


@pytest.mark.parametrize(
    "url",
    [
        "http://vault.example.com/v1/secret/data/web#x",
        "https://vault.example.com/v1/secret/data/web",
        "https://vault.example.com/ui/secret#x",
        "https://me:pw@vault.example.com/v1/secret/data/web#x",
    ],
)
def test_what_is_no_address_of_a_secret_is_refused(url: str, token: Path) -> None:
    with pytest.raises(ConfigError):
        vault(url, token)


def test_a_shelf_opens_with_a_password_from_vault(
    tmp_path: Path, server: Vault, token: Path
) -> None:
    with manager_in(tmp_path) as manager:
        name = manager.settings.shelf.password_credential
        set_credential(
            manager.database, Credential(name), vault(f"{server.url}#pfx", token), SYSTEM
        )
        assert read_secret(manager.home, manager.settings, name) == Secret(CANARY)
    with open_manager(manager.home.path) as manager:
        assert manager.shelf.passwords[0] == Secret(CANARY)
        assert manager.reveal(name) == Secret(CANARY)


# --- the key file on Windows


def test_a_key_file_of_windows_is_refused_elsewhere_in_words(tmp_path: Path) -> None:
    path = tmp_path / "keys.json"
    path.write_bytes(dpapi.MARK + b"AAAA\n")
    path.chmod(0o600)
    with pytest.raises(CredentialError, match="DPAPI"):
        KeyRing(path).seal(Secret("x"), "a/b/c")


def test_wrapped_and_unwrapped_key_files_are_both_read(monkeypatch: pytest.MonkeyPatch) -> None:
    def backwards(function: str, data: bytes) -> bytes:
        return data[::-1]

    class Windows:
        name = "nt"

    monkeypatch.setattr(dpapi, "_call", backwards)
    monkeypatch.setattr(dpapi, "os", Windows)
    wrapped = dpapi.wrap(b'{"current": "k1"}')
    assert wrapped.startswith(dpapi.MARK)
    assert b"current" not in wrapped
    assert dpapi.unwrap(wrapped) == b'{"current": "k1"}'
    assert dpapi.unwrap(b'{"plain": 1}') == b'{"plain": 1}'
