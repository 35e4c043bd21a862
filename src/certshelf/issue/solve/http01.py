"""http-01: a responder of our own, a webroot folder, or nothing at all in farm mode."""

from __future__ import annotations

import asyncio
import contextlib
import os
import secrets
from collections.abc import Awaitable, Callable
from pathlib import Path
from urllib.parse import urlsplit

import aiohttp
from aiohttp import web

from certshelf.challenge import HTTP01_PREFIX, TOKEN, Challenge, stateless_answer
from certshelf.errors import CertshelfError, ChallengeFailed, ConfigError

_MAX_ASKING = 4
"""Requests that look for a host's account at the same time; strangers may send any number."""
_ASK_S = 3.0
ThumbprintOf = Callable[[str], Awaitable[str]]
_HEADERS = {"X-Content-Type-Options": "nosniff", "Cache-Control": "no-store"}


class FarmHttp01:
    """Farm mode: every member answers by itself with the rule that `configure http-01` prints.

    Nothing is presented, so nothing can be forgotten or raced (facts: RFC 8555 section 8.1).
    """

    type = "http-01"

    async def present(self, challenge: Challenge) -> None:
        """See Solver: the members answer already."""

    async def wait(self, challenge: Challenge) -> None:
        """See Solver: `cert test` and the doctor ask each member, not each order."""

    async def clean_up(self, challenge: Challenge) -> None:
        """See Solver: there is nothing to take away."""


class Http01Responder:
    """Answers http-01 on a port of its own, for any number of orders and accounts.

    Use it as an async context manager around many orders. thumbprint: of the account for which a
    well-formed token is answered that was not presented here, or what gives it for the request's
    host; "" for none. So another manager, or a command beside the service, needs not this port.
    """

    type = "http-01"

    def __init__(
        self, host: str = "", port: int = 80, *, thumbprint: str | ThumbprintOf = ""
    ) -> None:
        self._host = host
        self._port = port
        self._thumbprint = thumbprint
        self._asking = 0
        self._answers: dict[str, str] = {}
        self._runner: web.AppRunner | None = None

    @property
    def port(self) -> int:
        """The port that it listens on; the chosen one when it was asked for any (0)."""
        if self._runner and self._runner.addresses:
            return int(self._runner.addresses[0][1])
        return self._port

    async def __aenter__(self) -> Http01Responder:
        app = web.Application(client_max_size=1024)
        app.router.add_get(HTTP01_PREFIX + "{token}", self._get)
        runner = web.AppRunner(app, access_log=None, handle_signals=False)
        await runner.setup()
        try:
            await web.TCPSite(runner, self._host or None, self._port).start()
        except OSError as error:
            await runner.cleanup()
            raise ConfigError(
                f"http-01 cannot listen on {self._host or '*'}:{self._port}: {error.strerror}",
                hint="stop what listens there, or use farm mode or a webroot folder",
            ) from error
        self._runner = runner
        return self

    async def __aexit__(self, *error: object) -> None:
        runner, self._runner = self._runner, None
        if runner is not None:
            await runner.cleanup()

    async def present(self, challenge: Challenge) -> None:
        """See Solver."""
        self._answers[challenge.token] = challenge.key_authorization

    async def wait(self, challenge: Challenge) -> None:
        """See Solver: the answer is there as soon as it is presented."""

    async def clean_up(self, challenge: Challenge) -> None:
        """See Solver."""
        self._answers.pop(challenge.token, None)

    async def _get(self, request: web.Request) -> web.Response:
        token = request.match_info["token"]
        text = self._answers.get(token)
        if text is None:
            text = await self._stateless(request)
        if text is None:
            return web.Response(status=404, text="no such challenge\n", headers=_HEADERS)
        return web.Response(text=text, headers=_HEADERS)

    async def _stateless(self, request: web.Request) -> str | None:
        """The answer without a state; None when there is none, or when too many ask at once."""
        # raw_path: an encoded token is none, whatever it decodes to
        if not self._thumbprint or stateless_answer(request.raw_path, "") is None:
            return None
        if isinstance(self._thumbprint, str):
            return stateless_answer(request.raw_path, self._thumbprint)
        if self._asking >= _MAX_ASKING:
            return None
        self._asking += 1
        try:
            thumbprint = await self._thumbprint(urlsplit(f"//{request.host}").hostname or "")
        except (ValueError, CertshelfError):  # the host is none, or cannot be looked up now
            return None
        finally:
            self._asking -= 1
        return stateless_answer(request.raw_path, thumbprint) if thumbprint else None


async def answers_already(host: str, port: int, thumbprint: str) -> bool:
    """Whether this machine's port answers any token for that host and account: our service's does.

    host: the name or address that is proved. port: on loopback. It asks once, with a token made up
    for it.
    """
    shown = f"[{host}]" if ":" in host else host
    token = secrets.token_urlsafe(32)
    url = f"http://127.0.0.1:{port}{HTTP01_PREFIX}{token}"
    timeout = aiohttp.ClientTimeout(total=_ASK_S)
    try:
        async with (
            aiohttp.ClientSession(timeout=timeout) as session,
            session.get(url, headers={"Host": shown}, allow_redirects=False) as answer,
        ):
            text = await answer.content.read(1024)
    except (aiohttp.ClientError, TimeoutError, OSError):
        return False
    return text == f"{token}.{thumbprint}".encode()


class Webroot:
    """Writes TOKEN files below a folder that a web server publishes at its root.

    folder: outside every shelf; it may lie on a share. A server that runs IIS needs a MIME type
    for files without an extension there: docs/how-to/challenges.md has the web.config.
    """

    type = "http-01"

    def __init__(self, folder: Path) -> None:
        self._folder = folder

    async def present(self, challenge: Challenge) -> None:
        """See Solver: the whole file appears at once."""
        await asyncio.to_thread(self._write, challenge)

    async def wait(self, challenge: Challenge) -> None:
        """See Solver: a file is there once it is written."""

    async def clean_up(self, challenge: Challenge) -> None:
        """See Solver."""
        await asyncio.to_thread(self._remove, challenge)

    def _write(self, challenge: Challenge) -> None:
        path = self._path(challenge)
        temporary = path.with_name(f".{secrets.token_hex(8)}.tmp")
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            try:
                _write_public(temporary, challenge.key_authorization)
                temporary.replace(path)
            finally:
                temporary.unlink(missing_ok=True)
        except OSError as error:
            raise ChallengeFailed(
                f"the token file cannot be written below {self._folder}: {error.strerror}",
                hint="the manager's account needs to write there",
            ) from error

    def _remove(self, challenge: Challenge) -> None:
        try:
            with contextlib.suppress(FileNotFoundError):
                self._path(challenge).unlink()
        except OSError as error:
            raise ChallengeFailed(
                f"a token file stays below {self._folder}: {error.strerror}",
                hint="delete it by hand; it is harmless",
            ) from error

    def _path(self, challenge: Challenge) -> Path:
        if not TOKEN.fullmatch(challenge.token):
            raise ChallengeFailed("the challenge's token can be no file name")
        return self._folder / HTTP01_PREFIX.strip("/") / challenge.token


def _write_public(path: Path, text: str) -> None:
    """A new file that everybody may read: the web server's account does, and it is no secret.

    A link that somebody else made there is not followed, neither to write nor to change rights:
    the folder may belong to a web application, and we may be root.
    """
    flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL | getattr(os, "O_NOFOLLOW", 0)
    with os.fdopen(os.open(path, flags, 0o644), "w", encoding="ascii") as file:
        if hasattr(os, "fchmod"):
            os.fchmod(file.fileno(), 0o644)  # whatever the umask is
        file.write(text)
