"""Apache reads certificates when it starts and at a graceful reload: the one server that needs it.

The reader writes one line per name of the mirror, `Use Certshelf NAME ALIAS FILE`, and runs the
administrator's reload command after changes, at most once per pause.
Sources: httpd.apache.org, mod_macro; `SSLCertificateFile` (key and chain in one file); name-based
virtual hosts: the first that matches wins.
"""

from __future__ import annotations

import shlex
import subprocess
from collections.abc import Callable
from pathlib import Path

from certshelf.errors import ConfigError
from certshelf.names import HostName
from certshelf.serve.log import ReaderLog
from certshelf.serve.mirror import PLACEHOLDER_FILE
from certshelf.serve.mirror_files import MirrorFolder
from certshelf.serve.pinned import Pinned
from certshelf.serve.setup import Setup, split_address

PAUSE_SECONDS = 10.0
HOSTS_FILE = "apache.conf"
_COMMAND_SECONDS = 60.0


class ApacheReloader:
    """The file of names, and the graceful reload."""

    def __init__(
        self, command: str, folder: MirrorFolder, held: Callable[[], set[str]], log: ReaderLog
    ) -> None:
        self._command = shlex.split(command)
        if not self._command:
            raise ConfigError("the command that reloads Apache is empty")
        self._folder = folder
        self._pinned = Pinned(folder, "apache")
        self._held = held
        self._log = log

    def prepare(self) -> None:
        """Write the file of names for an Apache that starts now."""
        self._pinned.prepare()
        try:
            self._folder.write(HOSTS_FILE, self.text().encode("ascii"))
        except OSError as error:
            raise ConfigError(f"cannot write {HOSTS_FILE}: {error.strerror}") from error

    def reload(self) -> bool:
        """Write the file and run the command; False when that failed and is to be tried again."""
        try:
            self._folder.write(HOSTS_FILE, self.text().encode("ascii"))
            done = subprocess.run(
                self._command,
                stdin=subprocess.DEVNULL,
                capture_output=True,
                timeout=_COMMAND_SECONDS,
                check=False,
            )
        except (OSError, subprocess.TimeoutExpired) as error:
            self._log.event("apache-failed", reason=str(error))
            return False
        if done.returncode != 0:
            said = (done.stderr or done.stdout).decode("utf-8", "replace").strip()[-500:]
            self._log.event("apache-failed", reason=f"exit status {done.returncode}", said=said)
            return False
        self._log.event("apache-reloaded", names=len(self._held()))
        return True

    def text(self) -> str:
        """Exact names first, so that they win over wildcards; then the longest wildcards."""
        paths = self._pinned.paths(self._held())
        hosts = [HostName.parse(name) for name in paths]
        hosts.sort(key=lambda host: (host.is_wildcard, -host.ascii.count("."), host.ascii))
        return "".join(f"{_line(host, paths[host.ascii])}\n" for host in hosts)


def _line(host: HostName, file: Path) -> str:
    server_name = host.ascii.replace("*.", "wildcard-of.", 1)  # ServerName takes no `*`
    return f"Use Certshelf {server_name} {host.ascii} {file}"


def macro(setup: Setup) -> str:
    """The macro that each line of the reader's file uses, and where that file lies."""
    host, port = split_address(setup.listen)
    where = f"[{host}]" if ":" in host else host or "*"
    listen = f"{where}:{port}" if host else str(port)
    return f"""\
# Needs mod_ssl, mod_macro, mod_proxy, mod_proxy_http. The reader runs with:
#   --mirror {setup.mirror} --apache-reload "systemctl reload apache2"
# That reload is graceful, and batched per 10 seconds: then Apache serves what is new or replaced.
# (`apache2ctl -k graceful` would start an Apache that is stopped; elsewhere the unit is httpd.)
Listen {listen}
<Macro Certshelf $name $alias $file>
  <VirtualHost {where}:{port}>
    ServerName $name
    ServerAlias $alias
    SSLEngine on
    SSLCertificateFile $file
    ProxyPass / http://{setup.upstream}/
    ProxyPassReverse / http://{setup.upstream}/
  </VirtualHost>
</Macro>
# First of all, for a client without a name or with one that the shelf does not have: no service.
<VirtualHost {where}:{port}>
  ServerName certshelf.invalid
  SSLEngine on
  SSLCertificateFile {setup.mirror}/{PLACEHOLDER_FILE}
  <Location />
    Require all denied
  </Location>
</VirtualHost>
IncludeOptional {setup.mirror}/{HOSTS_FILE}
"""
