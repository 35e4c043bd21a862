"""Task service: restart or reload a service of this machine, and see that it runs afterwards."""

from __future__ import annotations

import json
import os
import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, ClassVar, Self

from certshelf.deploy.base import Context, Preview, Stale, TaskOutcome
from certshelf.deploy.powershell import powershell_command
from certshelf.deploy.process import run_program
from certshelf.deploy.settings import parse_settings, setting
from certshelf.errors import ConfigError, DeployError

_ACTIONS = ("reload", "restart", "reload-or-restart")
_UNIT = re.compile(r"[A-Za-z0-9_][A-Za-z0-9:_.\\@ -]{0,254}")
_ON_WINDOWS = """\
$ErrorActionPreference = 'Stop'
$told = [Console]::In.ReadToEnd() | ConvertFrom-Json
Restart-Service -Name $told.service
(Get-Service -Name $told.service).WaitForStatus('Running', [TimeSpan]::FromSeconds(30))
"""


@dataclass(frozen=True)
class Service:
    """See deploy.base.Task."""

    kind: ClassVar[str] = "service"

    name: str = setting("The service: a unit of systemd, on Windows the service's name.")
    action: str = setting(
        "What to do with it; Windows services can only be restarted.",
        default="reload",
        choices=_ACTIONS,
    )

    @classmethod
    def parse(cls, settings: Mapping[str, Any]) -> Self:
        """See Task."""
        parsed = parse_settings(cls, settings)
        if not _UNIT.fullmatch(parsed.name):
            raise ConfigError(f"service: name cannot be {parsed.name[:64]!r}")
        return parsed

    @property
    def target(self) -> str:
        """See Task."""
        return f"service {self.name}"

    def run(self, context: Context) -> TaskOutcome:
        """See Task. It is done when the service is seen to run afterwards."""
        try:
            return TaskOutcome(self._act(context))
        except DeployError as error:
            said = f"{error}\n{error.output}".strip()
            return TaskOutcome(said, (Stale(self.target, "what it has loaded"),), error)

    def _act(self, context: Context) -> str:
        if os.name == "nt":
            told = json.dumps({"service": self.name}).encode()
            return run_program(powershell_command(_ON_WINDOWS), context, stdin=told)
        said = run_program(_systemctl(self.action, self.name), context)
        try:
            said += run_program(_systemctl("is-active", self.name), context)
        except DeployError as error:
            raise DeployError(
                f"{self.name} does not run after {self.action}: {error.output.strip()[-200:]}",
                hint=f"journalctl -u {self.name}",
                output=said + error.output,
            ) from error
        return said

    def preview(self, context: Context) -> Preview:
        """See Task."""
        if os.name == "nt":
            powershell_command(_ON_WINDOWS)
            return Preview(notes=(f"restarts {self.target}",))
        run_program(_systemctl("is-active", self.name), context)
        return Preview(notes=(f"{self.action} of {self.target}",))


def _systemctl(verb: str, unit: str) -> list[str]:
    return ["systemctl", "--no-ask-password", verb, "--", unit]
