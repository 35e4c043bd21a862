"""Events in other programs' hands: exported lines, the journal, the Windows Event Log."""

from __future__ import annotations

import ctypes
import json
import os
import socket
import struct
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest

from certshelf.errors import ConfigError, DeployError
from certshelf.manage.db.database import Database
from certshelf.manage.event_export import jsonl, message, ocsf_fields
from certshelf.manage.event_ids import KINDS
from certshelf.manage.event_outputs import Journal, WindowsEventLog, open_output
from certshelf.manage.events import check_chain
from certshelf.manage.model import Event

NOW = datetime(2030, 1, 1, 1, 2, 3, 456789, tzinfo=UTC)
EVIL = "a.example\r\nPRIORITY=0\x1b[2J"


def event(kind: str = "file.published", subject: str = "www.pfx", **data: Any) -> Event:
    return Event(7, NOW, kind, subject, "", data, "0" * 64, "1" * 64)


def test_an_exported_log_can_be_verified_without_the_database(database: Database) -> None:
    with database.write() as records:
        for i in range(3):
            records.events.append(NOW, "file.published", f"{i}.pfx", {"thumbprint": "AB"})
    with database.read() as records:
        lines = [json.loads(jsonl(found)) for found in records.events.all()]
    names = ("seq", "at", "kind", "subject", "actor", "data", "prev_hash", "hash")
    copies = [
        Event(*(datetime.fromisoformat(line[n]) if n == "at" else line[n] for n in names))
        for line in lines
    ]
    assert check_chain(copies) == (3, lines[-1]["hash"])


def test_a_line_stays_one_line_whatever_a_name_holds() -> None:
    assert message(event(subject=EVIL)) == r"file.published a.example\r\nPRIORITY=0\x1b[2J"
    assert "\n" not in jsonl(event(subject=EVIL))


@pytest.mark.parametrize(
    ("kind", "cls", "activity", "status"),
    [
        ("file.published", 1001, 3, 1),
        ("certificate.issued", 3004, 1, 1),
        ("certificate.failed", 3004, 3, 2),
        ("credential.removed", 3004, 4, 1),
        ("credential.revealed", 3004, 2, 1),
        ("service.started", 6002, 3, 1),
        ("service.stopped", 6002, 4, 1),
        ("doctor.found", 2004, 1, 1),
    ],
)
def test_ocsf_has_the_class_and_activity_of_the_deed(
    kind: str, cls: int, activity: int, status: int
) -> None:
    fields = ocsf_fields(event(kind))
    assert (fields["class_uid"], fields["activity_id"]) == (cls, activity)
    assert fields["type_uid"] == cls * 100 + activity
    assert fields["category_uid"] == cls // 1000
    assert fields["status_id"] == status
    assert fields["metadata"]["event_code"] == str(KINDS[kind].id)


def journal_fields(datagram: bytes) -> dict[str, str]:
    fields = {}
    while datagram:
        name, _, rest = datagram.partition(b"\n")
        (size,) = struct.unpack("<Q", rest[:8])
        fields[name.decode()] = rest[8 : 8 + size].decode()
        datagram = rest[8 + size + 1 :]
    return fields


@pytest.mark.skipif(not hasattr(socket, "AF_UNIX"), reason="needs Unix sockets")
def test_the_journal_gets_fields_that_no_name_can_forge(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)  # the path of a Unix socket is short
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as journal:
        journal.bind("j")
        output = Journal("j")
        output.write(event("file.failed", EVIL, thumbprint="AB"))
        output.close()
        fields = journal_fields(journal.recv(65536))
    assert fields["PRIORITY"] == "3"
    assert fields["CERTSHELF_EVENT_ID"] == str(KINDS["file.failed"].id)
    assert fields["CERTSHELF_SUBJECT"] == EVIL
    assert fields["MESSAGE_ID"] == KINDS["file.failed"].message_id("file.failed")
    assert json.loads(fields["CERTSHELF_EVENT"])["data"] == {"thumbprint": "AB"}


@pytest.mark.skipif(not hasattr(socket, "AF_UNIX"), reason="needs Unix sockets")
def test_a_journal_that_is_not_there_is_an_error_to_try_again(tmp_path: Path) -> None:
    output = Journal(str(tmp_path / "none"))
    with pytest.raises(DeployError, match="the journal does not take events"):
        output.write(event())
    output.close()


class Advapi32:
    """What stands for Windows: keeps the reports."""

    def __init__(self) -> None:
        self.reports: list[tuple[int, int, str]] = []
        self.closed = 0
        self.RegisterEventSourceW = Function(42)
        self.DeregisterEventSource = self._close

    def ReportEventW(self, *args: Any) -> int:  # noqa: N802
        self.reports.append((args[1].value, args[3].value, args[7][0]))
        return 1

    def _close(self, log: ctypes.c_void_p) -> int:
        self.closed += 1
        return 1


class Function:
    def __init__(self, answer: int) -> None:
        self.restype: Any = None
        self._answer = answer

    def __call__(self, *args: Any) -> int:
        return self._answer


def test_windows_gets_the_stable_number_and_the_type() -> None:
    api = Advapi32()
    log = WindowsEventLog(api)
    log.write(event("certificate.failed", "www", error="no"))
    log.close()
    log.close()
    ((kind, number, text),) = api.reports
    assert (kind, number) == (1, KINDS["certificate.failed"].id)
    assert text.startswith("certificate.failed www error=no\r\n{")
    assert api.closed == 1


@pytest.mark.skipif(os.name == "nt", reason="there it exists")
def test_no_windows_log_elsewhere_and_no_output_unless_named() -> None:
    with pytest.raises(ConfigError):
        open_output("windows-event-log")
    assert open_output("none") is None
