"""Our PFX files in crypt32 as Wine has it: a smoke test, no proof for Windows.

Wine's crypt32 sits on GnuTLS and takes no EC keys (seen with Wine 8.0), so RSA only.
"""

from __future__ import annotations

import os
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from certshelf.bundle.model import PfxProfile
from certshelf.secret import Secret
from tests.support.certificates import bundle
from tests.support.server_process import tool
from tests.support.windows_program import EMPTY, IMPORTED, importer

pytestmark = [pytest.mark.slow, pytest.mark.timeout(180), pytest.mark.xdist_group("wine")]
PLACES = ("/usr/lib/wine/wine64", "/usr/lib/wine/wine")
Run = Callable[[bytes, str], int]


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Run]:
    """Imports a PFX with a password; the program's exit status."""
    found = tool("wine64") or tool("wine") or next((p for p in PLACES if Path(p).exists()), "")
    if not found:
        pytest.skip("no Wine here: apt-get install wine64 (100 MB)")
    folder = tmp_path_factory.mktemp("wine")
    environment = {"WINEPREFIX": str(folder / "prefix"), "WINEDEBUG": "-all", "DISPLAY": ""}
    # no helper programs for web pages and .NET: they would ask to be downloaded
    environment |= {"WINEDLLOVERRIDES": "mscoree,mshtml=", "WINEARCH": "win64"}

    def start(pfx: bytes, password: str) -> int:
        program = folder / "import.exe"
        program.write_bytes(importer(pfx, password))
        done = subprocess.run(
            [found, str(program)],
            env={**os.environ, **environment},
            stdin=subprocess.DEVNULL,
            capture_output=True,
            timeout=120,
        )
        return done.returncode

    try:
        yield start
    finally:
        places = ("/usr/lib/wine/wineserver64", "/usr/lib/wine/wineserver", tool("wineserver"))
        server = next((place for place in places if place and Path(place).exists()), "")
        if server:  # ends what runs in this prefix, nothing else
            subprocess.run([server, "-k"], env={**os.environ, **environment}, timeout=60)


@pytest.mark.parametrize("profile", PfxProfile)
def test_a_pfx_of_each_profile_opens_with_its_password_and_no_other(
    run: Run, profile: PfxProfile
) -> None:
    made = bundle("www.example.com", key_type="rsa-2048")
    pfx = made.to_pfx(Secret("of the shelf"), profile)
    assert run(pfx, "of the shelf") == IMPORTED
    # Windows would say ERROR_INVALID_PASSWORD (86), Wine has another error
    assert run(pfx, "of somebody else") not in (IMPORTED, EMPTY)
