"""Files on an SFTP server: written beside the old one, put over it by one rename, read back."""

from __future__ import annotations

import asyncio
import secrets
from collections.abc import Awaitable, Callable
from contextlib import suppress
from dataclasses import dataclass
from importlib.util import find_spec
from typing import TYPE_CHECKING, Any, TypeVar
from urllib.parse import unquote, urlsplit

from certshelf.deploy.base import Context
from certshelf.errors import (
    ConfigError,
    StoreBadCredentials,
    StoreCorrupt,
    StoreDenied,
    StoreError,
    StoreFull,
    StoreNotFound,
    StoreTimeout,
    StoreUnreachable,
)
from certshelf.store.base import MAX_BYTES

if TYPE_CHECKING:
    import asyncssh

T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class SftpAddress:
    """Where on which server. host_key: its public key as in known_hosts, `ssh-ed25519 AAAA...`."""

    url: str
    host: str
    port: int
    username: str
    folder: str
    host_key: str


def is_sftp(address: str) -> bool:
    """Whether an address is one of SFTP."""
    return address.lower().startswith("sftp://")


def parse_sftp(url: str, host_key: str) -> SftpAddress:
    """The parts of `sftp://user@host[:port]/folder`; ConfigError says what is wrong.

    The server's key must be given: without it anybody on the way could take the private keys.
    """
    try:
        parts = urlsplit(url)
        port = parts.port or 22
    except ValueError:
        raise ConfigError("no address of an SFTP server: it cannot be read") from None
    if parts.password is not None:
        raise ConfigError("a password in an sftp: address", hint="use a credential")
    folder = unquote(parts.path)
    if not parts.hostname or not folder.strip("/") or "\0" in folder:
        raise ConfigError("no address of an SFTP folder", hint="sftp://user@host/folder")
    if len(host_key.split()) not in (2, 3):
        raise ConfigError(
            f"{url}: the server's key is not given",
            hint=f"--set host_key='ssh-ed25519 AAAA...': ssh-keyscan {parts.hostname} shows it",
        )
    if find_spec("asyncssh") is None:
        raise ConfigError("sftp: needs the package asyncssh", hint="pip install 'certshelf[ssh]'")
    key = " ".join(host_key.split()[-2:])
    return SftpAddress(url, parts.hostname, port, unquote(parts.username or ""), folder, key)


class SftpFiles:
    """The files of one folder; each call a connection of its own, ended with the task's time.

    The login's secret is a password, or a private key in PEM or OpenSSH's form.
    """

    def __init__(self, address: SftpAddress, context: Context) -> None:
        self._address = address
        self._context = context

    def get(self, name: str) -> bytes | None:
        """A whole file, None when it is not there."""
        return self._run(lambda sftp: _read(sftp, self._path(name)))

    def put(self, name: str, data: bytes) -> None:
        """Write one file, whole or not at all, and read it back. 0600 from its first byte."""
        self._run(lambda sftp: self._put(sftp, self._path(name), data))

    def remove(self, name: str) -> None:
        """Remove one file."""
        self._run(lambda sftp: sftp.remove(self._path(name)))

    def check_writable(self) -> None:
        """StoreError unless this login can make and remove a file there."""
        self._run(self._probe)

    def close(self) -> None:
        """Nothing is kept open."""

    def _path(self, name: str) -> str:
        return f"{self._address.folder.rstrip('/')}/{name}"

    async def _put(self, sftp: asyncssh.SFTPClient, path: str, data: bytes) -> None:
        folder, _, name = path.rpartition("/")
        temp = f"{folder}/.{name}.{secrets.token_hex(6)}.tmp"
        try:
            await _write(sftp, temp, data)
            await sftp.posix_rename(temp, path)
        except BaseException:
            with suppress(Exception):
                await sftp.remove(temp)
            raise
        if await _read(sftp, path) != data:
            raise StoreCorrupt(f"{path} on {self._address.host} is not what was written")

    async def _probe(self, sftp: asyncssh.SFTPClient) -> None:
        temp = self._path(f".certshelf.{secrets.token_hex(6)}.tmp")
        await _write(sftp, temp, b"")
        await sftp.remove(temp)

    def _run(self, act: Callable[[asyncssh.SFTPClient], Awaitable[T]]) -> T:
        import asyncssh

        seconds = self._context.left()
        where = self._address.url
        try:
            return asyncio.run(asyncio.wait_for(self._with_server(act, seconds), seconds))
        except TimeoutError as error:
            raise StoreTimeout(f"{where} did not answer in {seconds:.0f} s") from error
        except asyncssh.SFTPError as error:
            raise _translated(where, error) from error
        except asyncssh.HostKeyNotVerifiable as error:
            raise StoreDenied(
                f"{where}: the server shows another key than host_key",
                hint="find out why before you change it",
            ) from error
        except asyncssh.PermissionDenied as error:
            raise StoreBadCredentials(f"{where}: the login is refused") from error
        except (asyncssh.Error, OSError) as error:
            raise StoreUnreachable(f"{where} cannot be reached: {error}") from error

    async def _with_server(
        self, act: Callable[[asyncssh.SFTPClient], Awaitable[T]], seconds: float
    ) -> T:
        import asyncssh

        address = self._address
        key = asyncssh.import_public_key(address.host_key)
        async with (
            asyncssh.connect(
                address.host,
                address.port,
                known_hosts=([key], [], []),
                connect_timeout=seconds,
                config=None,
                agent_path=None,
                **_login(self._context, address.username),
            ) as connection,
            connection.start_sftp_client() as sftp,
        ):
            return await act(sftp)


def _login(context: Context, username: str) -> dict[str, Any]:
    import asyncssh

    login = context.login
    options: dict[str, Any] = {"username": username, "client_keys": None}
    if login is None:
        return options
    options["username"] = login.username or username
    if "PRIVATE KEY-----" in login.secret.reveal():
        try:
            key = asyncssh.import_private_key(login.secret.reveal())
        except asyncssh.KeyImportError as error:
            raise StoreBadCredentials("the login's private key cannot be read") from error
        options["client_keys"] = [key]
    else:
        options["password"] = login.secret.reveal()
    return options


async def _read(sftp: asyncssh.SFTPClient, path: str) -> bytes | None:
    import asyncssh

    try:
        async with sftp.open(path, "rb") as file:
            data = bytes(await file.read(MAX_BYTES + 1))  # type: ignore[arg-type]  # opened "rb"
    except asyncssh.SFTPNoSuchFile:
        return None
    if len(data) > MAX_BYTES:
        raise StoreCorrupt(f"{path} is larger than {MAX_BYTES} bytes")
    return data


async def _write(sftp: asyncssh.SFTPClient, path: str, data: bytes) -> None:
    import asyncssh

    attributes = asyncssh.SFTPAttrs(permissions=0o600)
    async with sftp.open(path, "xb", attributes) as file:
        await file.write(data)
        with suppress(asyncssh.SFTPOpUnsupported):
            await file.fsync()


def _translated(where: str, error: asyncssh.SFTPError) -> StoreError:
    import asyncssh

    kinds: tuple[tuple[type[Exception] | tuple[type[Exception], ...], type[StoreError]], ...] = (
        ((asyncssh.SFTPNoSuchFile, asyncssh.SFTPNoSuchPath), StoreNotFound),
        ((asyncssh.SFTPPermissionDenied, asyncssh.SFTPWriteProtect), StoreDenied),
        ((asyncssh.SFTPNoSpaceOnFilesystem, asyncssh.SFTPQuotaExceeded), StoreFull),
        ((asyncssh.SFTPConnectionLost, asyncssh.SFTPNoConnection), StoreUnreachable),
    )
    for errors, kind in kinds:
        if isinstance(error, errors):
            return kind(f"{where}: {error.reason}")
    return StoreUnreachable(f"{where}: {error.reason}")
