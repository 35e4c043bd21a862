"""How every call to a share is made: in time, on a connection that lives, with the ten errors."""

from __future__ import annotations

import random
import re
import uuid
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from functools import partial
from threading import Lock
from typing import TypeVar

from certshelf.clock import Clock
from certshelf.errors import (
    StoreBadCredentials,
    StoreBusy,
    StoreDenied,
    StoreError,
    StoreInvalidName,
    StoreTimeout,
    StoreUnreachable,
)
from certshelf.store import smb_status as status
from certshelf.store.base import MAX_BYTES, Version, too_large
from certshelf.store.deadline import Deadline
from certshelf.store.smb_messages import Facts
from certshelf.store.smb_wire import (
    Login,
    LoginRefused,
    StatusError,
    Wire,
    WireLost,
    WireRefused,
)

T = TypeVar("T")
Job = Callable[[Wire, float], T]
"""Work on a connection that ends at a moment of the monotonic clock."""
_ALIAS = re.compile(r"[^.]{0,8}~[^.]{1,7}(?:\.[^.]{0,3})?")  # an 8.3 name: CERTSH~1.PFX


class Calls:
    """The connection of one store, and the rules for using it. Safe in several threads."""

    def __init__(
        self, url: str, login: Login, folder: tuple[str, ...], seconds: float, clock: Clock
    ) -> None:
        self.url = url
        self.login = login
        self.root = "\\".join(folder)
        self.seconds = seconds
        self.clock = clock
        self.deadline = Deadline(seconds)
        self.wire: Wire | None = None
        self._guid = uuid.uuid4()
        self._connecting = Lock()

    def run(self, verb: str, key: str, job: Job[T]) -> T:
        """Do the job within the deadline; once more when its connection was lost meanwhile."""
        what = self.what(verb, key)
        ends_at = self.clock.monotonic() + self.seconds
        try:
            return self.deadline.call(partial(self._attempt, job, what, ends_at), what)
        except StoreTimeout:
            wire = self.wire
            if wire is not None:
                wire.abort()  # lets go of whoever still hangs on it
            raise

    def on(self, wire: Wire, verb: str, key: str, ask: Callable[[], T]) -> T:
        """Ask on one connection, within the deadline, without a second try."""
        what = self.what(verb, key)

        def bounded() -> T:
            with self.as_store_errors(what):
                return ask()

        try:
            return self.deadline.call(bounded, what)
        except StoreTimeout:
            wire.abort()
            raise

    def fresh(self, verb: str, key: str, *, encrypt: bool = True, offers: bool = True) -> Wire:
        """A connection of its own, logged in now: a live session proves nothing of a password."""
        login = self.login
        if not (encrypt and offers):
            login = replace(login, encrypt=False, offers=offers)
        wire = Wire(login, uuid.uuid4())
        try:
            self.on(wire, verb, key, lambda: wire.connect(self.seconds))
        except StoreError:
            wire.close()
            raise
        return wire

    def close(self) -> None:
        """Hang up."""
        wire, self.wire = self.wire, None
        if wire is not None:
            wire.close()
        self.deadline.close()

    def what(self, verb: str, key: str) -> str:
        """The first half of every message."""
        return f"cannot {verb} {key} in {self.url}"

    def path(self, parts: tuple[str, ...]) -> str:
        """Where a file lies in the share; StoreInvalidName when another file may be meant."""
        for part in parts:
            if _ALIAS.fullmatch(part):
                raise StoreInvalidName(
                    f"{part!r} may be a short name that stands for another file",
                    hint="rename it on the file server itself: Samba shows names so that Windows"
                    " cannot keep, such as the device con.example.com.pfx",
                )
        return self.place(parts)

    def place(self, parts: tuple[str, ...]) -> str:
        """Where something lies whose name the server itself gave."""
        return "\\".join((self.root, *parts) if self.root else parts)

    def pause(self, attempt: int, ends_at: float) -> bool:
        """Wait a little longer each time, never in step with others; False when time is up."""
        pause = min(0.5, 0.01 * 2.0**attempt) * random.uniform(0.5, 1.5)  # noqa: S311
        margin = min(0.25, self.seconds / 10)
        if self.clock.monotonic() + pause > ends_at - margin:
            return False
        self.clock.sleep(pause)
        return True

    def busy(self, verb: str, key: str) -> StoreBusy:
        """Somebody has held it open until the deadline."""
        return StoreBusy(
            f"{self.what(verb, key)}: another program holds it open",
            hint="look for a virus scanner or a backup that holds it; the old file is whole",
        )

    def look(self, wire: Wire, key: str, path: str) -> Version | None:
        """The version of a plain file; None when two looks say that it is not there."""
        for last in (False, True):
            try:
                facts = wire.facts(path)
            except StatusError as error:
                if error.status not in status.NOT_THERE:
                    raise
                if last:
                    self.refuse_missing_root(wire, error.status)
            else:
                self.refuse_unless_plain(key, facts)
                return version_of(facts)
        return None

    def refuse_missing_root(self, wire: Wire, code: int) -> None:
        """A file that is not there is None; the whole folder not there is an error."""
        if code == status.PATH_NOT_FOUND:
            wire.facts(self.root)

    def refuse_unless_plain(self, key: str, facts: Facts) -> None:
        """Raise for a folder, a link, or more than a PFX can be."""
        if facts.is_folder or facts.is_link:
            thing = "a folder" if facts.is_folder else "a link"
            raise StoreInvalidName(
                f"{key} in {self.url} is {thing}, no plain file", hint="look at it, and remove it"
            )
        if facts.size > MAX_BYTES:
            raise too_large(self.what("read", key), facts.size)

    def _attempt(self, job: Job[T], what: str, ends_at: float) -> T:
        with self.as_store_errors(what):
            wire = self._connected(what, ends_at)
            try:
                return job(wire, ends_at)
            except (WireLost, StatusError) as error:
                if isinstance(error, StatusError) and error.status not in status.LOST:
                    raise
                wire.close()
            return job(self._connected(what, ends_at), ends_at)

    def _connected(self, what: str, ends_at: float) -> Wire:
        late = StoreTimeout(f"{what}: no connection within {self.seconds:g} s")
        if not self._connecting.acquire(timeout=max(0.0, ends_at - self.clock.monotonic())):
            raise late
        try:
            wire = self.wire
            if wire is None or not wire.alive:
                left = ends_at - self.clock.monotonic()
                if left <= 0:  # the caller has been told so: start nothing
                    raise late
                wire = self.wire = Wire(self.login, self._guid)
                try:
                    wire.connect(left)
                except (WireLost, WireRefused, LoginRefused, StatusError):
                    wire.close()  # else each refused login leaves a socket and a thread
                    raise
            return wire
        finally:
            self._connecting.release()

    @contextmanager
    def as_store_errors(self, what: str) -> Iterator[None]:
        """Turn what a connection raises into one of the ten errors."""
        try:
            yield
        except StatusError as error:
            raise status.error_of(error.status, what) from error
        except WireLost as error:
            raise StoreUnreachable(
                f"{what}: the file server does not answer",
                hint="check that it runs and that a firewall lets its port through",
                code=str(error),
            ) from error
        except WireRefused as error:
            raise StoreDenied(
                f"{what}: {error}; keys do not travel that way",
                hint="turn on SMB 3 encryption for the share; where the network itself is trusted"
                " the address may end in ?encryption=off",
            ) from error
        except LoginRefused as error:
            raise StoreBadCredentials(
                f"{what}: no usable login",
                hint="set the store's credential, or get a Kerberos ticket",
            ) from error


def version_of(facts: Facts) -> Version:
    """Another one after each write: a replace brings another file with another change time."""
    return Version(f"{facts.written:x}-{facts.changed:x}-{facts.size:x}-{facts.file_id:x}")
