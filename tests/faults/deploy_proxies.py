"""Failures of the tasks haproxy and nginx-reload, on the real servers: see deploy_cases.

Both read a PEM file that an export writes before them, as an administrator sets it up. `copy` does
what scripts do: send the commands, or the signal, and look at no answer.
"""

from __future__ import annotations

import shutil
import signal
import socket
import subprocess
import tempfile
from collections.abc import Callable
from pathlib import Path

import pytest

from certshelf.bundle.model import Bundle
from certshelf.deploy.nginx_reload import served
from tests.faults.deploy_cases import FIRST, HANGS, HOSTS, Case, Farm
from tests.support.bundles import make_bundle
from tests.support.ports import free_port
from tests.support.server_process import Process, tool


class _Proxy:
    """A server that shows the certificate of `site.pem`, in a folder with a short path."""

    def __init__(self, farm: Farm, program: str, config: str) -> None:
        if not tool(program):
            pytest.skip(f"no {program} here")
        self.folder = Path(tempfile.mkdtemp(prefix="cs-"))  # a socket's path has at most 107 bytes
        farm.stack.callback(shutil.rmtree, self.folder, ignore_errors=True)
        self.port, self.farm = free_port(), farm
        (self.folder / "site.pem").write_bytes(make_bundle(*HOSTS).to_pem())
        (self.folder / "other.pem").write_bytes(make_bundle(*HOSTS).to_pem())
        self.config = self.folder / "proxy.conf"
        self.text = config.replace("FOLDER", str(self.folder)).replace("PORT", str(self.port))
        self.config.write_text(self.text)
        farm.task("export", {"to": str(self.folder), "name": "site"}, name="pem")
        self.known = ""
        self.start()
        farm.stack.callback(lambda: self.process.stop())

    @property
    def command(self) -> list[str]:
        raise NotImplementedError

    def start(self) -> None:
        self.process = Process(self.command, self.folder / "log")
        self.process.wait_port(self.port)

    def restart(self, text: str) -> None:
        self.process.stop()
        self.config.write_text(text)
        self.start()

    def holds(self) -> str:
        """What a client is shown; what one was shown last, when nobody answers."""
        try:
            self.known = served(f"127.0.0.1:{self.port}", FIRST, 2.0)
        except OSError:
            return self.known
        other = Bundle.from_pem((self.folder / "other.pem").read_bytes())
        return "foreign" if self.known == other.sha256 else self.known


# --- haproxy


class _Haproxy(_Proxy):
    CONFIG = (
        "global\n  stats socket FOLDER/admin mode 600 level admin\n"
        "defaults\n  mode http\n  timeout connect 5s\n  timeout client 5s\n  timeout server 5s\n"
        "frontend f\n  bind 127.0.0.1:PORT ssl crt FOLDER/site.pem\n"
        "  bind unix@FOLDER/other.sock ssl crt FOLDER/other.pem\n  http-request return status 200\n"
    )

    def __init__(self, farm: Farm, *, timeout: float = 20.0) -> None:
        super().__init__(farm, "haproxy", self.CONFIG)
        settings = {"socket": str(self.socket), "file": f"{self.folder}/site.pem"}
        farm.task("haproxy", settings, timeout_s=timeout)

    @property
    def socket(self) -> Path:
        return self.folder / "admin"

    @property
    def command(self) -> list[str]:
        return [tool("haproxy"), "-db", "-f", str(self.config)]

    def say(self, command: str) -> None:
        """What `socat` does in scripts: send a command, take what comes, and be content."""
        with socket.socket(socket.AF_UNIX) as connection:
            connection.settimeout(5)
            connection.connect(str(self.socket))
            connection.sendall(f"{command}\n".encode())
            while connection.recv(4096):
                continue

    def push(self, data: bytes) -> None:
        bundle = self.farm.opened(data)
        text = "\n".join(line for line in bundle.to_pem().decode().splitlines() if line)
        self.say(f"set ssl cert {self.folder}/site.pem <<\n{text}\n")
        self.say(f"commit ssl cert {self.folder}/site.pem")

    def case(self, break_: Callable[[], object], mend: Callable[[], object]) -> Case:
        stale = f"{self.folder}/site.pem on HAProxy {self.socket}"
        return Case(self.holds, break_, mend, (stale,), self.push)


def haproxys_socket_is_gone(farm: Farm) -> Case:
    proxy = _Haproxy(farm)
    away = proxy.folder / "away"
    return proxy.case(lambda: proxy.socket.rename(away), lambda: away.rename(proxy.socket))


def haproxys_socket_is_for_looking_only(farm: Farm) -> Case:
    proxy = _Haproxy(farm)
    looking = proxy.text.replace("level admin", "level operator")
    return proxy.case(lambda: proxy.restart(looking), lambda: proxy.restart(proxy.text))


def somebody_elses_change_is_open_in_haproxy(farm: Farm) -> Case:
    """It takes one change at a time, and answers others with a text, as it does everything."""
    proxy = _Haproxy(farm)
    other = f"{proxy.folder}/other.pem"

    def break_() -> None:
        text = (proxy.folder / "other.pem").read_text().strip()
        proxy.say(f"set ssl cert {other} <<\n{text}\n")

    return proxy.case(break_, lambda: proxy.say(f"abort ssl cert {other}"))


def haproxy_serves_another_file(farm: Farm) -> Case:
    """It was started anew with another file; what the setting names it would load, for nobody."""
    proxy = _Haproxy(farm)
    kept = proxy.folder / "kept.pem"

    def break_() -> None:
        shutil.copyfile(proxy.folder / "site.pem", kept)
        proxy.restart(proxy.text.replace("/site.pem", "/kept.pem"))

    return proxy.case(break_, lambda: proxy.restart(proxy.text))


def haproxy_is_down(farm: Farm) -> Case:
    proxy = _Haproxy(farm)
    return proxy.case(lambda: proxy.process.stop(), proxy.start)


def haproxy_hangs(farm: Farm) -> Case:
    proxy = _Haproxy(farm)
    case = proxy.case(
        lambda: proxy.process.send(signal.SIGSTOP), lambda: proxy.process.send(signal.SIGCONT)
    )
    farm.stack.callback(proxy.process.send, signal.SIGCONT)
    case.copy, case.not_compared = None, HANGS
    return case


# --- nginx


class _Nginx(_Proxy):
    CONFIG = (
        "worker_processes 1; daemon off; pid FOLDER/nginx.pid; error_log FOLDER/error.log;\n"
        "events {}\nhttp { access_log off; "
        + "".join(
            f"{kind}_temp_path FOLDER/{kind};"
            for kind in ("client_body", "proxy", "fastcgi", "uwsgi", "scgi")
        )
        + "\nserver { listen 127.0.0.1:PORT ssl;\n"
        "ssl_certificate FOLDER/site.pem; ssl_certificate_key FOLDER/site.pem; } }\n"
    )

    def __init__(self, farm: Farm, *, timeout: float = 20.0) -> None:
        super().__init__(farm, "nginx", self.CONFIG)
        settings = {"program": tool("nginx"), "prefix": str(self.folder)}
        settings |= {"config": str(self.config), "verify": f"127.0.0.1:{self.port}"}
        farm.task("nginx-reload", settings, timeout_s=timeout)

    @property
    def command(self) -> list[str]:
        return [tool("nginx"), "-p", str(self.folder), "-c", str(self.config)]

    def case(self, break_: Callable[[], object], mend: Callable[[], object]) -> Case:
        stale = f"what it has loaded on nginx {self.config}"

        def signal_and_forget(_: bytes) -> None:
            subprocess.run([*self.command, "-s", "reload"], capture_output=True, check=False)

        return Case(self.holds, break_, mend, (stale,), signal_and_forget)


def nginx_refuses_its_configuration(farm: Farm) -> Case:
    """Somebody left a mistake in it: the test before the reload says so."""
    proxy = _Nginx(farm)
    return proxy.case(
        lambda: proxy.config.write_text(proxy.text + "nonsense;"),
        lambda: proxy.config.write_text(proxy.text),
    )


def nginxs_process_is_not_known(farm: Farm) -> Case:
    """The file with its process id is gone, so the signal has nobody to go to."""
    proxy = _Nginx(farm)
    file, away = proxy.folder / "nginx.pid", proxy.folder / "away"
    return proxy.case(lambda: file.rename(away), lambda: away.rename(file))


def nginx_shows_another_certificate(farm: Farm) -> Case:
    """It reloads without a word, and its configuration names another file."""
    proxy = _Nginx(farm, timeout=6.0)
    other = proxy.text.replace("/site.pem", "/other.pem")
    return proxy.case(
        lambda: proxy.config.write_text(other), lambda: proxy.config.write_text(proxy.text)
    )


def nginx_is_down(farm: Farm) -> Case:
    proxy = _Nginx(farm)
    return proxy.case(lambda: proxy.process.stop(), proxy.start)


def nginx_ignores_the_signal(farm: Farm) -> Case:
    """Its first process is stopped: `nginx -s reload` ends well, and nothing happens."""
    proxy = _Nginx(farm, timeout=6.0)
    case = proxy.case(
        lambda: proxy.process.send(signal.SIGSTOP), lambda: proxy.process.send(signal.SIGCONT)
    )
    farm.stack.callback(proxy.process.send, signal.SIGCONT)
    return case


PROXY_CASES: tuple[Callable[[Farm], Case], ...] = (
    haproxys_socket_is_gone,
    haproxys_socket_is_for_looking_only,
    somebody_elses_change_is_open_in_haproxy,
    haproxy_serves_another_file,
    haproxy_is_down,
    haproxy_hangs,
    nginx_refuses_its_configuration,
    nginxs_process_is_not_known,
    nginx_shows_another_certificate,
    nginx_is_down,
    nginx_ignores_the_signal,
)
