"""Telling systemd how the service is: sd_notify in a few lines."""

from __future__ import annotations

import socket
from collections.abc import Mapping


def notify(environ: Mapping[str, str], state: str) -> bool:
    """Send `READY=1`, `STOPPING=1` or `STATUS=...` when a service manager listens; whether sent.

    Source: systemd, sd_notify(3).
    """
    address = environ.get("NOTIFY_SOCKET", "")
    family = getattr(socket, "AF_UNIX", None)
    if family is None or not address.startswith(("/", "@")):
        return False
    with socket.socket(family, socket.SOCK_DGRAM) as channel:
        try:
            channel.sendto(state.encode(), address.replace("@", "\0", 1))
        except OSError:
            return False
    return True
