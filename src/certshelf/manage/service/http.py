"""The service's own small HTTP server: /healthz and /metrics, on a loopback address only."""

from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from ipaddress import ip_address

from aiohttp import web

from certshelf.errors import ConfigError
from certshelf.manage.service.metrics import TEXT

_HEADERS = {"Cache-Control": "no-store", "X-Content-Type-Options": "nosniff"}


@asynccontextmanager
async def status_server(
    listen: str, trouble: Callable[[], str], metrics: Callable[[], Awaitable[str]]
) -> AsyncIterator[str]:
    """Serve for one `async with` block; yields the address, "" when none is wanted.

    trouble: why the service is not well, "" when it is. It tells no secret and takes no command,
    so it asks nobody who they are; ConfigError for an address that others reach.
    """
    if not listen:
        yield ""
        return
    host, port = _address(listen)

    async def healthz(request: web.Request) -> web.Response:
        why = trouble()
        return web.Response(status=503 if why else 200, text=f"{why or 'ok'}\n", headers=_HEADERS)

    async def tell(request: web.Request) -> web.Response:
        headers = {**_HEADERS, "Content-Type": TEXT}
        return web.Response(body=(await metrics()).encode(), headers=headers)

    app = web.Application(client_max_size=1024)
    app.router.add_get("/healthz", healthz)
    app.router.add_get("/metrics", tell)
    runner = web.AppRunner(app, access_log=None, handle_signals=False)
    await runner.setup()
    try:
        await _listen(runner, host, port)
        shown = f"[{host}]" if ":" in host else host
        yield f"http://{shown}:{runner.addresses[0][1]}"
    finally:
        await runner.cleanup()


async def _listen(runner: web.AppRunner, host: str, port: int) -> None:
    try:
        await web.TCPSite(runner, host, port).start()
    except OSError as error:
        raise ConfigError(
            f"service.listen: cannot listen on {host}:{port}: {error.strerror}",
            hint="choose another port, or none with an empty text",
        ) from error


def _address(text: str) -> tuple[str, int]:
    host, _, port = text.rpartition(":")
    host = host.strip("[]").replace("localhost", "127.0.0.1")
    try:
        address, number = ip_address(host), int(port)
    except ValueError:
        raise ConfigError(
            f"service.listen: no address with a port: {text[:64]!r}", hint="127.0.0.1:9411"
        ) from None
    if not address.is_loopback or not 0 <= number < 65536:
        raise ConfigError(
            f"service.listen: {text[:64]} is no loopback address",
            hint="127.0.0.1:9411; let a reverse proxy carry it further",
        )
    return str(address), number
