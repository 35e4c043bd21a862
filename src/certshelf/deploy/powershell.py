"""Task powershell: a script file with typed parameters, which travel as JSON, never as code."""

from __future__ import annotations

import base64
import os
import shutil
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar, Self

from certshelf.deploy.base import Context, Preview, TaskOutcome
from certshelf.deploy.process import run_program
from certshelf.deploy.script import digest, told_to_programs
from certshelf.deploy.settings import parse_settings, setting
from certshelf.errors import ConfigError, DeployError

_TYPES = (str, int, float, bool, list, type(None))

BOOTSTRAP = """\
$ErrorActionPreference = 'Stop'
[Console]::InputEncoding = New-Object System.Text.UTF8Encoding $false
$told = [Console]::In.ReadToEnd() | ConvertFrom-Json
$parameters = @{}
foreach ($one in $told.parameters.PSObject.Properties) { $parameters[$one.Name] = $one.Value }
if ($told.login) {
    $secret = ConvertTo-SecureString -String $told.login.secret -AsPlainText -Force
    $parameters['Credential'] = New-Object PSCredential $told.login.username, $secret
}
$told.login = $null
if ($told.pass_result) { $parameters['Result'] = $told }
$global:LASTEXITCODE = 0
& $told.script @parameters
exit $LASTEXITCODE
"""
"""The same text for every task: whatever the values hold, they are data when it reads them."""


@dataclass(frozen=True)
class PowerShell:
    """See deploy.base.Task."""

    kind: ClassVar[str] = "powershell"

    script: str = setting("The .ps1 file by its whole path.")
    parameters: Mapping[str, Any] = setting(
        "Its parameters by name: texts, numbers, true or false, lists of them.", default={}
    )
    pass_result: bool = setting("Give it -Result too: what was issued, as an object.", default=True)
    include_key: bool = setting("The private key is part of -Result, in PEM.", default=False)

    @classmethod
    def parse(cls, settings: Mapping[str, Any]) -> Self:
        """See Task."""
        parsed = parse_settings(cls, settings)
        if not Path(parsed.script).is_absolute() or not parsed.script.lower().endswith(".ps1"):
            raise ConfigError("powershell: script is the whole path of a .ps1 file")
        for name, value in parsed.parameters.items():
            values = value if isinstance(value, list) else [value]
            if not name.isidentifier() or not all(isinstance(one, _TYPES) for one in values):
                raise ConfigError(f"powershell: no parameter {name[:64]!r} can have that value")
        return parsed

    @property
    def target(self) -> str:
        """See Task."""
        return self.script

    def run(self, context: Context) -> TaskOutcome:
        """See Task. A login becomes the parameter -Credential."""
        log = f"sha256 {digest(Path(self.script))} {self.script}\n"
        told, secrets = told_to_programs(
            context,
            include_key=self.include_key,
            script=self.script,
            parameters=dict(self.parameters),
            pass_result=self.pass_result,
        )
        return TaskOutcome(
            log + run_program(powershell_command(BOOTSTRAP), context, stdin=told, secrets=secrets)
        )

    def preview(self, context: Context) -> Preview:
        """See Task."""
        powershell_command(BOOTSTRAP)
        return Preview(notes=(f"sha256 {digest(Path(self.script))} {self.script}",))


def powershell_command(code: str) -> list[str]:
    """The argument list that runs fixed code; DeployError when there is no PowerShell here.

    PowerShell 7 if there is one, else Windows PowerShell.
    """
    names = ("pwsh", "powershell") if os.name == "nt" else ("pwsh",)
    program = next((found for name in names if (found := shutil.which(name))), None)
    if program is None:
        raise DeployError("there is no PowerShell on this machine", hint="install PowerShell 7")
    encoded = base64.b64encode(code.encode("utf-16-le")).decode()
    return [program, "-NoLogo", "-NoProfile", "-NonInteractive", "-EncodedCommand", encoded]
