"""The only file that uses pypsrp (which has no types): a Session over WSMan."""

from __future__ import annotations

import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from importlib import import_module
from typing import Any

from certshelf.errors import DeployError
from certshelf.iis.remote import Argument, Credential, Remote, Said, Transcript, plain
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
        cert_validation=remote.ca_file or True,
        operation_timeout=remote.answer_seconds,
        read_timeout=remote.answer_seconds + 2,
        connection_timeout=remote.answer_seconds,
        reconnection_backoff=0.1,
    )
    errors = import_module("pypsrp.exceptions")
    transport = import_module("requests.exceptions")  # what pypsrp speaks HTTP with
    login = import_module("spnego.exceptions").SpnegoError
    try:
        with wsman, import_module("pypsrp.powershell").RunspacePool(wsman) as pool:
            yield PsrpSession(pool, remote)
    except (errors.AuthenticationError, login) as error:
        raise DeployError(
            f"{remote.host} refuses the account {remote.user or 'of this process'}",
            hint="it needs to be an administrator there and allowed to use PowerShell Remoting",
        ) from error
    except transport.SSLError as error:
        raise DeployError(
            f"{remote.host} has a WinRM certificate that is not trusted here",
            hint="give its CA with --ca-file",
            output=plain(error)[-2000:],
        ) from error
    except (
        errors.WinRMError,
        errors.WinRMTransportError,
        transport.RequestException,
        OSError,
        SyntaxError,  # xml.etree's ParseError is one
        KeyError,  # from pypsrp, when the peer asks for no login: no WinRM, then
    ) as error:
        raise DeployError(
            f"{remote.host} does not answer PowerShell Remoting: {type(error).__name__}",
            hint="run Enable-PSRemoting there, or the script of `certshelf iis plan`",
            output=plain(error)[-2000:],
        ) from error


class PsrpSession:
    """Runs scripts in one runspace pool."""

    def __init__(self, pool: Any, remote: Remote) -> None:
        self._pool = pool
        self._remote = remote

    def run(self, script: str, arguments: Mapping[str, Argument], note: Transcript) -> Said:
        """See remote.Session. Raises DeployError when the script runs for too long."""
        shell = import_module("pypsrp.powershell").PowerShell(self._pool)
        states = import_module("pypsrp.complex_objects").PSInvocationState
        shell.add_script(script)
        if any(isinstance(value, Secret | Credential) for value in arguments.values()):
            self._pool.exchange_keys()  # SecureStrings are encrypted with this session key
        for name, value in arguments.items():
            shell.add_parameter(name, self._argument(value))
        ends_at = time.monotonic() + self._remote.script_seconds
        heard = _Heard(shell, note)
        shell.begin_invoke()
        while shell.state == states.RUNNING:
            if time.monotonic() > ends_at:
                shell.stop()
                raise DeployError(
                    f"the script still ran on {self._remote.host} after "
                    f"{self._remote.script_seconds:.0f} s and was stopped",
                    hint="it is safe to run again",
                )
            shell.poll_invoke()
            heard.more()
        failed = bool(shell.had_errors) or shell.state != states.COMPLETED
        return Said(tuple(heard.output), failed)

    def _argument(self, value: Argument) -> Any:
        if isinstance(value, Secret):
            secure = import_module("pypsrp.serializer").ObjectMeta("SS")
            return self._pool.serialize(value.reveal(), secure)
        if isinstance(value, Credential):
            credential = import_module("pypsrp.complex_objects").PSCredential
            return credential(username=value.user, password=value.password.reveal())
        return value


class _Heard:
    """Passes on what is new in each stream of a pipeline."""

    def __init__(self, shell: Any, note: Transcript) -> None:
        self.output: list[str] = []
        self._note = note
        streams = shell.streams
        self._streams = {
            "output": shell.output,
            "verbose": streams.verbose,
            "warning": streams.warning,
            "error": streams.error,
        }
        self._known = dict.fromkeys(self._streams, 0)

    def more(self) -> None:
        for name, items in self._streams.items():
            for item in items[self._known[name] :]:
                line = plain(_text_of(name, item))
                if name == "output":
                    self.output.append(line)
                self._note(name, line)
            self._known[name] = len(items)


def _text_of(stream: str, item: Any) -> Any:
    """What a record says: its own message, or its text (an error's message is of its category)."""
    if stream in ("verbose", "warning"):
        return item.message
    if stream == "error" and str(item) == "None":
        return item.details_message or item.message or item.fq_error
    return item
