"""What all orders of one process share: the records' thread, issuers, solvers, keys and holds."""

from __future__ import annotations

import asyncio
import os
import random
import socket
from collections.abc import Awaitable, Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import AsyncExitStack
from datetime import datetime, timedelta
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

from certshelf.bundle.keys import generate
from certshelf.bundle.model import PrivateKey
from certshelf.errors import HeldBack
from certshelf.issue.acme.client import AcmeClient, ClientSettings
from certshelf.manage.accounts import client_settings, open_account, polling
from certshelf.manage.acme_signer import AcmeSigner
from certshelf.manage.budget import NONE, Budget, Limits, limits_of
from certshelf.manage.desk import Desk
from certshelf.manage.holds import Holds
from certshelf.manage.issuers import local_ca
from certshelf.manage.model import IssuerKind, IssuerRecord
from certshelf.manage.responders import Responders
from certshelf.manage.signing import LocalSigner, Signer
from certshelf.manage.solvers import Solvers

if TYPE_CHECKING:
    from certshelf.manage.db.records import Records
    from certshelf.manage.manager import Manager

LEASE = timedelta(minutes=2)
"""How long a claim holds when its process says nothing more."""
MAX_SKEW = timedelta(minutes=5)
"""How far this machine's clock may be from a CA's before renewals stop."""
Sleep = Callable[[float], Awaitable[None]]
Opening = Callable[[datetime], "datetime | None"]


class Engine:
    """Opens what is needed when it is needed, once. Use it as an async context manager."""

    def __init__(
        self,
        manager: Manager,
        *,
        lease: timedelta = LEASE,
        sleep: Sleep = asyncio.sleep,
        opening: Opening = lambda now: None,
        responders: Responders | None = None,
    ) -> None:
        """opening: when files may be deployed that nobody asked for by hand; None for now.

        responders: that stand longer than this engine, if any.
        """
        self.manager = manager
        self.clock = manager.clock
        self.lease = lease
        self.sleep = sleep
        self.opening = opening
        self.stopping = False
        """Set to let every order end at its next step, resumable."""
        self.owner = owner()
        self.rng = random.Random()  # noqa: S311 - spreads load, guards nothing
        self.desk = Desk(manager.database)
        self.solvers = Solvers(self.desk, self.clock, responders)
        self.holds = Holds()
        self.budget = Budget()
        self.clocks_noted: set[str] = set()
        self.issuers: dict[str, IssuerRecord] = {}
        self._signers: dict[str, Signer] = {}
        self._clients: dict[ClientSettings, AcmeClient] = {}
        self._opened: dict[str, asyncio.Task[Signer]] = {}
        self._stack = AsyncExitStack()
        self._keys = ThreadPoolExecutor(os.cpu_count() or 1, thread_name_prefix="certshelf-keys")
        self.publishers = ThreadPoolExecutor(8, thread_name_prefix="certshelf-publish")

    async def __aenter__(self) -> Engine:
        await self._stack.enter_async_context(self.desk)
        self._stack.callback(self._keys.shutdown, wait=False, cancel_futures=True)
        self._stack.callback(self.publishers.shutdown, wait=False, cancel_futures=True)
        await self._stack.enter_async_context(self.solvers)
        await self.desk.read(self._load)
        return self

    async def __aexit__(self, *error: object) -> None:
        opening = list(self._opened.values())
        for task in opening:
            task.cancel()
        await asyncio.gather(*opening, return_exceptions=True)
        await self._stack.aclose()

    def _load(self, records: Records) -> None:
        self.issuers = {record.name: record for record in records.issuers.all()}
        self.holds.load(records, list(self.issuers))

    def new_key(self, key_type: str) -> asyncio.Future[PrivateKey]:
        """A key in the making, off the event loop: RSA takes a tenth of a second of one core."""
        return asyncio.get_running_loop().run_in_executor(self._keys, generate, key_type)

    async def signer(self, issuer: str) -> Signer:
        """The issuer of that name, opened once. IssueError when its CA cannot be asked.

        Who waits for it meanwhile shares what comes of it: a CA that hangs is waited for once, and
        not by one order after the other.
        """
        if issuer in self._signers:
            return self._signers[issuer]
        opening = self._opened.get(issuer)
        if opening is None:
            opening = self._opened[issuer] = asyncio.create_task(self._open(issuer))
            opening.add_done_callback(partial(self._no_longer_opening, issuer))
        self._signers[issuer] = await asyncio.shield(opening)
        return self._signers[issuer]

    def _no_longer_opening(self, issuer: str, opening: asyncio.Task[Signer]) -> None:
        self._opened.pop(issuer, None)
        if not opening.cancelled():
            opening.exception()  # looked at, also when who waited for it was cancelled

    async def acme(self, issuer: str) -> AcmeSigner:
        """The same, when it must be an ACME issuer; RecordError for the local CA."""
        found = await self.signer(issuer)
        if not isinstance(found, AcmeSigner):
            client_settings(await self._record(issuer))  # raises
            raise TypeError(issuer)
        return found

    def limits(self, issuer: str) -> Limits:
        """What the CA is known to allow."""
        record = self.issuers.get(issuer)
        return limits_of(record) if record else NONE

    def clock_error(self, issuer: str) -> HeldBack | None:
        """An error when this machine's clock and the CA's Date header differ too much.

        A clock that jumped makes everything look due: nothing is renewed until it is right again.
        """
        skew = self.clock_skew(issuer)
        if skew is None or abs(skew) <= MAX_SKEW:
            return None
        direction = "behind" if skew > timedelta(0) else "ahead of"
        return HeldBack(
            f"this machine's clock is {abs(round(skew.total_seconds()))} s {direction} the clock "
            f"of {issuer}",
            hint="set the clock (NTP); renewals go on by themselves then",
            retry_at=self.clock.now() + timedelta(minutes=10),
        )

    def clock_skew(self, issuer: str) -> timedelta | None:
        """The CA's clock minus ours, when last heard; None for a CA that was not asked."""
        signer = self._signers.get(issuer)
        return signer.client.clock_skew if isinstance(signer, AcmeSigner) else None

    async def _record(self, issuer: str) -> IssuerRecord:
        if issuer not in self.issuers:
            self.issuers[issuer] = await self.desk.read(lambda r: r.issuers.get(issuer))
        return self.issuers[issuer]

    async def _open(self, issuer: str) -> Signer:
        known = self.issuers.get(issuer)
        if known is None or known.kind is IssuerKind.LOCAL:
            return await self.desk.write(lambda records: self._local(records, issuer))
        record = await self._record(issuer)
        client = self._client(record)
        account = await open_account(self.desk, client, record)
        await client.directory()
        return AcmeSigner(record, client, account, self.desk, self.solvers, polling(record))

    def _client(self, record: IssuerRecord) -> AcmeClient:
        """The wire to a CA, one for all our accounts there: it counts requests by our address."""
        settings = client_settings(record)
        if settings not in self._clients:
            client = AcmeClient(settings, clock=self.clock, sleep=self.sleep)
            self._clients[settings] = client
            self._stack.push_async_callback(client.close)
        return self._clients[settings]

    def _local(self, records: Records, issuer: str) -> Signer:
        authority = local_ca(records, issuer, self.clock)
        record = records.issuers.get(issuer)
        return LocalSigner(authority, record.settings.get("lifetime_days"))


def owner() -> str:
    """Who holds a lease: machine, process, and the namespace that its number counts in."""
    try:
        namespace = Path("/proc/self/ns/pid").stat().st_ino
    except OSError:
        namespace = 0
    return f"{socket.gethostname()}:{os.getpid()}:{namespace}"


def is_dead(lease_owner: str) -> bool:
    """Whether the holder of a lease was a process of this machine that runs no more.

    False whenever that cannot be known: then the lease's own end decides.
    """
    host, _, rest = lease_owner.rpartition(":")
    host, _, pid = host.rpartition(":")
    same_place = owner().split(":")[0] == host and owner().rpartition(":")[2] == rest
    if os.name != "posix" or not same_place or not pid.isdigit() or rest == "0":
        return False
    try:
        os.kill(int(pid), 0)
    except ProcessLookupError:
        return True
    except PermissionError:
        return False
    return False
