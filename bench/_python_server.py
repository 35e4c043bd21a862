"""A TLS server for the benches: one process, told on stdin what to serve, asked for its figures.

Run by the other scripts: `python _python_server.py KIND PATH`, the password on stdin.
KIND: static (PATH is one PEM file), preload (a folder of them, a context for each), shelf.
It prints one JSON line when it listens; each line on stdin is answered by a line of figures.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import ssl
import sys
import time
from pathlib import Path

STARTED = time.perf_counter()


async def answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    with contextlib.suppress(OSError, asyncio.IncompleteReadError):
        writer.write(b"!")
        await writer.drain()
    writer.close()


def context_of(pem: str) -> ssl.SSLContext:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    context.load_cert_chain(pem)
    context.options |= ssl.OP_NO_TICKET
    context.num_tickets = 0
    return context


def context_for(kind: str, folder: str, password: str) -> ssl.SSLContext:
    if kind == "static":
        context = context_of(folder)
    elif kind == "preload":
        contexts = {path.stem: context_of(str(path)) for path in Path(folder).glob("*.pem")}

        def switch(connection: ssl.SSLObject, sni: str | None, _: ssl.SSLContext) -> int | None:
            if sni not in contexts:
                return ssl.ALERT_DESCRIPTION_UNRECOGNIZED_NAME
            connection.context = contexts[sni]
            return None

        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.minimum_version = ssl.TLSVersion.TLSv1_2
        context.sni_callback = switch
    else:
        from certshelf import open_shelf
        from certshelf.serve.python import server_context

        context = server_context(open_shelf(folder, password=password), tickets=False)
    context.options |= ssl.OP_NO_TICKET
    context.num_tickets = 0
    return context


def figures() -> dict[str, float]:
    status = Path("/proc/self/status")
    resident = 0
    if status.exists():
        line = next(x for x in status.read_text().splitlines() if x.startswith("VmRSS"))
        resident = int(line.split()[1]) * 1024
    return {"cpu_s": time.process_time(), "resident_bytes": resident, "wall_s": time.perf_counter()}


async def main() -> None:
    kind, folder = sys.argv[1:3]
    context = context_for(kind, folder, sys.stdin.readline().rstrip("\n"))
    server = await asyncio.start_server(answer, "127.0.0.1", 0, ssl=context)
    port = server.sockets[0].getsockname()[1]
    ready = {"port": port, "pid": os.getpid(), "start_s": time.perf_counter() - STARTED}
    print(json.dumps({**ready, **figures()}), flush=True)
    loop = asyncio.get_running_loop()
    while await loop.run_in_executor(None, sys.stdin.readline):
        print(json.dumps(figures()), flush=True)
    os._exit(0)


if __name__ == "__main__":
    asyncio.run(main())
