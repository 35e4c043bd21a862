"""Where events go besides the records: the journal, the Windows Event Log, lines."""

from __future__ import annotations

import ctypes
import os
import socket
import struct
import sys
from typing import Any, Protocol, TextIO

from certshelf.clock import iso
from certshelf.errors import ConfigError, DeployError
from certshelf.finding import Severity
from certshelf.manage.event_export import jsonl, message
from certshelf.manage.event_ids import kind_of
from certshelf.manage.model import Event

JOURNAL_SOCKET = "/run/systemd/journal/socket"
WINDOWS_SOURCE = "certshelf"
_PRIORITIES = {Severity.OK: 6, Severity.INFO: 6, Severity.WARNING: 4, Severity.ERROR: 3}
_WINDOWS_TYPES = {Severity.OK: 4, Severity.INFO: 4, Severity.WARNING: 2, Severity.ERROR: 1}
"""EVENTLOG_INFORMATION_TYPE, EVENTLOG_WARNING_TYPE, EVENTLOG_ERROR_TYPE. Source: winnt.h."""
_MAX_TEXT = 30_000
"""Characters; ReportEvent refuses strings of 31,839 and more. Source: Microsoft, ReportEventW."""


class EventOutput(Protocol):
    """One place that events are told to."""

    def write(self, event: Event) -> None:
        """Tell one event. DeployError when it could not be told; it is tried again then."""
        ...

    def close(self) -> None:
        """Give back what is open; safe to repeat."""
        ...


class Lines:
    """One line an event on a stream, as a service manager or a container collects them."""

    def __init__(self, stream: TextIO) -> None:
        self._stream = stream

    def write(self, event: Event) -> None:
        """See EventOutput."""
        try:
            self._stream.write(f"{iso(event.at)} {message(event)}\n")
            self._stream.flush()
        except (OSError, ValueError) as error:
            raise DeployError("the output of the service takes no events") from error

    def close(self) -> None:
        """See EventOutput: the stream is not ours."""


class Journal:
    """systemd's journal, by its native protocol: `journalctl -t certshelf`.

    Source: systemd.io/JOURNAL_NATIVE_PROTOCOL.
    """

    def __init__(self, path: str = JOURNAL_SOCKET) -> None:
        family = getattr(socket, "AF_UNIX", None)
        if family is None:
            raise ConfigError("there is no journal on this system", hint="service.events_to")
        self._path = path
        self._socket = socket.socket(family, socket.SOCK_DGRAM)

    def write(self, event: Event) -> None:
        """See EventOutput."""
        try:
            self._socket.sendto(journal_datagram(event), self._path)
        except OSError as error:
            raise DeployError(
                f"the journal does not take events: {error.strerror}", hint="is journald running?"
            ) from error

    def close(self) -> None:
        """See EventOutput."""
        self._socket.close()


def journal_datagram(event: Event) -> bytes:
    """One event as the journal's fields; each value in the form that may hold anything."""
    kind = kind_of(event.kind)
    fields = {
        "MESSAGE": message(event),
        "MESSAGE_ID": kind.message_id(event.kind),
        "PRIORITY": str(_PRIORITIES[kind.severity]),
        "SYSLOG_IDENTIFIER": "certshelf",
        "CERTSHELF_EVENT_ID": str(kind.id),
        "CERTSHELF_KIND": event.kind,
        "CERTSHELF_SUBJECT": event.subject,
        "CERTSHELF_SEQ": str(event.seq),
        "CERTSHELF_EVENT": jsonl(event),
    }
    return b"".join(_field(name, value.encode()) for name, value in fields.items())


def _field(name: str, value: bytes) -> bytes:
    return name.encode() + b"\n" + struct.pack("<Q", len(value)) + value + b"\n"


class WindowsEventLog:
    """The Application log of Windows, source `certshelf`, by ReportEventW.

    The source is registered by the script of `certshelf service install`.
    Source: Microsoft, RegisterEventSourceW and ReportEventW.
    """

    def __init__(self, api: Any = None) -> None:
        """api: advapi32, or what stands for it in a test."""
        if api is None:
            if os.name != "nt":
                raise ConfigError("there is no Windows Event Log here", hint="service.events_to")
            api = ctypes.WinDLL("advapi32", use_last_error=True)  # type: ignore[attr-defined]
        self._api = api
        api.RegisterEventSourceW.restype = ctypes.c_void_p
        self._log = api.RegisterEventSourceW(None, ctypes.c_wchar_p(WINDOWS_SOURCE))
        if not self._log:
            raise ConfigError(
                f"the Windows Event Log knows no source {WINDOWS_SOURCE}",
                hint="run the script of `certshelf service install` as administrator",
            )

    def write(self, event: Event) -> None:
        """See EventOutput."""
        kind = kind_of(event.kind)
        texts = (ctypes.c_wchar_p * 1)(f"{message(event)}\r\n{jsonl(event)}"[:_MAX_TEXT])
        done = self._api.ReportEventW(
            ctypes.c_void_p(self._log),
            ctypes.c_ushort(_WINDOWS_TYPES[kind.severity]),
            ctypes.c_ushort(0),
            ctypes.c_ulong(kind.id),
            None,
            ctypes.c_ushort(1),
            ctypes.c_ulong(0),
            texts,
            None,
        )
        if not done:
            raise DeployError("the Windows Event Log did not take an event")

    def close(self) -> None:
        """See EventOutput."""
        log, self._log = self._log, None
        if log:
            self._api.DeregisterEventSource(ctypes.c_void_p(log))


def open_output(name: str) -> EventOutput | None:
    """The output that a setting names; None for `none`."""
    if name == "stdout":
        return Lines(sys.stdout)
    if name == "journald":
        return Journal()
    return WindowsEventLog() if name == "windows-event-log" else None
