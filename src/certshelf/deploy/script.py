"""Task script: a program of the administrator's, told by JSON on standard input, never a shell."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar, Self

from certshelf.deploy.base import Context, Preview, TaskOutcome
from certshelf.deploy.process import run_program
from certshelf.deploy.settings import parse_settings, setting
from certshelf.errors import ConfigError, DeployError
from certshelf.secret import Secret


@dataclass(frozen=True)
class Script:
    """See deploy.base.Task."""

    kind: ClassVar[str] = "script"

    command: tuple[str, ...] = setting(
        "The program by its whole path, then its arguments, one each; no shell reads them."
    )
    include_key: bool = setting("Tell it the private key too, in PEM.", default=False)

    @classmethod
    def parse(cls, settings: Mapping[str, Any]) -> Self:
        """See Task."""
        parsed = parse_settings(cls, settings)
        if not parsed.command or not Path(parsed.command[0]).is_absolute():
            raise ConfigError("script: command begins with the whole path of a program")
        return parsed

    @property
    def target(self) -> str:
        """See Task."""
        return self.command[0]

    def run(self, context: Context) -> TaskOutcome:
        """See Task. The log begins with the SHA-256 of the program that was run."""
        told, secrets = told_to_programs(context, include_key=self.include_key)
        log = f"sha256 {digest(Path(self.command[0]))} {self.command[0]}\n"
        return TaskOutcome(log + run_program(self.command, context, stdin=told, secrets=secrets))

    def preview(self, context: Context) -> Preview:
        """See Task."""
        return Preview(notes=(f"sha256 {digest(Path(self.command[0]))} {self.command[0]}",))


def told_to_programs(
    context: Context, *, include_key: bool, **more: Any
) -> tuple[bytes, list[Secret]]:
    """The JSON that a program reads, and the secrets in it that it must not repeat.

    The facts of the run, `chain` (leaf and chain in PEM), `login` when the task has a credential,
    `private_key` when it is wanted.
    """
    document = {**context.facts(), **more, "chain": "", "login": None, "private_key": None}
    secrets = []
    if context.bundle is not None:
        key, begin, certificates = context.bundle.to_pem().decode().partition("-----BEGIN CERT")
        document["chain"] = begin + certificates
        if include_key:
            document["private_key"] = key or None
    if context.login is not None:
        secret = context.login.secret
        document["login"] = {"username": context.login.username, "secret": secret.reveal()}
        secrets.append(secret)
    return json.dumps(document).encode(), secrets


def digest(program: Path) -> str:
    """SHA-256 of a program's file in hex; DeployError when it cannot be read."""
    try:
        with program.open("rb") as file:
            return hashlib.file_digest(file, "sha256").hexdigest()
    except OSError as error:
        raise DeployError(f"cannot read {program}: {error.strerror or error}") from error
