"""Task wait: let some time pass, for what comes after it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, ClassVar, Self

from certshelf.deploy.base import Context, Preview, TaskOutcome
from certshelf.deploy.settings import parse_settings, setting
from certshelf.errors import ConfigError, DeployError


@dataclass(frozen=True)
class Wait:
    """See deploy.base.Task."""

    kind: ClassVar[str] = "wait"

    seconds: float = setting("How long, at most 3600; less than the task's timeout.")

    @classmethod
    def parse(cls, settings: Mapping[str, Any]) -> Self:
        """See Task."""
        parsed = parse_settings(cls, settings)
        if parsed.seconds > 3600:
            raise ConfigError("wait: seconds is at most 3600")
        return parsed

    @property
    def target(self) -> str:
        """See Task."""
        return f"{self.seconds:g} seconds"

    def run(self, context: Context) -> TaskOutcome:
        """See Task."""
        if self.seconds > context.left():
            raise DeployError(
                f"a wait of {self.seconds:g} s does not fit into the task's time",
                hint="task add --timeout gives it more",
            )
        context.clock.sleep(self.seconds)
        return TaskOutcome(f"{self.seconds:g} seconds passed")

    def preview(self, context: Context) -> Preview:
        """See Task."""
        return Preview(notes=(f"waits {self.seconds:g} seconds",))
