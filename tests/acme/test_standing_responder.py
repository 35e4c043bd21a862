"""`certshelf run` answers http-01 as long as it runs, also for commands beside it."""

from __future__ import annotations

import asyncio
import contextlib
import json
import socket
import urllib.error
import urllib.request
from collections.abc import Iterator
from pathlib import Path

import pytest

from certshelf.cli.main import run
from certshelf.manage.certificates import add_certificate
from certshelf.manage.issuers import AcmeWish, add_acme
from certshelf.manage.manager import open_manager
from certshelf.manage.model import ChallengeChoice
from certshelf.manage.pipeline import request_certificate
from certshelf.manage.settings import update_settings
from tests.support.homes import make_home
from tests.support.pebble import Pebble, pebble
from tests.support.processes import listens, wait_until
from tests.support.records import certificate
from tests.support.service import running

pytestmark = [pytest.mark.slow, pytest.mark.timeout(90)]


@pytest.fixture(scope="module")
def ca(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Pebble]:
    with pebble(tmp_path_factory.mktemp("pebble")) as running_ca:
        yield running_ca


@pytest.fixture
def home(tmp_path: Path, ca: Pebble) -> Path:
    """Two CAs, each with an account and a certificate of its own; nothing is due."""
    made = make_home(tmp_path)
    settings = {"listen": "127.0.0.1:0", "tick_seconds": 1, "doctor_minutes": 0}
    update_settings(made.settings, {f"service.{key}": value for key, value in settings.items()})
    challenge = {"port": str(ca.http_port), "resolver": f"127.0.0.1:{ca.dns_port}"}
    choice = ChallengeChoice("http-01", settings=challenge)
    with open_manager(made.path) as manager:
        for issuer, name in (("first", "a"), ("second", "b")):
            wish = AcmeWish(ca.directory_url, ca.ca_file, poll_interval=0.1)
            with manager.database.write() as records:
                add_acme(records, issuer, wish, manager.clock)
            host = f"{name}.example.test"
            add_certificate(manager, certificate(name, host, issuer=issuer, challenges=(choice,)))
            assert asyncio.run(request_certificate(manager, name)).outcome == "issued"
    return made.path


def say(home: Path, capsys: pytest.CaptureFixture[str], *words: str) -> str:
    capsys.readouterr()
    assert run(["--home", str(home), *words]) == 0, capsys.readouterr()
    return capsys.readouterr().out


def answer(port: int, host: str, token: str = "t" * 32) -> str | int:
    url = f"http://127.0.0.1:{port}/.well-known/acme-challenge/{token}"
    request = urllib.request.Request(url, headers={"Host": host})
    try:
        with urllib.request.urlopen(request, timeout=5) as found:
            body: bytes = found.read()
    except urllib.error.HTTPError as error:
        with contextlib.closing(error):
            return error.code
    return body.decode()


def test_it_stands_while_nothing_is_due_and_commands_beside_it_use_it(
    home: Path, ca: Pebble, capsys: pytest.CaptureFixture[str]
) -> None:
    with running(home) as service:
        service.says("certshelf is ready")
        wait_until(lambda: listens(ca.http_port), "the responder listens", 30)
        for issuer, host in (("first", "a.example.test"), ("second", "b.example.test")):
            thumbprint = json.loads(say(home, capsys, "issuer", "show", issuer, "--json"))
            told = answer(ca.http_port, host)
            assert told == f"{'t' * 32}.{thumbprint['thumbprint']}"
        assert answer(ca.http_port, "stranger.example.test") == 404
        assert answer(ca.http_port, "a.example.test", "short") == 404
        assert "would succeed" in say(home, capsys, "cert", "test", "a")
        assert "nothing is in the way" in say(home, capsys, "cert", "preview", "b")
        assert "issued" in say(home, capsys, "cert", "renew", "b", "--force")
        assert listens(ca.http_port)
        assert service.stop() == 0
    assert not listens(ca.http_port)
    assert "service.trouble" not in service.text


def test_a_taken_port_is_said_and_the_service_goes_on(home: Path, ca: Pebble) -> None:
    with socket.create_server(("", ca.http_port)), running(home) as service:
        service.says(f"http-01 cannot listen on *:{ca.http_port}: ")
        assert service.get("/healthz") == "ok\n"
        assert service.stop() == 0
    assert service.text.count("cannot listen") == 1
