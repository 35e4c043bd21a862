"""The clock of the whole process is wrong (libfaketime): nothing is ordered, one line says why."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from certshelf.manage.certificates import add_certificate
from certshelf.manage.issuers import AcmeWish, add_acme
from certshelf.manage.model import ChallengeChoice
from tests.support.homes import manager_in
from tests.support.records import certificate
from tests.support.scripted_ca import ScriptedCa, scripted_ca

pytestmark = [pytest.mark.slow, pytest.mark.timeout(120)]
LIBRARY = next(Path("/usr/lib").glob("*/faketime/libfaketimeMT.so.1"), None)
FARM = (ChallengeChoice("http-01", settings={"farm": "yes"}),)
CODE = "import sys; from certshelf.__main__ import main; sys.exit(main())"


def request(folder: Path, *words: str, clock: str = "+0") -> tuple[int, str, str]:
    faked = {"LD_PRELOAD": str(LIBRARY), "FAKETIME": clock, "FAKETIME_DONT_FAKE_MONOTONIC": "1"}
    ended = subprocess.run(
        [sys.executable, "-c", CODE, "--home", str(folder / "home"), "cert", "request", *words],
        env={**os.environ, **faked},
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    return ended.returncode, ended.stdout, ended.stderr


def orders(ca: ScriptedCa) -> int:
    return len(ca.orders)


@pytest.mark.skipif(LIBRARY is None, reason="libfaketime is not installed")
@pytest.mark.parametrize(("jump", "how"), [("+365d", "ahead of"), ("-1d", "behind")])
def test_a_clock_that_jumped_orders_nothing_until_it_is_right_again(
    tmp_path: Path, jump: str, how: str
) -> None:
    with scripted_ca() as ca, manager_in(tmp_path) as manager:
        with manager.database.write() as records:
            add_acme(records, "ca", AcmeWish(ca.directory_url), manager.clock)
        for name in ("old", "new"):
            add_certificate(manager, certificate(name, issuer="ca", challenges=FARM))
        assert request(tmp_path, "old")[0] == 0

        due = request(tmp_path, "--due", "--json", clock=jump)
        assert due[0] == 1
        errors = [run["error"] for run in json.loads(due[1])]
        assert errors
        assert all(f"{how} the clock of ca" in error for error in errors)
        status, _, told = request(tmp_path, "old", "--force", clock=jump)
        assert status == 1
        assert "set the clock (NTP)" in told
        assert orders(ca) == 1

        with manager.database.read() as records:
            assert records.certificates.get("old").status.failures == 0
            records.events.verify()
        status, _, told = request(tmp_path, "new")
        assert (status, orders(ca)) == (0, 2), told
