"""A real SFTP server (asyncssh) in a thread, on a free port of loopback, for one folder."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import asyncssh

USER, PASSWORD = "deployer", "sftp-canary-7Q"


class SftpServer:
    """Serves a folder by its name. fail: called before each opening; may raise."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.host_key = asyncssh.generate_private_key("ssh-ed25519")
        self.client_key = asyncssh.generate_private_key("ssh-ed25519")
        self.fail: Callable[[str, int], None] = lambda path, flags: None
        self.port = 0
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_forever, daemon=True)
        self._listener: asyncssh.SSHAcceptor | None = None

    @property
    def url(self) -> str:
        return f"sftp://{USER}@127.0.0.1:{self.port}/{self.folder.name}"

    @property
    def public_key(self) -> str:
        return self.host_key.export_public_key().decode().strip()

    def start(self) -> None:
        self._thread.start()
        asyncio.run_coroutine_threadsafe(self._listen(), self._loop).result(20)

    def stop(self) -> None:
        async def close() -> None:
            if self._listener is not None:
                self._listener.close()
                await self._listener.wait_closed()

        asyncio.run_coroutine_threadsafe(close(), self._loop).result(20)
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join(10)
        self._loop.close()

    async def _listen(self) -> None:
        rig = self

        class Server(asyncssh.SSHServer):
            def password_auth_supported(self) -> bool:
                return True

            def validate_password(self, username: str, password: str) -> bool:
                return (username, password) == (USER, PASSWORD)

            def public_key_auth_supported(self) -> bool:
                return True

            def validate_public_key(self, username: str, key: asyncssh.SSHKey) -> bool:
                return username == USER and key == rig.client_key.convert_to_public()

        class Files(asyncssh.SFTPServer):
            def __init__(self, channel: Any) -> None:
                super().__init__(channel, chroot=str(rig.folder.parent))

            def open(self, path: bytes, pflags: int, attrs: asyncssh.SFTPAttrs) -> Any:
                rig.fail(path.decode(), pflags)
                return super().open(path, pflags, attrs)

        self._listener = await asyncssh.create_server(
            Server, "127.0.0.1", 0, server_host_keys=[self.host_key], sftp_factory=Files
        )
        self.port = self._listener.get_port()


@contextmanager
def running_sftp(folder: Path) -> Iterator[SftpServer]:
    server = SftpServer(folder)
    server.start()
    try:
        yield server
    finally:
        server.stop()
