"""Farm mode: each server answers http-01 by the rule we print, and echoes nothing else."""

from __future__ import annotations

import contextlib
import shutil
import socket
import sysconfig
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from certshelf.farm import Kind
from certshelf.issue.solve.snippets import http01_rule
from tests.support.ports import free_port
from tests.support.processes import Process, listens

pytestmark = pytest.mark.slow
THUMBPRINT = "NzbLsXh8uDCcd-6MNwXF4W_7noWXFZAfHkxZsRGC9Xs"
TOKEN = "evaGxfADs6pSRb2LAv9IZf17Dt3juxGJ-PCt92wr-oA"
BASE = "/.well-known/acme-challenge/"
HOSTILE = [
    "<script>alert(1)</script>aaaaaaaaaaaa",
    "%3Cscript%3Ealert(1)%3C/script%3Eaaaa",
    TOKEN + "%0d%0aSet-Cookie:%20a=b",
    TOKEN + "%0a",
    TOKEN + "%00",
    TOKEN + "/",
    TOKEN + "/../../" + TOKEN,
    "x" * 19,
    "x" * 129,
    "%{env:PATH}aaaaaaaaaaaaaaaaaaa",
    "{env.PATH}aaaaaaaaaaaaaaaaaaaaa",
    "",
]


def get(port: int, path: str) -> tuple[int, dict[str, str], bytes]:
    """One raw GET, so that no client tidies the path up."""
    with socket.create_connection(("127.0.0.1", port), timeout=5) as connection:
        request = f"GET {path} HTTP/1.1\r\nHost: a.test\r\nConnection: close\r\n\r\n"
        connection.sendall(request.encode())
        data = b""
        while part := connection.recv(65536):
            data += part
    head, _, body = data.partition(b"\r\n\r\n")
    status, *lines = head.decode("latin-1").split("\r\n")
    headers = dict(line.lower().split(": ", 1) for line in lines if ": " in line)
    if headers.get("transfer-encoding") == "chunked":
        size, _, rest = body.partition(b"\r\n")
        body = rest[: int(size, 16)]
    return int(status.split(" ")[1]), headers, body


def binary(name: str) -> str:
    found = shutil.which(name) or shutil.which(name, path=sysconfig.get_path("scripts"))
    found = found or shutil.which(name, path="/usr/sbin:/usr/local/sbin")
    if found is None:
        pytest.skip(f"{name} is not installed")
    return found


def indented(text: str, by: int) -> str:
    return "".join(" " * by + line for line in text.splitlines(keepends=True))


def nginx(folder: Path, port: int) -> list[str]:
    rule = http01_rule(Kind.NGINX, THUMBPRINT)
    (folder / "nginx.conf").write_text(
        f"daemon off; pid {folder}/pid; error_log {folder}/error.log; events {{}}\n"
        f"http {{ access_log off; client_body_temp_path {folder}/b; proxy_temp_path {folder}/p;"
        f" fastcgi_temp_path {folder}/f; uwsgi_temp_path {folder}/u; scgi_temp_path {folder}/s;\n"
        f"server {{ listen 127.0.0.1:{port};\n{rule}\nlocation / {{ return 404; }} }} }}\n"
    )
    return [binary("nginx"), "-c", str(folder / "nginx.conf"), "-e", str(folder / "error.log")]


def haproxy(folder: Path, port: int) -> list[str]:
    rule = http01_rule(Kind.HAPROXY, THUMBPRINT)
    (folder / "haproxy.cfg").write_text(
        "defaults\n    mode http\n    timeout client 5s\n    timeout server 5s\n"
        f"    timeout connect 5s\nfrontend web\n    bind 127.0.0.1:{port}\n{rule}\n"
        "    http-request return status 404\n"
    )
    return [binary("haproxy"), "-f", str(folder / "haproxy.cfg")]


def apache(folder: Path, port: int) -> list[str]:
    modules = Path("/usr/lib/apache2/modules")
    program = binary("apache2")
    if not modules.is_dir():
        pytest.skip("Apache's modules are not where Debian has them")
    wanted = ("mpm_event", "authz_core", "rewrite", "headers", "alias", "env", "setenvif", "dir")
    loads = [f"LoadModule {m}_module {modules}/mod_{m}.so" for m in wanted]
    (folder / "web").mkdir()
    (folder / "apache.conf").write_text(
        "\n".join(loads) + f"\nServerRoot {folder}\nServerName a.test\nListen 127.0.0.1:{port}\n"
        f"PidFile {folder}/pid\nErrorLog {folder}/error.log\nDocumentRoot {folder}/web\n"
        f"Mutex file:{folder} default\n"
        f"<VirtualHost 127.0.0.1:{port}>\n{http01_rule(Kind.APACHE, THUMBPRINT)}</VirtualHost>\n"
    )
    return [program, "-DFOREGROUND", "-f", str(folder / "apache.conf")]


def caddy(folder: Path, port: int) -> list[str]:
    rule = http01_rule(Kind.CADDY, THUMBPRINT)
    (folder / "Caddyfile").write_text(
        f"{{\n    admin off\n    auto_https off\n    storage file_system {folder}/storage\n}}\n"
        f"http://:{port} {{\n    bind 127.0.0.1\n{indented(rule, 4)}    respond 404\n}}\n"
    )
    return [binary("caddy"), "run", "--config", str(folder / "Caddyfile"), "--adapter", "caddyfile"]


def envoy(folder: Path, port: int) -> list[str]:
    manager = "envoy.extensions.filters.network.http_connection_manager.v3.HttpConnectionManager"
    router = "type.googleapis.com/envoy.extensions.filters.http.router.v3.Router"
    rule = indented(http01_rule(Kind.ENVOY, THUMBPRINT), 10)
    (folder / "envoy.yaml").write_text(f"""\
static_resources:
  listeners:
  - address: {{ socket_address: {{ address: 127.0.0.1, port_value: {port} }} }}
    filter_chains:
    - filters:
      - name: web
        typed_config:
          "@type": type.googleapis.com/{manager}
          stat_prefix: web
          route_config:
            virtual_hosts:
            - name: all
              domains: ["*"]
              routes: [{{ match: {{ prefix: / }}, direct_response: {{ status: 404 }} }}]
          http_filters:
{rule}
          - name: router
            typed_config: {{ "@type": {router} }}
""")
    argv = [binary("envoy"), "-c", str(folder / "envoy.yaml"), "--concurrency", "1"]
    return [*argv, "--use-dynamic-base-id", "--log-level", "warning"]


SERVERS = [nginx, haproxy, apache, caddy, envoy]


@pytest.fixture(scope="module", params=SERVERS, ids=lambda f: f.__name__)
def port(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[int]:
    server: Callable[[Path, int], list[str]] = request.param
    folder = tmp_path_factory.mktemp(server.__name__)
    number = free_port()
    with contextlib.ExitStack() as stack:
        process = Process(
            server(folder, number), folder / "server.log", env={"HOME": str(folder)}, cwd=folder
        )
        stack.callback(process.stop)
        process.ready(lambda: listens(number), server.__name__)
        yield number


def test_a_token_is_answered_with_the_thumbprint_as_plain_text(port: int) -> None:
    status, headers, body = get(port, BASE + TOKEN)
    assert (status, body) == (200, f"{TOKEN}.{THUMBPRINT}".encode())
    assert headers["content-type"].partition(";")[0] == "text/plain"
    assert headers["x-content-type-options"] == "nosniff"


@pytest.mark.parametrize("token", ["a" * 20, "_-" * 64], ids=["shortest", "longest"])
def test_the_shortest_and_the_longest_token_are_answered(port: int, token: str) -> None:
    assert get(port, BASE + token)[2] == f"{token}.{THUMBPRINT}".encode()


@pytest.mark.parametrize("token", HOSTILE)
def test_what_is_no_token_is_refused_and_not_echoed(port: int, token: str) -> None:
    status, headers, body = get(port, BASE + token)
    assert status in (400, 403, 404), (status, body)
    assert THUMBPRINT.encode() not in body
    assert "set-cookie" not in headers
    assert b"<script>" not in body


def test_other_paths_are_none_of_its_business(port: int) -> None:
    for path in ("/", "/x" + BASE + TOKEN, BASE + "x/" + TOKEN):
        assert THUMBPRINT.encode() not in get(port, path)[2]
