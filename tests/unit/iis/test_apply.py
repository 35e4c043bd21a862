"""Running a script remotely: transcript, failure, secrets."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager

import pytest

from certshelf.errors import DeployError
from certshelf.iis.apply import apply
from certshelf.iis.remote import Argument, Remote, Said, Transcript
from certshelf.secret import Secret


class FakeSession:
    """Answers like a server: lines on streams, and whether there were errors."""

    def __init__(self, lines: list[tuple[str, str]], failed: bool = False) -> None:
        self.lines, self.failed = lines, failed
        self.arguments: dict[str, Argument] = {}

    def run(self, script: str, arguments: Mapping[str, Argument], note: Transcript) -> Said:
        self.arguments = dict(arguments)
        for stream, line in self.lines:
            note(stream, line)
        return Said(tuple(x for s, x in self.lines if s == "output"), self.failed)

    @contextmanager
    def connect(self, remote: Remote) -> Iterator[FakeSession]:
        yield self


def test_the_transcript_hears_every_stream_in_order() -> None:
    lines = [("output", "one"), ("warning", "two")]
    heard: list[tuple[str, str]] = []
    session = FakeSession(lines)
    output = apply(Remote("web1"), "script", {}, lambda s, t: heard.append((s, t)), session.connect)
    assert (output, heard) == (("one",), lines)


def test_a_failed_script_raises_with_its_last_error() -> None:
    session = FakeSession([("error", "first"), ("error", "netsh could not")], failed=True)
    with pytest.raises(DeployError, match="web1: netsh could not") as caught:
        apply(Remote("web1"), "script", {}, lambda s, t: None, session.connect)
    assert caught.value.output == "first\nnetsh could not"


def test_secrets_are_arguments_and_never_in_a_repr() -> None:
    session = FakeSession([])
    remote = Remote("web1", "admin", Secret("hunter2"))
    apply(remote, "script", {"PfxPassword": Secret("s3cret")}, lambda s, t: None, session.connect)
    assert session.arguments["PfxPassword"] == Secret("s3cret")
    assert "hunter2" not in repr(remote)
