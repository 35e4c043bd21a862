"""A process that requests one certificate and is killed or frozen at one step of the way.

    python -m tests.support.crashing_pipeline HOME NAME STEP before|after|freeze [LEASE_SECONDS]

before: before the step's deed. after: its deed is done, but not yet written down. freeze: it stops
(SIGSTOP) before the deed and goes on when somebody wakes it.
"""

from __future__ import annotations

import asyncio
import os
import signal
import sys
from datetime import timedelta
from pathlib import Path
from types import MappingProxyType

from certshelf.errors import CertshelfError
from certshelf.manage import pipeline, steps
from certshelf.manage.claims import leases
from certshelf.manage.engine import Engine
from certshelf.manage.manager import open_manager
from certshelf.manage.model import Step

FROZEN = 99


def main(home: str, name: str, step: str, when: str, lease_s: str = "120") -> int:
    do = steps.STEPS[Step(step)]

    async def dying(work: steps.Work) -> steps.Stepped:
        if when == "before":
            os.kill(os.getpid(), signal.SIGKILL)
        if when == "freeze":
            os.kill(os.getpid(), signal.SIGSTOP)
        stepped = await do(work)
        if when == "after":
            os.kill(os.getpid(), signal.SIGKILL)
        return stepped

    pipeline.STEPS = MappingProxyType({**steps.STEPS, Step(step): dying})  # type: ignore[misc]

    async def story() -> None:
        with open_manager(Path(home)) as manager:
            async with (
                Engine(manager, lease=timedelta(seconds=float(lease_s))) as engine,
                leases(engine) as held,
            ):
                await pipeline.request(engine, name, pipeline.Ask(), held)

    try:
        asyncio.run(story())
    except CertshelfError as error:
        print(f"{type(error).__name__}: {error}")
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main(*sys.argv[1:]))
