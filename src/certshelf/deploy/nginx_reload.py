"""Task nginx-reload: have nginx test its configuration and load it, dropping no connection."""

from __future__ import annotations

import hashlib
import socket
import ssl
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, ClassVar, Self

from certshelf.deploy.base import Context, Preview, Stale, TaskOutcome
from certshelf.deploy.process import run_program
from certshelf.deploy.settings import parse_settings, setting
from certshelf.errors import ConfigError, DeployError

_ASK_SECONDS = 2.0
_IN_A_ROW = 3
_PAUSE_SECONDS = 0.2


@dataclass(frozen=True)
class NginxReload:
    """See deploy.base.Task."""

    kind: ClassVar[str] = "nginx-reload"

    program: str = setting("nginx itself, if it is not on the path.", default="nginx")
    config: str = setting("Its configuration file, if it is not the usual one.", default="")
    prefix: str = setting("Its prefix folder, if it is not the usual one.", default="")
    verify: str = setting(
        "HOST:PORT that shows the new certificate when the reload is done.", default=""
    )

    @classmethod
    def parse(cls, settings: Mapping[str, Any]) -> Self:
        """See Task."""
        parsed = parse_settings(cls, settings)
        host, _, port = parsed.verify.rpartition(":")
        if parsed.verify and not (host and port.isdigit() and 0 < int(port) < 65536):
            raise ConfigError(f"nginx-reload: verify is HOST:PORT, not {parsed.verify[:80]!r}")
        return parsed

    @property
    def target(self) -> str:
        """See Task."""
        return f"nginx {self.config}".strip()

    def run(self, context: Context) -> TaskOutcome:
        """See Task. nginx goes on with what it has when its test fails."""
        try:
            said = run_program(self._command("-t"), context)
            said += run_program(self._command("-s", "reload"), context)
            if self.verify:
                self._wait_until_served(context)
        except DeployError as error:
            log = f"{error}\n{error.output}".strip()
            return TaskOutcome(log, (Stale(self.target, "what it has loaded"),), error)
        return TaskOutcome(said)

    def preview(self, context: Context) -> Preview:
        """See Task."""
        run_program(self._command("-t"), context)
        return Preview(notes=(f"reload of {self.target}",))

    def _command(self, *what: str) -> list[str]:
        command = [self.program]
        if self.prefix:
            command += ["-p", self.prefix]
        if self.config:
            command += ["-c", self.config]
        return [*command, *what]

    def _wait_until_served(self, context: Context) -> None:
        """`-s reload` only sends a signal: what a client is shown says whether it was heeded.

        Several times in a row, since old workers go on accepting for a moment beside the new ones.
        """
        wanted = context.issued_leaf().sha256
        name = context.hosts[0].ascii.replace("*", "any", 1) if context.hosts else ""
        in_a_row = 0
        while True:
            seconds = context.left()
            try:
                shown = served(self.verify, name, min(_ASK_SECONDS, seconds))
            except OSError:
                shown = ""
            in_a_row = in_a_row + 1 if shown == wanted else 0
            if in_a_row == _IN_A_ROW:
                return
            if seconds < _PAUSE_SECONDS + 0.1:
                raise DeployError(
                    f"{self.verify} still shows another certificate for {name or 'no name'}"
                )
            context.clock.sleep(_PAUSE_SECONDS)


def served(address: str, name: str, seconds: float) -> str:
    """SHA-256, in hex, of the leaf that a server shows for a name ("": no SNI); or OSError."""
    host, _, port = address.rpartition(":")
    tls = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    tls.check_hostname = False
    tls.verify_mode = ssl.CERT_NONE  # the question is which one it is, not whether it is trusted
    with (
        socket.create_connection((host.strip("[]"), int(port)), seconds) as plain,
        tls.wrap_socket(plain, server_hostname=name or None) as connection,
    ):
        return hashlib.sha256(connection.getpeercert(binary_form=True) or b"").hexdigest()
