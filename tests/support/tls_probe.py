"""Handshakes with a server: which certificate it shows for a name, or how it refuses."""

from __future__ import annotations

import hashlib
import socket
import ssl
import subprocess
import threading
import time
from collections import Counter
from collections.abc import Callable


def _context() -> ssl.SSLContext:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname = False
    context.verify_mode = ssl.CERT_NONE
    return context


def connect(port: int, sni: str, timeout_s: float = 10.0) -> ssl.SSLSocket:
    """An open connection that ended its handshake."""
    raw = socket.create_connection(("127.0.0.1", port), timeout_s)
    try:
        return _context().wrap_socket(raw, server_hostname=sni)
    except BaseException:
        raw.close()
        raise


def served(port: int, sni: str) -> str:
    """SHA-256 of the leaf that is served, or `alert: ...` when the server refuses."""
    try:
        with connect(port, sni) as connection:
            der = connection.getpeercert(binary_form=True)
            return hashlib.sha256(der or b"").hexdigest()
    except ssl.SSLError as error:
        return f"alert: {error.reason}"
    except OSError as error:
        return f"refused: {type(error).__name__}"


def served_raw(port: int, sni: str) -> str:
    """As served(), for an SNI that is no host name: by the openssl program."""
    command = ["openssl", "s_client", "-connect", f"127.0.0.1:{port}", "-servername", sni]
    done = subprocess.run(command, input=b"", capture_output=True, timeout=20, check=False)
    text = done.stdout.decode("latin-1")
    if "-----BEGIN CERTIFICATE-----" not in text:
        return "alert"
    pem = text[text.index("-----BEGIN CERTIFICATE-----") :]
    pem = pem[: pem.index("-----END CERTIFICATE-----") + 25] + "\n"
    return hashlib.sha256(ssl.PEM_cert_to_DER_cert(pem)).hexdigest()


def wait_until(fact: Callable[[], bool], seconds: float = 20.0) -> bool:
    """Poll a fact until it is true; False after so many seconds."""
    deadline = time.monotonic() + seconds
    while not fact():
        if time.monotonic() > deadline:
            return False
        time.sleep(0.02)
    return True


def wait_served(port: int, sni: str, sha256: str, seconds: float = 20.0) -> str:
    """Poll until this leaf is served; what was served last."""
    seen = ""

    def fact() -> bool:
        nonlocal seen
        seen = served(port, sni)
        return seen == sha256

    wait_until(fact, seconds)
    return seen


class Load:
    """Handshakes with one name all the time, in one thread; `seen` counts what was served."""

    def __init__(self, port: int, sni: str) -> None:
        self.seen: Counter[str] = Counter()
        self._port = port
        self._sni = sni
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._run, daemon=True)

    def __enter__(self) -> Load:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._stop.set()
        self._thread.join(20)

    def _run(self) -> None:
        while not self._stop.is_set():
            self.seen[served(self._port, self._sni)] += 1

    def saw(self, sha256: str) -> bool:
        """Wait until it was served this leaf; False when it never was."""
        return wait_until(lambda: sha256 in self.seen, 60.0)

    @property
    def failures(self) -> dict[str, int]:
        """What was no certificate."""
        return {what: n for what, n in self.seen.items() if ":" in what}
