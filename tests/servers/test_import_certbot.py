"""Import what certbot itself wrote, issued by a real ACME CA; skipped where certbot is missing."""

from __future__ import annotations

import os
import shutil
import subprocess
from pathlib import Path

import pytest

from certshelf.cli.main import run
from certshelf.manage.importing import certbot
from tests.support.pebble import pebble

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def letsencrypt(tmp_path_factory: pytest.TempPathFactory) -> Path:
    program = shutil.which("certbot")
    if program is None:
        pytest.skip("certbot is not installed")
    folder = tmp_path_factory.mktemp("certbot")
    with pebble(folder / "pebble", always_valid=True) as ca:
        for names, key in ((("www.shop.test", "shop.test"), "ecdsa"), (("mail.test",), "rsa")):
            argv = [program, "certonly", "--standalone", "-n", "--agree-tos", "--key-type", key]
            argv += ["--http-01-port", str(ca.http_port), "--server", ca.directory_url]
            argv += ["--register-unsafely-without-email", "--config-dir", str(folder / "le")]
            argv += ["--work-dir", str(folder / "work"), "--logs-dir", str(folder / "logs")]
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
