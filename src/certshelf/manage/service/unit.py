"""`certshelf run` as a service of systemd: a hardened unit."""

from __future__ import annotations

import re
from pathlib import Path

from certshelf.errors import ConfigError
from certshelf.manage.settings import Settings
from certshelf.manage.shelves import local_folder

UNIT_PATH = Path("/etc/systemd/system/certshelf.service")
_USER = re.compile(r"[a-z_][a-z0-9_-]{0,30}", re.ASCII)

_UNIT = """\
[Unit]
Description=certshelf: keeps a shelf of certificates fresh
Wants=network-online.target
After=network-online.target

[Service]
Type=notify
NotifyAccess=main
ExecStart={python} -m certshelf --home {home} run
User={user}
Restart=on-failure
RestartSec=10
TimeoutStopSec={stop_seconds}
UMask=0077
{credential}
ReadWritePaths={writable}
ProtectSystem=strict
ProtectHome={protect_home}
PrivateTmp=yes
PrivateDevices=yes
PrivateUsers={private_users}
ProtectClock=yes
ProtectControlGroups=yes
ProtectHostname=yes
ProtectKernelLogs=yes
ProtectKernelModules=yes
ProtectKernelTunables=yes
ProtectProc=invisible
NoNewPrivileges=yes
RestrictNamespaces=yes
RestrictRealtime=yes
RestrictSUIDSGID=yes
RestrictAddressFamilies=AF_INET AF_INET6 AF_UNIX
LockPersonality=yes
SystemCallArchitectures=native
SystemCallFilter=@system-service
SystemCallFilter=~@privileged @resources
# for http-01 on port 80 and tls-alpn-01 on port 443; empty both when another server answers
CapabilityBoundingSet=CAP_NET_BIND_SERVICE
AmbientCapabilities=CAP_NET_BIND_SERVICE

[Install]
WantedBy=multi-user.target
"""
_CREDENTIAL = """\
# the key file out of the home, sealed to this machine:
#   systemd-creds encrypt --name=certshelf-keys keys.json /etc/certshelf/keys.cred
#LoadCredentialEncrypted=certshelf-keys:/etc/certshelf/keys.cred"""


def unit(home: Path, python: str, user: str, writable: tuple[Path, ...], drain_seconds: int) -> str:
    """A systemd unit. writable: what it may write besides its home. drain_seconds: for a stop.

    ConfigError for what a unit cannot hold. Source: systemd.exec(5), systemd.service(5).
    """
    if not _USER.fullmatch(user):
        raise ConfigError(f"no user name: {user[:40]!r}", hint="--user certshelf")
    folders = (home.absolute(), *(path.absolute() for path in writable))
    in_home = any(str(path).startswith(("/home/", "/root", "/run/user")) for path in folders)
    in_home = in_home or python.startswith(("/home/", "/root"))
    return _UNIT.format(
        python=_word(python),
        home=_word(str(home.absolute())),
        user=user,
        stop_seconds=drain_seconds + 30,
        credential=_CREDENTIAL,
        writable=" ".join(_word(str(path)) for path in dict.fromkeys(folders)),
        protect_home="no" if in_home else "yes",
        private_users="no",  # capabilities of a private user namespace bind no low port
    )


def writable(settings: Settings) -> tuple[Path, ...]:
    """The folders that the service writes to besides its home: a shelf on this machine."""
    folder = local_folder(settings.shelf.store) if settings.shelf.store else None
    return (folder,) if folder else ()


def write_unit(text: str, path: Path = UNIT_PATH) -> Path:
    """Write the unit, whole or not at all; ConfigError when it cannot be written."""
    temp = path.with_name(f".{path.name}.tmp")
    try:
        temp.write_text(text, encoding="utf-8")
        temp.chmod(0o644)
        temp.replace(path)
    except OSError as error:
        temp.unlink(missing_ok=True)
        raise ConfigError(
            f"cannot write {path}: {error.strerror}", hint="as root, or print it and copy it"
        ) from error
    return path


def _word(text: str) -> str:
    """One word of a unit: quoted, its specifiers and variables taken literally."""
    if not text.isprintable():
        raise ConfigError(f"no path for a unit: {text[:80]!r}")
    escaped = text.replace("\\", "\\\\").replace('"', '\\"').replace("%", "%%").replace("$", "$$")
    return f'"{escaped}"' if re.search(r"[^\w./@%:+-]", text) else escaped
