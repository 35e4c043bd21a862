"""HAProxy's Runtime API: the commands that load a certificate into a running HAProxy.

Source: HAProxy Management Guide, section 9.3 (`new`, `set`, `commit`, `show ssl cert`,
`add ssl crt-list`, ...). One command per connection, as the interactive mode is for people.
"""

from __future__ import annotations

import re
import socket
from dataclasses import dataclass
from pathlib import Path

from certshelf.errors import DeployError

_TIMEOUT_SECONDS = 5.0
_MAX_ANSWER_BYTES = 64 * 1024 * 1024


@dataclass(frozen=True, slots=True)
class RuntimeApi:
    """One HAProxy process, by its admin socket. Every call raises DeployError when it fails."""

    socket_path: Path

    def process_id(self) -> int:
        """The worker's process id: another one means that HAProxy was started again."""
        found = re.search(r"^Pid: (\d+)$", self.call("show info"), re.MULTILINE)
        if found is None:
            raise DeployError(f"HAProxy at {self.socket_path} shows no process id")
        return int(found[1])

    def certificates(self) -> set[str]:
        """The files that are loaded."""
        lines = self.call("show ssl cert").splitlines()
        return {line.removeprefix("*") for line in lines if line and not line.startswith("#")}

    def thumbprint(self, file: str) -> str:
        """SHA-1 of the leaf that is loaded under a file name, upper hex; "" when none is."""
        answer = self.call(f"show ssl cert {file}")
        found = re.search(r"^SHA1 FingerPrint: ([0-9A-F]{40})$", answer, re.MULTILINE)
        return found[1] if found else ""

    def is_used(self, file: str) -> bool:
        """Whether a listener or a crt-list has the certificate of that file name."""
        return bool(re.search(r"^Status: Used$", self.call(f"show ssl cert {file}"), re.MULTILINE))

    def listed(self, crt_list: str) -> set[str]:
        """The files of a crt-list as HAProxy has it now."""
        lines = self.call(f"show ssl crt-list {crt_list}").splitlines()
        return {line.split()[0] for line in lines if line and not line.startswith("#")}

    def load(self, file: str, pem: bytes, is_new: bool) -> None:
        """Load or replace a certificate: all at once, at the commit."""
        text = "\n".join(line for line in pem.decode("ascii").splitlines() if line)
        if is_new:
            self._expect(f"new ssl cert {file}", "New empty certificate store")
        try:
            self._expect(f"set ssl cert {file} <<\n{text}\n", "Transaction")
            self._expect(f"commit ssl cert {file}", "Success!")
        except DeployError:
            self.call(f"abort ssl cert {file}")
            raise

    def list(self, crt_list: str, file: str, name: str) -> None:
        """Serve a loaded certificate for a name."""
        self._expect(f"add ssl crt-list {crt_list} <<\n{file} {name}\n", "Success!")

    def forget(self, crt_list: str, file: str) -> None:
        """Serve a certificate no more."""
        self.call(f"del ssl crt-list {crt_list} {file}")
        self.call(f"del ssl cert {file}")

    def call(self, command: str) -> str:
        """One command and its whole answer."""
        try:
            with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as connection:
                connection.settimeout(_TIMEOUT_SECONDS)
                connection.connect(str(self.socket_path))
                connection.sendall(command.encode("ascii") + b"\n")
                connection.shutdown(socket.SHUT_WR)
                answer = bytearray()
                while part := connection.recv(65536):
                    answer += part
                    if len(answer) > _MAX_ANSWER_BYTES:
                        raise DeployError(f"HAProxy at {self.socket_path} answers without end")
        except OSError as error:
            raise DeployError(
                f"HAProxy does not answer at {self.socket_path}: {error}",
                hint="is it running, and may this user use its admin socket?",
            ) from error
        return answer.decode("utf-8", "replace")

    def _expect(self, command: str, word: str) -> None:
        answer = self.call(command)
        if word not in answer:
            first, _, payload = command.partition("\n")
            said = _without(answer, payload)
            raise DeployError(f"HAProxy refuses `{first}`", output=said.strip()[-500:])


def _without(answer: str, payload: str) -> str:
    """An answer without the lines that quote what was sent: it holds a private key.

    A HAProxy that reads no payload takes each of its lines for a command, and repeats it.
    """
    sent = [line for line in payload.splitlines() if len(line) > 1]
    return "\n".join(
        "..." if any(line in said for line in sent) else said for said in answer.splitlines()
    )
