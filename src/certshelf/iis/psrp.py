"""The only file that uses pypsrp (which has no types): a Session over WSMan."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from importlib import import_module
from typing import Any

from certshelf.errors import DeployError
from certshelf.iis.apply import Argument, Credential, Remote, Said, Transcript, plain
from certshelf.secret import Secret


@contextmanager
def connect(remote: Remote) -> Iterator[PsrpSession]:
    """Open a runspace pool on the server and close it again."""
    wsman = import_module("pypsrp.wsman").WSMan(
        remote.host,
        port=remote.port,
        ssl=remote.ssl,
        username=remote.user or None,
        password=remote.password.reveal() if remote.password else None,
        auth="negotiate",
        # Without TLS the messages themselves are encrypted by Kerberos or NTLM.
        encryption="auto" if remote.ssl else "always",
    )
    errors = import_module("pypsrp.exceptions")
    transport = import_module("requests.exceptions")  # what pypsrp speaks HTTP with
    try:
        with wsman, import_module("pypsrp.powershell").RunspacePool(wsman) as pool:
            yield PsrpSession(pool)
    except errors.AuthenticationError as error:
        raise DeployError(
            f"{remote.host} refuses the account {remote.user or 'of this process'}",
            hint="it needs to be an administrator there and allowed to use PowerShell Remoting",
        ) from error
    except (
        errors.WinRMError,
        errors.WinRMTransportError,
        transport.RequestException,
        OSError,
        KeyError,  # from pypsrp, when the peer asks for no login: no WinRM, then
    ) as error:
        raise DeployError(
            f"{remote.host} does not answer PowerShell Remoting: {type(error).__name__}",
            hint="run Enable-PSRemoting there, or the script of `certshelf iis plan`",
            output=plain(error)[-2000:],
        ) from error


class PsrpSession:
    """Runs scripts in one runspace pool."""

    def __init__(self, pool: Any) -> None:
        self._pool = pool

    def run(self, script: str, arguments: Mapping[str, Argument], note: Transcript) -> Said:
        """See apply.Session."""
        shell = import_module("pypsrp.powershell").PowerShell(self._pool)
        shell.add_script(script)
        if any(isinstance(value, Secret | Credential) for value in arguments.values()):
            self._pool.exchange_keys()  # SecureStrings are encrypted with this session key
        for name, value in arguments.items():
            shell.add_parameter(name, self._argument(value))
        output = tuple(plain(item) for item in shell.invoke())
        for line in output:
            note("output", line)
        for stream in ("verbose", "warning", "error"):
            for item in getattr(shell.streams, stream):
                note(stream, plain(item))
        return Said(output, failed=bool(shell.had_errors))

    def _argument(self, value: Argument) -> Any:
        if isinstance(value, Secret):
            secure = import_module("pypsrp.serializer").ObjectMeta("SS")
            return self._pool.serialize(value.reveal(), secure)
        if isinstance(value, Credential):
            credential = import_module("pypsrp.complex_objects").PSCredential
            return credential(username=value.user, password=value.password.reveal())
        return value
