"""What the bench scripts share: servers in processes, handshakes, folders of PFX, statistics."""

from __future__ import annotations

import contextlib
import json
import os
import socket
import ssl
import statistics
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from pathlib import Path

from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec

from certshelf.bundle.model import Bundle
from certshelf.secret import Secret

KEY = ec.generate_private_key(ec.SECP256R1())
_NAME = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, "certshelf bench")])
CAN_PIN = hasattr(os, "sched_setaffinity") and (os.cpu_count() or 1) > 1


def make_bundle(*names: str) -> Bundle:
    """A self-signed P-256 leaf: what a handshake costs does not depend on who signed."""
    now = datetime.now(UTC).replace(microsecond=0)
    leaf = (
        x509.CertificateBuilder()
        .subject_name(_NAME)
        .issuer_name(_NAME)
        .public_key(KEY.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - timedelta(hours=1))
        .not_valid_after(now + timedelta(days=30))
        .add_extension(x509.SubjectAlternativeName([x509.DNSName(n) for n in names]), False)
        .sign(KEY, hashes.SHA256())
    )
    return Bundle(KEY, leaf)


def host(number: int) -> str:
    """The name of one of many hosts."""
    return f"host-{number:06}.bench.test"


def fill(folder: Path, count: int, password: Secret) -> None:
    """Write count PFX files as another tool would."""
    folder.mkdir(parents=True, exist_ok=True)
    for number in range(count):
        name = host(number)
        (folder / f"{name}.pfx").write_bytes(make_bundle(name).to_pfx(password))


def fill_pems(folder: Path, count: int) -> None:
    """Write count PEM files, key and leaf in each."""
    folder.mkdir(parents=True, exist_ok=True)
    for number in range(count):
        name = host(number)
        (folder / f"{name}.pem").write_bytes(make_bundle(name).to_pem())


def fill_names(folder: Path, count: int, password: Secret) -> None:
    """count names on a shelf of which only the first can be served: for what costs by the name.

    The others are links to one file, in groups, as a file system allows few links of one file.
    """
    fill(folder, 1, password)
    data = (folder / f"{host(0)}.pfx").read_bytes()
    for number in range(1, count):
        path = folder / f"{host(number)}.pfx"
        if number % 30_000 == 1:
            first = path
            first.write_bytes(data)
        else:
            os.link(first, path)


class Server:
    """One server process, pinned to a core where the system can."""

    def __init__(self, kind: str, folder: Path, password: Secret, core: int = 0) -> None:
        script = str(Path(__file__).with_name("_python_server.py"))
        began = time.perf_counter()
        self.process = subprocess.Popen(
            [sys.executable, script, kind, str(folder)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )
        if CAN_PIN:
            os.sched_setaffinity(self.process.pid, {core})
        self._say(password.reveal())
        self.ready = self._hear()
        self.start_s = time.perf_counter() - began
        self.port = int(self.ready["port"])

    def _say(self, line: str) -> None:
        assert self.process.stdin
        self.process.stdin.write(line + "\n")
        self.process.stdin.flush()

    def _hear(self) -> dict[str, float]:
        assert self.process.stdout
        return json.loads(self.process.stdout.readline())  # type: ignore[no-any-return]

    def figures(self) -> dict[str, float]:
        """CPU seconds so far and resident bytes."""
        self._say("")
        return self._hear()

    def close(self) -> None:
        """End the process."""
        self.process.terminate()
        self.process.wait()


@contextmanager
def a_server(kind: str, folder: Path, password: Secret, core: int = 0) -> Iterator[Server]:
    """A server for one `with` block."""
    server = Server(kind, folder, password, core)
    try:
        yield server
    finally:
        server.close()


def _client() -> ssl.SSLContext:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname = False
    context.verify_mode = ssl.CERT_NONE
    context.minimum_version = ssl.TLSVersion.TLSv1_3
    with contextlib.suppress(ValueError, ssl.SSLError):
        context.set_ecdh_curve("X25519")  # the same key exchange with every OpenSSL
    return context


CLIENT = _client()


def handshake(port: int, sni: str) -> bytes:
    """One full TLS 1.3 handshake; the DER of the leaf. Raises OSError when it fails."""
    with (
        socket.create_connection(("127.0.0.1", port), timeout=10) as raw,
        CLIENT.wrap_socket(raw, server_hostname=sni) as connection,
    ):
        der = connection.getpeercert(binary_form=True) or b""
        connection.recv(1)
        return der


def full_handshake(port: int, sni: str) -> bytes:
    """As handshake(), with a server that waits for a request: we end first, and in good order.

    OSError also when the certificate is not for that name: a wrong one is no answer.
    """
    with (
        socket.create_connection(("127.0.0.1", port), timeout=30) as raw,
        CLIENT.wrap_socket(raw, server_hostname=sni) as connection,
    ):
        der = connection.getpeercert(binary_form=True) or b""
        connection.shutdown(socket.SHUT_WR)  # below TLS: the server sees the end of the stream
        while connection.recv(65536):
            pass
        if sni.encode("ascii") not in der:
            raise OSError(f"another certificate for {sni}")
        return der


def pin_loader() -> None:
    """The loader runs on the other core than the servers, see beside_loader()."""
    if CAN_PIN:
        os.sched_setaffinity(0, {1})


@contextmanager
def beside_loader() -> Iterator[None]:
    """What is started meanwhile runs on the first core, not on the loader's."""
    if not CAN_PIN:
        yield
        return
    loader = os.sched_getaffinity(0)
    os.sched_setaffinity(0, {0})
    try:
        yield
    finally:
        os.sched_setaffinity(0, loader)


def spread(values: Sequence[float]) -> str:
    """Median, minimum and maximum."""
    return f"{statistics.median(values):.3f} ({min(values):.3f} to {max(values):.3f})"


def percentile(values: Sequence[float], part: float) -> float:
    """The value below which this part of the values lies."""
    ordered = sorted(values)
    return ordered[min(len(ordered) - 1, int(part * len(ordered)))]
