"""nginx: with a variable and a map, and with Lua."""

from __future__ import annotations

import os
import re
import subprocess
from pathlib import Path

from certshelf.serve import nginx
from certshelf.serve.setup import Setup
from tests.support.rig import Rig
from tests.support.server_process import tool


def modules() -> Path:
    """nginx's folder of loadable modules."""
    done = subprocess.run([tool("nginx"), "-V"], capture_output=True, text=True, check=False)
    found = re.search(r"--modules-path=(\S+)", done.stderr)
    return Path(found[1]) if found else Path("/nonexistent")


def version() -> tuple[int, ...]:
    """Of the nginx that is installed; () without one."""
    if not tool("nginx"):
        return ()
    done = subprocess.run([tool("nginx"), "-v"], capture_output=True, text=True, check=False)
    found = re.search(r"nginx/([0-9.]+)", done.stderr)
    return tuple(map(int, found[1].split("."))) if found else ()


class PlainNginx(Rig):
    kind = "nginx"
    new_wildcard_needs_restart = True
    refuses_upper_case = True
    reads_the_key_apart = True

    @staticmethod
    def missing() -> str:
        return "" if tool("nginx") else "nginx"

    def reader_flags(self) -> list[str]:
        return ["--mirror", str(self.work / "mirror")]

    def text(self, setup: Setup) -> str:
        return nginx.plain(setup)

    def head(self) -> str:
        return ""

    def command(self, setup: Setup) -> list[str]:
        user = "user root;" if os.geteuid() == 0 else ""
        temps = "".join(
            f"{kind}_temp_path {self.work}/{kind};"
            for kind in ("client_body", "proxy", "fastcgi", "uwsgi", "scgi")
        )
        conf = self.work / "nginx.conf"
        conf.write_text(
            f"{self.head()}{user} worker_processes 1; daemon off; pid {self.work}/nginx.pid;"
            f"error_log {self.work}/error.log info; events {{}}\n"
            f"http {{ access_log off; {temps}\n{self.text(setup)} }}"
        )
        return [tool("nginx"), "-p", str(self.work), "-c", str(conf), "-e", f"{self.work}/e.log"]

    def output(self) -> str:
        log = self.work / "error.log"
        return super().output() + (log.read_text()[-4000:] if log.exists() else "")


class CachedNginx(PlainNginx):
    """The same with the line that nginx 1.27.4 and later can have."""

    kind = "nginx-cache"
    reads_the_key_apart = False

    @staticmethod
    def missing() -> str:
        return "" if version() >= (1, 27, 4) else "nginx 1.27.4 or later"

    def text(self, setup: Setup) -> str:
        return nginx.plain(setup).replace("# ssl_certificate_cache", "ssl_certificate_cache")


class LuaNginx(PlainNginx):
    kind = "nginx-lua"
    new_wildcard_needs_restart = False
    refuses_upper_case = False
    reads_the_key_apart = False

    @staticmethod
    def missing() -> str:
        if not tool("nginx"):
            return "nginx"
        return "" if (modules() / "ngx_http_lua_module.so").exists() else "lua-nginx-module"

    def reader_flags(self) -> list[str]:
        http = f"unix:{self.work / 'http.sock'}"
        return ["--http", http, "--mirror", str(self.work / "mirror"), "--mirror-lazily"]

    def text(self, setup: Setup) -> str:
        return nginx.lua(setup)

    def head(self) -> str:
        names = ("ndk_http_module.so", "ngx_http_lua_module.so")
        return "".join(f"load_module {modules() / name};" for name in names)
