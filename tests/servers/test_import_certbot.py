"""Import what certbot itself wrote, issued by a real ACME CA; skipped where certbot is missing."""

from __future__ import annotations

import os
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from certshelf.cli.main import run
from certshelf.manage.importing import certbot
from tests.support.pebble import Pebble, pebble

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def ca(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Pebble]:
    with pebble(tmp_path_factory.mktemp("pebble")) as running:
        running.dns_set("set-default-ipv4", ip="127.0.0.1")
        yield running


@pytest.fixture(scope="module")
def letsencrypt(tmp_path_factory: pytest.TempPathFactory, ca: Pebble) -> Path:
    program = shutil.which("certbot")
    if program is None:
        pytest.skip("certbot is not installed")
    folder = tmp_path_factory.mktemp("certbot")
    for names, key, more in (
        (("www.shop.test", "shop.test"), "ecdsa", ["--post-hook", "/bin/true"]),
        (("mail.test",), "rsa", ["--deploy-hook", "systemctl reload nginx"]),
    ):
        argv = [program, "certonly", "--standalone", "-n", "--agree-tos", "--key-type", key]
        argv += ["--http-01-port", str(ca.http_port), "--server", ca.directory_url]
        argv += ["--register-unsafely-without-email", "--config-dir", str(folder / "le")]
        argv += ["--work-dir", str(folder / "work"), "--logs-dir", str(folder / "logs")]
        argv += ["--disable-hook-validation", *more]
        argv += [word for name in names for word in ("-d", name)]
        environment = {**os.environ, "REQUESTS_CA_BUNDLE": str(ca.ca_file)}
        done = subprocess.run(
            argv, env=environment, capture_output=True, text=True, timeout=120, check=False
        )
        assert done.returncode == 0, done.stderr
    return folder / "le"


def test_what_certbot_wrote_is_read_with_keys(letsencrypt: Path) -> None:
    mail, www = certbot.read(letsencrypt)
    assert [host.ascii for host in www.hosts] == ["www.shop.test", "shop.test"]
    assert (www.key_type, mail.key_type) == ("ecdsa-p256", "rsa-2048")
    assert www.bundle is not None and mail.bundle is not None
    assert www.challenge == "http-01 standalone"
    assert [task.settings["name"] for task in mail.tasks] == ["nginx"]
    assert [note for note in www.notes if "to do by hand: its post_hook ran '/bin/true'" in note]
    assert www.issuer.endswith("/dir")


def test_what_certbot_issued_is_published_without_an_order(
    letsencrypt: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    home = ["--home", str(tmp_path / "home")]
    assert run([*home, "init", "--store", str(tmp_path / "shelf")]) == 0
    assert run([*home, "import", "certbot", str(letsencrypt)]) == 0
    assert run([*home, "cert", "request", "mail.test"]) == 0
    assert "published again" in capsys.readouterr().out
    assert (tmp_path / "shelf" / "mail.test.pfx").exists()


def test_the_next_one_is_ordered_as_certbot_did(
    letsencrypt: Path, ca: Pebble, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    home = ["--home", str(tmp_path / "home")]
    assert run([*home, "init", "--store", str(tmp_path / "shelf")]) == 0
    issuer = ["issuer", "add", "pebble", "--acme", ca.directory_url, "--ca-file", str(ca.ca_file)]
    assert run([*home, *issuer]) == 0
    assert run([*home, "import", "certbot", str(letsencrypt)]) == 0
    assert "to do by hand" in capsys.readouterr().out
    assert run([*home, "task", "ls", "mail.test"]) == 0
    assert "reload-nginx" in capsys.readouterr().out
    before = ca.orders_made
    assert run([*home, "cert", "renew", "www.shop.test", "--force"]) == 0
    assert ca.orders_made == before + 1  # http-01 was answered on the port that certbot used
