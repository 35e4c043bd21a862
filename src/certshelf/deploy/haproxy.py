"""Task haproxy: load the certificate into a running HAProxy over its Runtime API, proved by it.

What is loaded so is not on HAProxy's disk: an export to the file that it starts with belongs to it.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar, Self

from certshelf.deploy.base import Context, Planned, Preview, Stale, TaskOutcome
from certshelf.deploy.settings import parse_settings, setting
from certshelf.errors import ConfigError, DeployError
from certshelf.serve.haproxy_api import RuntimeApi

_WORD = re.compile(r"[\x21-\x3a\x3c-\x7e]{1,1024}", re.ASCII)  # no space, no ";": one argument


@dataclass(frozen=True)
class Haproxy:
    """See deploy.base.Task."""

    kind: ClassVar[str] = "haproxy"

    socket: str = setting("The admin socket.")
    file: str = setting("The certificate's file as HAProxy names it (`show ssl cert`).")
    crt_list: str = setting("A crt-list to put it on when it is new there.", default="")

    @classmethod
    def parse(cls, settings: Mapping[str, Any]) -> Self:
        """See Task."""
        parsed = parse_settings(cls, settings)
        for text in filter(None, (parsed.file, parsed.crt_list)):
            if not _WORD.fullmatch(text) or text.startswith("<<"):
                raise ConfigError(f"haproxy: no name of a file in HAProxy: {text[:80]!r}")
        return parsed

    @property
    def target(self) -> str:
        """See Task."""
        return f"HAProxy {self.socket}"

    def run(self, context: Context) -> TaskOutcome:
        """See Task. Until HAProxy commits the new one, it serves the old one."""
        try:
            return TaskOutcome(self._load(context))
        except DeployError as error:
            log = f"{error}\n{error.output}".strip()
            return TaskOutcome(log, (Stale(self.target, self.file),), error)

    def preview(self, context: Context) -> Preview:
        """See Task."""
        context.need_key()
        api = RuntimeApi(Path(self.socket))
        if self.file not in api.certificates():
            notes = () if self.crt_list else (f"HAProxy knows no {self.file}: nobody would use it",)
            return Preview((Planned(self.target, self.file, "new"),), notes=notes)
        same = context.bundle and api.thumbprint(self.file) == context.bundle.thumbprint
        return Preview((Planned(self.target, self.file, "unchanged" if same else "replaced"),))

    def _load(self, context: Context) -> str:
        bundle, api = context.issued(), RuntimeApi(Path(self.socket))
        context.left()
        is_new = self.file not in api.certificates()
        if not is_new and api.thumbprint(self.file) == bundle.thumbprint:
            said = f"{self.file}: unchanged\n"
        else:
            api.load(self.file, bundle.to_pem(), is_new)
            said = f"{self.file}: {'new' if is_new else 'replaced'}\n"
        if self.crt_list and self.file not in api.listed(self.crt_list):
            for host in context.hosts:
                api.list(self.crt_list, self.file, host.ascii)
        shown = api.thumbprint(self.file)
        if shown != bundle.thumbprint:
            raise DeployError(f"HAProxy holds another certificate in {self.file}", output=shown)
        if not api.is_used(self.file):
            raise DeployError(
                f"HAProxy has loaded {self.file}, and no listener uses it",
                hint="compare `show ssl cert` with the setting file, or give it a crt_list",
            )
        return said
