"""Every type of task, by its word: an allow list, so that nothing else can be run."""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType
from typing import Any

from certshelf.deploy.base import Task
from certshelf.deploy.deploy_to_shelf import DeployToShelf
from certshelf.deploy.export import Export
from certshelf.deploy.haproxy import Haproxy
from certshelf.deploy.nginx_reload import NginxReload
from certshelf.deploy.powershell import PowerShell
from certshelf.deploy.script import Script
from certshelf.deploy.service import Service
from certshelf.deploy.wait import Wait
from certshelf.deploy.webhook import Webhook
from certshelf.errors import ConfigError

_CLASSES: tuple[type[Task], ...] = (
    DeployToShelf,
    Export,
    Script,
    PowerShell,
    Webhook,
    Service,
    Haproxy,
    NginxReload,
    Wait,
)
TYPES: Mapping[str, type[Task]] = MappingProxyType({cls.kind: cls for cls in _CLASSES})
"""Word -> class."""


def parse_task(kind: str, settings: Mapping[str, Any]) -> Task:
    """The task of a type with its settings; ConfigError when either is not known."""
    cls = TYPES.get(kind)
    if cls is None:
        raise ConfigError(f"there is no task type {kind[:64]!r}", hint=f"one of {', '.join(TYPES)}")
    return cls.parse(settings)
