"""Events in a real systemd-journald, in a namespace of the test's own, read by journalctl."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path

import pytest

from certshelf.manage.event_ids import KINDS
from certshelf.manage.event_outputs import Journal
from certshelf.manage.model import Event
from tests.support.processes import Process, wait_until

JOURNALD = Path("/lib/systemd/systemd-journald")
EVIL = "a.example\nPRIORITY=0\r\n\x1b[2J"

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(
        not JOURNALD.exists() or not shutil.which("journalctl") or os.geteuid() != 0,
        reason="needs systemd-journald, journalctl and root",
    ),
]


@pytest.fixture
def namespace(tmp_path: Path) -> Iterator[str]:
    """The name of a journal that is nobody else's."""
    name = f"certshelf-test-{os.getpid()}"
    place = Path(f"/run/systemd/journal.{name}")
    process = Process([str(JOURNALD), name], tmp_path / "journald.log")
    try:
        wait_until((place / "socket").exists, "journald listens")
        yield name
    finally:
        process.stop()
        shutil.rmtree(place, ignore_errors=True)
        for left in Path("/run/log/journal").glob(f"*.{name}"):
            shutil.rmtree(left, ignore_errors=True)


def journal(namespace: str) -> list[dict[str, str]]:
    argv = ["journalctl", f"--namespace={namespace}", "-t", "certshelf", "-o", "json", "--all"]
    done = subprocess.run(argv, capture_output=True, text=True, timeout=30, check=False)
    return [json.loads(line) for line in done.stdout.splitlines() if line.startswith("{")]


def test_the_journal_holds_every_field_and_a_name_forges_none(namespace: str) -> None:
    now = datetime(2030, 1, 1, tzinfo=UTC)
    data = {"old_thumbprint": "", "thumbprint": "AB" * 20, "note": "x" * 5000}
    output = Journal(f"/run/systemd/journal.{namespace}/socket")
    for seq, subject in enumerate(("www.pfx", EVIL), 1):
        output.write(Event(seq, now, "file.failed", subject, "", data, "0" * 64, "1" * 64))
    output.close()
    wait_until(lambda: len(journal(namespace)) == 2, "both are in the journal")
    first, second = journal(namespace)
    assert first["CERTSHELF_SUBJECT"] == "www.pfx"
    assert first["PRIORITY"] == second["PRIORITY"] == "3"
    assert first["MESSAGE_ID"] == KINDS["file.failed"].message_id("file.failed")
    assert first["CERTSHELF_EVENT_ID"] == str(KINDS["file.failed"].id)
    assert json.loads(first["CERTSHELF_EVENT"])["data"]["note"] == "x" * 5000
    assert text(second["CERTSHELF_SUBJECT"]) == EVIL
    assert "\n" not in second["MESSAGE"]


def text(value: str | list[int]) -> str:
    """A field: journalctl shows one with control characters as its bytes."""
    return value if isinstance(value, str) else bytes(value).decode()
