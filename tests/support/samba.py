"""A real SMB 3 file server (Samba) on a free loopback port, with everything under one folder.

Needs root (accounts are made for the run and removed after it) and Debian's `samba`.
Traps met: the default NT ACL attribute needs a privilege, so `user.NTACL`; "ignore system acls"
still asks the Unix mode, so the share is 0777 and every parent searchable, which pytest's tmp_path
is not; smbd outlives a killed test run, so it gets a pipe as standard input, whose end ends it.
"""

from __future__ import annotations

import contextlib
import os
import secrets
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from certshelf.secret import Secret
from certshelf.store.base import StoreCredentials
from certshelf.store.smb import SmbStore
from tests.support.ports import free_port

CONF = """[global]
  workgroup = CSTEST
  netbios name = CSRIG
  server role = standalone server
  interfaces = 127.0.0.1/8
  bind interfaces only = yes
  smb ports = {port}
  disable netbios = yes
  private dir = {d}/private
  state directory = {d}/state
  cache directory = {d}/cache
  lock directory = {d}/lock
  pid directory = {d}/pid
  ncalrpc dir = {d}/ncalrpc
  binddns dir = {d}/binddns
  usershare path =
  passdb backend = tdbsam:{d}/private/passdb.tdb
  log file = {d}/log.smbd
  log level = 1
  server min protocol = SMB3_00
  server signing = {signing}
  server smb encrypt = {encrypt}
  ntlm auth = ntlmv2-only
  restrict anonymous = {anonymous}
  map to guest = {guest}
  guest account = {guest_account}
  load printers = no
  printing = bsd
  disable spoolss = yes
  unix extensions = no
  follow symlinks = no

[certs]
  path = {d}/share
  read only = no
  guest ok = {guest_ok}
  admin users = {admin}
  vfs objects = acl_xattr
  acl_xattr:ignore system acls = yes
  acl_xattr:security_acl_name = user.NTACL
  inherit acls = yes
  map acl inherit = yes
  store dos attributes = yes
  hide dot files = no
"""
_FOLDERS = "private state cache lock pid ncalrpc binddns share"


@dataclass(frozen=True)
class Account:
    """One account of the server, made for this run."""

    name: str
    password: str


class Samba:
    """The server: `share` is what the share `certs` shows; `port` is where it listens."""

    def __init__(self, folder: Path, *, encrypt: str, guest: bool) -> None:
        self.folder = folder
        self.share = folder / "share"
        self.port = free_port()
        self.reader, self.writer, self.admin, self.other = (
            Account(f"cs{secrets.token_hex(4)}{role}", secrets.token_urlsafe(16))
            for role in ("r", "w", "a", "o")
        )
        self._encrypt, self._guest = encrypt, guest
        self._server: subprocess.Popen[bytes] | None = None

    @property
    def pid(self) -> int:
        """Of the server's first process; the others are below it."""
        assert self._server is not None
        return self._server.pid

    def url(self, folder: str = "", account: Account | None = None) -> str:
        """Where a store lies: a folder of the share, as the writer unless told otherwise."""
        user = (account or self.writer).name
        return f"smb://{user}@127.0.0.1:{self.port}/certs/{folder}".rstrip("/")

    def store(
        self, folder: str = "", account: Account | None = None, *, deadline_seconds: float = 10.0
    ) -> SmbStore:
        """A store in a folder of the share, as the writer unless told otherwise."""
        account = account or self.writer
        return SmbStore.from_url(
            self.url(folder, account),
            StoreCredentials(account.name, Secret(account.password)),
            deadline_seconds,
        )

    def new_folder(self, name: str = "") -> str:
        """Make a folder that everybody may use until its DACL is set; its name."""
        path = self.share / (name or "f" + secrets.token_hex(6))
        path.mkdir()
        path.chmod(0o777)
        return path.name

    def prepare(self) -> None:
        """Folders, configuration and accounts."""
        for name in _FOLDERS.split():
            (self.folder / name).mkdir()
        (self.folder / "private").chmod(0o700)
        self.share.chmod(0o777)
        self._conf.write_text(
            CONF.format(
                d=self.folder,
                port=self.port,
                encrypt=self._encrypt,
                signing="mandatory" if self._encrypt == "required" else "default",
                admin=self.admin.name,
                guest="bad user" if self._guest else "never",
                guest_ok="yes" if self._guest else "no",
                guest_account=self.other.name if self._guest else "nobody",
                anonymous=0 if self._guest else 2,
            )
        )
        for account in (self.reader, self.writer, self.admin, self.other):
            _retried(
                ["useradd", "--system", "--no-create-home", "-s", "/usr/sbin/nologin", account.name]
            )
            self.set_password(account, account.password)

    def set_password(self, account: Account, password: str) -> None:
        """Give an account a password on the server; running sessions go on."""
        subprocess.run(
            ["smbpasswd", "-c", str(self._conf), "-s", "-a", account.name],
            input=f"{password}\n{password}\n".encode(),
            check=True,
            capture_output=True,
        )

    def start(self) -> None:
        """Start and wait until it answers."""
        with (self.folder / "smbd.out").open("ab") as out:
            self._server = subprocess.Popen(
                ["smbd", "--foreground", "--no-process-group", "--configfile", str(self._conf)],
                stdin=subprocess.PIPE,
                stdout=out,
                stderr=subprocess.STDOUT,
                start_new_session=True,
            )
        wait_for_port(self.port, self._server)

    def stop(self) -> None:
        """End the server and each of its children."""
        if self._server is None:
            return
        self.signal(signal.SIGCONT)
        self.signal(signal.SIGTERM)
        with contextlib.suppress(subprocess.TimeoutExpired):
            self._server.wait(10)
        self.signal(signal.SIGKILL)
        self._server.wait(10)
        for pid in self._pipe_helpers():
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
        if self._server.stdin:
            self._server.stdin.close()
        self._server = None

    def restart(self) -> None:
        """Stop, and start on the same port."""
        self.stop()
        self.start()

    def freeze(self) -> None:
        """Neither answer nor refuse, until thaw()."""
        self.signal(signal.SIGSTOP)

    def thaw(self) -> None:
        """Go on after freeze()."""
        self.signal(signal.SIGCONT)

    def signal(self, number: int) -> None:
        """Signal the server and its children, and nobody else."""
        if self._server is not None:
            with contextlib.suppress(ProcessLookupError):
                os.killpg(self._server.pid, number)

    def _pipe_helpers(self) -> list[int]:
        """Processes that smbd started apart from itself for RPC: they name our configuration."""
        ours = f"--configfile={self._conf}".encode()
        found = []
        for folder in Path("/proc").glob("[0-9]*"):
            with contextlib.suppress(OSError):
                if ours in (folder / "cmdline").read_bytes().split(b"\0"):
                    found.append(int(folder.name))
        return found

    def remove(self) -> None:
        """Take away accounts and files."""
        for account in (self.reader, self.writer, self.admin, self.other):
            with contextlib.suppress(subprocess.CalledProcessError):
                _retried(["userdel", account.name])
        shutil.rmtree(self.folder, ignore_errors=True)

    @property
    def _conf(self) -> Path:
        return self.folder / "smb.conf"


@contextlib.contextmanager
def running_samba(*, encrypt: str = "required", guest: bool = False) -> Iterator[Samba]:
    """A server for a with-block. encrypt: required, desired, off. guest: anybody may come in."""
    skip_unless_possible()
    folder = Path(tempfile.mkdtemp(prefix="certshelf-smb-"))
    folder.chmod(0o755)
    server = Samba(folder, encrypt=encrypt, guest=guest)
    try:
        server.prepare()
        server.start()
        yield server
    finally:
        server.stop()
        server.remove()


def skip_unless_possible() -> None:
    """Skip the test where no Samba can be started."""
    if sys.platform != "linux" or os.geteuid() != 0:
        pytest.skip("a Samba of our own needs root on Linux: it makes accounts")
    if shutil.which("smbd") is None or shutil.which("smbpasswd") is None:
        pytest.skip("no smbd here: apt-get install samba")


def wait_for_port(port: int, server: subprocess.Popen[bytes], seconds: float = 30.0) -> None:
    """Return when something accepts there; fail when the server ends or time is up."""
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        with contextlib.suppress(OSError), socket.create_connection(("127.0.0.1", port), 1):
            return
        if server.poll() is not None:
            pytest.fail(f"the server ended with {server.returncode} before it listened")
        time.sleep(0.05)
    pytest.fail(f"nothing listens on port {port} after {seconds:.0f} s")


def _retried(command: list[str]) -> None:
    """Run a command that several test processes may run at once: /etc/passwd has one lock."""
    for attempt in range(20):
        done = subprocess.run(command, capture_output=True, text=True)
        if done.returncode == 0:
            return
        time.sleep(0.05 * (attempt + 1))
    raise subprocess.CalledProcessError(done.returncode, command, done.stdout, done.stderr)
