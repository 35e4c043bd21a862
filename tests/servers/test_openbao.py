"""Credentials that lie in a real OpenBao: read, rotated, refused, and away."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path

import pytest

from certshelf.cli.main import run
from certshelf.errors import CredentialError
from certshelf.manage.providers import resolve, vault
from certshelf.secret import Secret
from tests.support.openbao import OpenBao, running_openbao

pytestmark = pytest.mark.slow
SECRET = "vault-canary-9Q"


@pytest.fixture(scope="module")
def bao(tmp_path_factory: pytest.TempPathFactory) -> Iterator[OpenBao]:
    with running_openbao(tmp_path_factory.mktemp("bao")) as server:
        server.ask("POST", "secret/data/web", {"data": {"pfx": SECRET, "number": 5}})
        server.ask("POST", "sys/mounts/kv1", {"type": "kv", "options": {"version": "1"}})
        server.ask("POST", "kv1/web", {"pfx": SECRET + "1"})
        yield server


@pytest.fixture
def token(bao: OpenBao, tmp_path: Path) -> Path:
    (tmp_path / "token").write_text(bao.token_for("secret/data/web") + "\n")
    return tmp_path / "token"


def test_both_versions_of_its_key_value_store_are_read(
    bao: OpenBao, token: Path, tmp_path: Path
) -> None:
    assert resolve(vault(f"{bao.url}/secret/data/web#pfx", token, bao.ca_file)) == Secret(SECRET)
    token.write_text(bao.token_for("kv1/web"))
    assert resolve(vault(f"{bao.url}/kv1/web#pfx", token, bao.ca_file)) == Secret(SECRET + "1")


def test_its_refusals_are_told_in_words(bao: OpenBao, token: Path) -> None:
    cases = {
        "secret/data/other#pfx": "answers 403",
        "kv1/web#pfx": "answers 403",
        "secret/data/web#none": "no text in 'none'",
        "secret/data/web#number": "no text in 'number'",
    }
    for path, said in cases.items():
        with pytest.raises(CredentialError, match=said):
            resolve(vault(f"{bao.url}/{path}", token, bao.ca_file))
    token.write_text(bao.token_for("secret/data/gone"))
    with pytest.raises(CredentialError, match="answers 404"):
        resolve(vault(f"{bao.url}/secret/data/gone#pfx", token, bao.ca_file))


def test_a_server_that_no_known_ca_vouches_for_gets_no_token(bao: OpenBao, token: Path) -> None:
    with pytest.raises(CredentialError, match="CERTIFICATE_VERIFY_FAILED"):
        resolve(vault(f"{bao.url}/secret/data/web#pfx", token))


def test_a_shelf_is_published_under_a_password_from_openbao(
    bao: OpenBao, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    bao.ask("POST", "secret/data/shelf", {"data": {"pfx": "the first one, from OpenBao"}})
    (tmp_path / "token").write_text(bao.token_for("secret/data/shelf"))
    home = ("--home", str(tmp_path / "home"))
    assert run([*home, "init", "--store", str(tmp_path / "shelf")]) == 0
    reference = ("--from-vault", f"{bao.url}/secret/data/shelf#pfx")
    files = ("--vault-token-file", str(tmp_path / "token"), "--vault-ca-file", str(bao.ca_file))
    assert run([*home, "credential", "set", "shelf-password", *reference, *files, "--force"]) == 0
    assert run([*home, "cert", "add", "a.test", "--name", "web"]) == 0
    assert run([*home, "cert", "request", "web"]) == 0
    bao.ask("POST", "secret/data/shelf", {"data": {"pfx": "the second one, from OpenBao"}})
    assert run([*home, "cert", "rebuild", "web"]) == 0
    capsys.readouterr()
    assert run([*home, "shelf", "ls", "--json"]) == 0
    (file,) = json.loads(capsys.readouterr().out)
    assert file["problems"] == []
    assert "from OpenBao" not in (tmp_path / "home" / "certshelf.toml").read_text()
