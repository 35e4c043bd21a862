"""A mail server for tests on loopback: STARTTLS, a login, and the mails that it took."""

from __future__ import annotations

import asyncio
import base64
import ssl
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

from tests.support.minted import loopback_server


@dataclass
class SmtpServer:
    """What a client finds. offers_tls: whether STARTTLS is offered; login: user and password."""

    ca_file: Path
    context: ssl.SSLContext
    offers_tls: bool = True
    login: tuple[str, str] | None = None
    port: int = 0
    mails: list[str] = field(default_factory=list)
    commands: list[str] = field(default_factory=list)

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            await self._talk(reader, writer)
        except (ConnectionError, ssl.SSLError):
            pass
        finally:
            writer.close()

    async def _talk(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        protected = False
        writer.write(b"220 test ESMTP\r\n")
        while line := await reader.readline():
            command = line.decode().strip()
            self.commands.append(command)
            match command.split(" ")[0].upper():
                case "EHLO":
                    offers = ["test"]
                    offers += ["STARTTLS"] if self.offers_tls and not protected else []
                    offers += ["AUTH PLAIN"] if self.login and protected else []
                    last = len(offers) - 1
                    for i, offer in enumerate(offers):
                        writer.write(f"250{' ' if i == last else '-'}{offer}\r\n".encode())
                case "STARTTLS":
                    writer.write(b"220 go ahead\r\n")
                    await writer.start_tls(self.context)
                    protected = True
                case "AUTH":
                    writer.write(self._check(command))
                case "DATA":
                    writer.write(b"354 go on\r\n")
                    self.mails.append((await reader.readuntil(b"\r\n.\r\n")).decode())
                    writer.write(b"250 taken\r\n")
                case "QUIT":
                    writer.write(b"221 bye\r\n")
                    await writer.drain()
                    return
                case _:
                    writer.write(b"250 ok\r\n")
            await writer.drain()

    def _check(self, command: str) -> bytes:
        _, user, password = base64.b64decode(command.split(" ")[-1]).decode().split("\0")
        return b"235 welcome\r\n" if (user, password) == self.login else b"535 no\r\n"


@contextmanager
def smtp_server(
    folder: Path, *, offers_tls: bool = True, login: tuple[str, str] | None = None
) -> Iterator[SmtpServer]:
    """A running server in a thread of its own."""
    ca_file, certificate, key = loopback_server(folder)
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(certificate, key)
    found = SmtpServer(ca_file, context, offers_tls, login)
    loop = asyncio.new_event_loop()
    server = loop.run_until_complete(asyncio.start_server(found.serve, "127.0.0.1", 0))
    found.port = server.sockets[0].getsockname()[1]
    thread = threading.Thread(target=loop.run_forever)
    thread.start()
    try:
        yield found
    finally:
        loop.call_soon_threadsafe(server.close)
        loop.call_soon_threadsafe(loop.stop)
        thread.join(10)
        for task in asyncio.all_tasks(loop):
            task.cancel()
        loop.run_until_complete(asyncio.sleep(0))
        loop.close()
