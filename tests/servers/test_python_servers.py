"""Python's own servers on the shelf: one story for each, until the shelf is gone."""

from __future__ import annotations

import asyncio
import contextlib
import hashlib
import http.server
import socket
import ssl
import sys
import threading
from collections.abc import Awaitable, Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
from cryptography.hazmat.primitives.serialization import Encoding

from certshelf.bundle.keys import generate
from certshelf.bundle.model import Bundle
from certshelf.secret import generate_password
from certshelf.serve.python import load_bundle, server_context
from certshelf.shelf.shelf import Shelf
from certshelf.store.folder import FolderStore
from tests.support.bundles import CA, make_bundle
from tests.support.ports import free_port
from tests.support.server_process import Process
from tests.support.tls_probe import Load, wait_until

pytestmark = pytest.mark.slow

CA_PEM = CA.public_bytes(Encoding.PEM).decode()
PASSWORD = generate_password()
Serve = Callable[[asyncio.Event, "asyncio.Future[int]"], Awaitable[None]]


def with_alpn(context: ssl.SSLContext) -> None:
    context.set_alpn_protocols(["h2", "http/1.1"])


async def application(scope: dict[str, Any], receive: Any, send: Any) -> None:
    """The smallest ASGI application."""
    if scope["type"] == "http":
        await send({"type": "http.response.start", "status": 200, "headers": []})
        await send({"type": "http.response.body", "body": b"hello\n"})


@contextmanager
def in_a_loop(
    serve: Callable[[asyncio.Event, asyncio.Future[int]], Awaitable[None]],
) -> Iterator[int]:
    """Run a server coroutine in a thread of its own; yields its port."""
    loop = asyncio.new_event_loop()
    stop = asyncio.Event()
    ready: asyncio.Future[int] = loop.create_future()
    known = threading.Event()
    ready.add_done_callback(lambda _: known.set())
    thread = threading.Thread(target=lambda: loop.run_until_complete(serve(stop, ready)))
    thread.start()
    try:
        assert known.wait(20)
        yield ready.result()
    finally:
        loop.call_soon_threadsafe(stop.set)
        thread.join(20)
        loop.close()


@contextmanager
def asyncio_server(context: ssl.SSLContext) -> Iterator[int]:
    async def answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with contextlib.suppress(OSError, asyncio.IncompleteReadError):
            while True:
                await reader.readuntil(b"\r\n\r\n")
                writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: 6\r\n\r\nhello\n")
                await writer.drain()

    async def serve(stop: asyncio.Event, ready: asyncio.Future[int]) -> None:
        server = await asyncio.start_server(answer, "127.0.0.1", 0, ssl=context)
        ready.set_result(server.sockets[0].getsockname()[1])
        await stop.wait()
        server.close()

    with in_a_loop(serve) as port:
        yield port


@contextmanager
def http_server(context: ssl.SSLContext) -> Iterator[int]:
    class Handler(http.server.BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def do_GET(self) -> None:
            self.send_response(200)
            self.send_header("Content-Length", "6")
            self.end_headers()
            self.wfile.write(b"hello\n")

        def log_message(self, format: str, *args: object) -> None:
            pass

    class Server(http.server.ThreadingHTTPServer):
        def handle_error(self, request: object, client_address: object) -> None:
            pass

        def finish_request(self, request: Any, client_address: Any) -> None:
            with context.wrap_socket(request, server_side=True) as secured:
                super().finish_request(secured, client_address)

    server = Server(("127.0.0.1", 0), Handler)
    server.daemon_threads = True
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    try:
        yield server.server_address[1]
    finally:
        server.shutdown()
        server.server_close()
        thread.join(20)


@contextmanager
def uvicorn_server(context: ssl.SSLContext) -> Iterator[int]:
    import uvicorn

    config = uvicorn.Config(application, log_level="critical", lifespan="off")
    config.load()
    config.ssl = context
    server = uvicorn.Server(config)
    listener = socket.create_server(("127.0.0.1", 0))
    thread = threading.Thread(target=server.run, args=([listener],))
    thread.start()
    try:
        yield listener.getsockname()[1]
    finally:
        server.should_exit = True
        thread.join(20)
        listener.close()


@contextmanager
def hypercorn_server(context: ssl.SSLContext) -> Iterator[int]:
    hypercorn = pytest.importorskip("hypercorn.config")
    from hypercorn.asyncio import serve as hypercorn_serve

    listener = socket.create_server(("127.0.0.1", 0))
    port_number = listener.getsockname()[1]

    class Config(hypercorn.Config):  # type: ignore[misc,name-defined]
        ssl_enabled = True

        def create_ssl_context(self) -> ssl.SSLContext:
            return context

    config = Config()
    config.bind = [f"fd://{listener.detach()}"]  # it closes it: two owners would close it twice
    config.errorlog = None

    async def serve(stop: asyncio.Event, ready: asyncio.Future[int]) -> None:
        ready.set_result(port_number)
        await hypercorn_serve(application, config, shutdown_trigger=stop.wait)  # type: ignore[arg-type]

    with in_a_loop(serve) as port:
        yield port


@contextmanager
def aiohttp_server(context: ssl.SSLContext) -> Iterator[int]:
    from aiohttp import web

    async def hello(request: web.Request) -> web.Response:
        return web.Response(text="hello\n")

    async def serve(stop: asyncio.Event, ready: asyncio.Future[int]) -> None:
        app = web.Application()
        app.router.add_get("/", hello)
        runner = web.AppRunner(app)
        await runner.setup()
        listener = socket.create_server(("127.0.0.1", 0))
        await web.SockSite(runner, listener, ssl_context=context).start()
        ready.set_result(listener.getsockname()[1])
        await stop.wait()
        await runner.cleanup()

    with in_a_loop(serve) as port:
        yield port


@contextmanager
def flask_server(context: ssl.SSLContext) -> Iterator[int]:
    """The server behind Flask's app.run(ssl_context=...)."""
    serving = pytest.importorskip("werkzeug.serving")

    def hello(environ: object, start_response: Any) -> list[bytes]:
        start_response("200 OK", [("Content-Length", "6")])
        return [b"hello\n"]

    class Handler(serving.WSGIRequestHandler):  # type: ignore[misc,name-defined]
        protocol_version = "HTTP/1.1"

        def log(self, *_: object) -> None:
            pass

    words = {"threaded": True, "ssl_context": context, "request_handler": Handler}
    server = serving.make_server("127.0.0.1", 0, hello, **words)
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    try:
        yield int(server.server_port)
    finally:
        server.shutdown()
        server.server_close()
        thread.join(20)


GUNICORN = """
from functools import cache
from pathlib import Path
from certshelf import Secret, open_shelf
from certshelf.resolve.disk import DiskCache
from certshelf.resolve.resolver import Resolver
from certshelf.serve.python import server_context

bind = "127.0.0.1:{port}"
worker_class = "{worker}"
workers = 2
keepalive = 30
certfile = __file__

@cache
def context():
    shelf = open_shelf({folder!r}, password=Secret({password!r}))
    return server_context(Resolver(shelf, disk=DiskCache(Path("cache"))).start())

def ssl_context(conf, default_ssl_context_factory):
    return context()
"""
APPLICATIONS = """
def wsgi(environ, start_response):
    start_response("200 OK", [("Content-Length", "6")])
    return [b"hello\\n"]

async def asgi(scope, receive, send):
    if scope["type"] == "http":
        headers = [(b"content-length", b"6")]
        await send({"type": "http.response.start", "status": 200, "headers": headers})
        await send({"type": "http.response.body", "body": b"hello\\n"})
"""


@contextmanager
def gunicorn(shelf: Shelf, worker: str) -> Iterator[int]:
    pytest.importorskip("gunicorn")
    folder = folder_of(shelf)
    work = folder.parent / worker
    work.mkdir()
    words = {"worker": worker, "folder": str(folder), "password": PASSWORD.reveal()}
    (work / "gunicorn.conf.py").write_text(GUNICORN.format(port=(port := free_port()), **words))
    (work / "applications.py").write_text(APPLICATIONS)
    application = "applications:asgi" if worker == "asgi" else "applications:wsgi"
    process = Process([sys.executable, "-m", "gunicorn", application], work / "log", cwd=work)
    try:
        process.wait_port(port)
        yield port
    finally:
        process.stop()


SERVERS = [
    asyncio_server,
    http_server,
    uvicorn_server,
    hypercorn_server,
    aiohttp_server,
    flask_server,
]
each_server = pytest.mark.parametrize("server", SERVERS, ids=lambda s: s.__name__)


@pytest.fixture
def shelf(tmp_path: Path) -> Shelf:
    (tmp_path / "shelf").mkdir()
    return Shelf(FolderStore(tmp_path / "shelf"), PASSWORD, owner="manager")


def client(**more: Any) -> ssl.SSLContext:
    return ssl.create_default_context(cadata=CA_PEM, **more)


def connect(port: int, sni: str, context: ssl.SSLContext | None = None) -> ssl.SSLSocket:
    raw = socket.create_connection(("127.0.0.1", port), timeout=20)
    try:
        return (context or client()).wrap_socket(raw, server_hostname=sni)
    except BaseException:
        raw.close()
        raise


def served(port: int, sni: str) -> bytes | None:
    with connect(port, sni) as connection:
        return connection.getpeercert(binary_form=True)


def wait_served(port: int, sni: str, bundle: Bundle) -> bool:
    """Whether it is served soon: the watch of the shelf is another thread of this process."""
    return wait_until(lambda: served(port, sni) == bundle.leaf_der, 60.0)


def ask(connection: ssl.SSLSocket, host: str) -> bytes:
    connection.sendall(f"GET / HTTP/1.1\r\nHost: {host}\r\n\r\n".encode())
    answer = b""
    while b"hello\n" not in answer:
        part = connection.recv(4096)
        assert part, f"closed after {answer!r}"
        answer += part
    return answer


def folder_of(shelf: Shelf) -> Path:
    return Path(shelf.store.url.removeprefix("file://"))


def is_copied(shelf: Shelf, cache: Path, names: int) -> bool:
    """Whether the disk cache of several processes holds what lies on the shelf."""
    copies = list(cache.glob("*.pfx"))
    same = [c.read_bytes() == (folder_of(shelf) / c.name).read_bytes() for c in copies]
    return len(same) == names and all(same)


def tell_the_story(
    shelf: Shelf,
    port: int,
    bundles: dict[str, Bundle],
    *,
    keeps_alive: bool = True,
    cache: Path | None = None,
) -> None:
    """Many names, a renewal under load, an open connection, a late and an unknown name, garbage,
    and at last no shelf at all. cache: of a server with several processes."""
    for sni, bundle in bundles.items():
        assert served(port, sni) == bundle.leaf_der
    with connect(port, "www.a.test") as kept:
        if keeps_alive:
            assert b"200" in ask(kept, "www.a.test")
        with Load(port, "www.a.test") as load, Load(port, "x.b.test") as other:
            for _ in range(3):
                shelf.publish(renewed := make_bundle("www.a.test"))
                assert wait_served(port, "www.a.test", renewed)
            assert load.saw(hashlib.sha256(renewed.leaf_der).hexdigest())
        assert not load.failures | other.failures
        assert b"200" in ask(kept, "www.a.test")
    bundles["www.a.test"] = renewed
    bundles["late.test"] = make_bundle("late.test")
    shelf.publish(bundles["late.test"])
    assert served(port, "late.test") == bundles["late.test"].leaf_der
    with pytest.raises((ssl.SSLError, OSError)):
        connect(port, "unknown.test")
    if cache is not None:
        assert wait_until(lambda: is_copied(shelf, cache, len(bundles)))
    folder = folder_of(shelf)
    (folder / "www.a.test.pfx").write_bytes(b"garbage")
    assert served(port, "www.a.test") == renewed.leaf_der
    folder.rename(folder.with_name("away"))
    for _ in range(10):
        for sni, bundle in bundles.items():
            assert served(port, sni) == bundle.leaf_der


@pytest.fixture
def bundles(shelf: Shelf) -> dict[str, Bundle]:
    """What lies on the shelf from the start, by a name that it serves."""
    bundles = {
        "www.a.test": make_bundle("www.a.test", key=generate("rsa-2048")),
        "x.b.test": make_bundle("*.b.test"),
        "xn--bcher-kva.test": make_bundle("bücher.test", key=generate("ecdsa-p384")),
    }
    for bundle in bundles.values():
        shelf.publish(bundle)
    return bundles


@each_server
def test_every_name_is_served_come_what_may(
    shelf: Shelf, bundles: dict[str, Bundle], server: Any
) -> None:
    with server(server_context(shelf)) as port:
        tell_the_story(shelf, port, bundles, keeps_alive=server is not flask_server)


@pytest.mark.parametrize("worker", ["gthread", "asgi"])
def test_gunicorn_serves_every_name_come_what_may(
    shelf: Shelf, bundles: dict[str, Bundle], worker: str
) -> None:
    with gunicorn(shelf, worker) as port:
        cache = folder_of(shelf).parent / worker / "cache"
        tell_the_story(shelf, port, bundles, cache=cache)


def test_h2_through_hypercorn_needs_configure(shelf: Shelf) -> None:
    shelf.publish(make_bundle("a.test"))
    offered = client()
    with_alpn(offered)
    with (
        hypercorn_server(server_context(shelf, configure=with_alpn)) as port,
        connect(port, "a.test", offered) as connection,
    ):
        assert connection.selected_alpn_protocol() == "h2"
        connection.sendall(b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n" + b"\0\0\0\4\0\0\0\0\0")
        assert connection.recv(9)[3] == 4  # a SETTINGS frame (RFC 9113 section 6.5)


@each_server
def test_client_certificates_minimum_version_and_ciphers(shelf: Shelf, server: Any) -> None:
    def configure(context: ssl.SSLContext) -> None:
        context.verify_mode = ssl.CERT_REQUIRED
        context.load_verify_locations(cadata=CA_PEM)
        context.maximum_version = ssl.TLSVersion.TLSv1_2
        context.set_ciphers("ECDHE-ECDSA-AES256-GCM-SHA384")

    shelf.publish(make_bundle("a.test"))
    own = client()
    load_bundle(own, make_bundle("client.test", client=True))
    with server(server_context(shelf, configure=configure)) as port:
        with connect(port, "a.test", own) as connection:
            assert connection.version() == "TLSv1.2"
            cipher = connection.cipher()
            assert cipher is not None and cipher[0] == "ECDHE-ECDSA-AES256-GCM-SHA384"
            assert b"200" in ask(connection, "a.test")
        with pytest.raises((ssl.SSLError, OSError)), connect(port, "a.test") as connection:
            ask(connection, "a.test")
