"""A proxy in front of a CA that adds a delay to each request: `_slow_ca.py URL CA_FILE CERT KEY`.

Prints its port. The CA writes its URLs from the Host header, so all requests go through here.
"""

from __future__ import annotations

import asyncio
import ssl
import sys

import aiohttp
from aiohttp import web

DELAY_S = 0.2


async def main(upstream: str, ca_file: str, certificate: str, key: str) -> None:
    trust = ssl.create_default_context(cafile=ca_file)
    connector = aiohttp.TCPConnector(ssl=trust, limit=0)
    async with aiohttp.ClientSession(connector=connector, auto_decompress=False) as session:

        async def pass_on(request: web.Request) -> web.Response:
            body = await request.read()
            await asyncio.sleep(DELAY_S)
            headers = {k: v for k, v in request.headers.items() if k in ("Content-Type", "Host")}
            url = upstream + request.path_qs
            async with session.request(
                request.method, url, data=body or None, headers=headers, allow_redirects=False
            ) as answer:
                kept = {
                    k: v
                    for k, v in answer.headers.items()
                    if k not in ("Content-Length", "Transfer-Encoding", "Connection", "Date")
                }
                return web.Response(status=answer.status, body=await answer.read(), headers=kept)

        app = web.Application()
        app.router.add_route("*", "/{path:.*}", pass_on)
        runner = web.AppRunner(app, access_log=None)
        await runner.setup()
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(certificate, key)
        await web.TCPSite(runner, "127.0.0.1", 0, ssl_context=context).start()
        print(runner.addresses[0][1], flush=True)
        await asyncio.Event().wait()


if __name__ == "__main__":
    asyncio.run(main(*sys.argv[1:]))
