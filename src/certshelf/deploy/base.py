"""What a task is: all it needs is passed in; it gives back what it did and what is still old."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, ClassVar, Protocol, Self

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from certshelf.bundle.model import Bundle, LeafChain, PfxProfile
from certshelf.clock import SYSTEM, Clock, iso
from certshelf.deploy.triggers import Phase
from certshelf.errors import CertshelfError, CredentialError, DeployError
from certshelf.finding import Finding
from certshelf.names import HostName
from certshelf.secret import Secret
from certshelf.shelf.once import prepare


@dataclass(frozen=True, slots=True)
class Login:
    """A credential, opened: of a target, or of a PFX file."""

    username: str
    secret: Secret


def _none(name: str) -> Login:
    raise CredentialError(f"there is no credential {name[:64]!r}")


@dataclass(frozen=True, slots=True)
class Context:
    """What a task works with. It reads no database, no environment and no settings file.

    bundle: what was issued; None before a first request. has_key: whether its key is ours, and not
    that of somebody else's CSR. password: opens the one of PFX files,
    which holds unless the task names another. login: the task's own credential. credential: opens
    another one by name, or raises CredentialError. ends_at: on clock.monotonic(), when the task's
    time is up.
    owner, signing_key: of the records on further shelves. ok, error: how the run went so far.
    make_pfx: makes a PFX as prepare() does.
    """

    certificate: str
    hosts: tuple[HostName, ...]
    bundle: Bundle | LeafChain | None
    ends_at: float
    addresses: tuple[str, ...] = ()
    has_key: bool = True
    phase: Phase = Phase.AFTER
    ok: bool = True
    error: str = ""
    password: Callable[[], Secret | None] = lambda: None
    login: Login | None = None
    credential: Callable[[str], Login] = _none
    owner: str = ""
    signing_key: Ed25519PrivateKey | None = field(default=None, repr=False)
    clock: Clock = SYSTEM
    make_pfx: Callable[[Bundle, Secret | None, PfxProfile], bytes] = prepare

    def left(self) -> float:
        """The seconds that are left; DeployError when there are none."""
        seconds = self.ends_at - self.clock.monotonic()
        if seconds <= 0:
            raise DeployError("its time is up", hint="task add --timeout gives it more")
        return seconds

    def issued(self) -> Bundle:
        """The bundle; DeployError when nothing was issued yet, or its key is not ours."""
        self.need_key()
        found = self.issued_leaf()
        assert isinstance(found, Bundle)  # noqa: S101 - need_key() has looked
        return found

    def need_key(self) -> None:
        """DeployError when the key is not ours: what a preview asks."""
        if not self.has_key or isinstance(self.bundle, LeafChain):
            raise DeployError(
                f"the private key of {self.certificate} is not ours: it is for somebody else's CSR",
                hint="an export in PEM writes the certificate and its chain",
            )

    def issued_leaf(self) -> Bundle | LeafChain:
        """What was issued, its key ours or not; DeployError when nothing was yet."""
        if self.bundle is None:
            raise DeployError(
                f"nothing was issued for {self.certificate} yet",
                hint=f"certshelf cert request {self.certificate}",
            )
        return self.bundle

    def file_stem(self) -> str:
        """What a file for this certificate is called by default: the first host, else its name."""
        return self.hosts[0].file_name().removesuffix(".pfx") if self.hosts else self.certificate

    def facts(self) -> dict[str, Any]:
        """What scripts and receivers are told: names and times, never a key or a password."""
        bundle = self.bundle
        return {
            "certificate": self.certificate,
            "hosts": [host.ascii for host in self.hosts],
            "addresses": list(self.addresses),
            "phase": self.phase.value,
            "ok": self.ok,
            "error": self.error,
            "thumbprint": bundle.thumbprint if bundle else "",
            "thumbprint_sha256": bundle.sha256 if bundle else "",
            "serial": bundle.serial if bundle else "",
            "not_before": iso(bundle.not_before) if bundle else "",
            "not_after": iso(bundle.not_after) if bundle else "",
        }


@dataclass(frozen=True, slots=True)
class Stale:
    """A file on a target that is still the old one, or not there; file "" for all that it has."""

    target: str
    file: str = ""

    def __str__(self) -> str:
        return f"{self.file or 'everything'} on {self.target}"


@dataclass(frozen=True, slots=True)
class TaskOutcome:
    """What a task did. error is None exactly when all of it was done and read back."""

    log: str
    stale: tuple[Stale, ...] = ()
    error: CertshelfError | None = None

    @property
    def ok(self) -> bool:
        """Whether everything was done."""
        return self.error is None


@dataclass(frozen=True, slots=True)
class Planned:
    """A file that a run would leave on a target. outcome: new, replaced, unchanged."""

    target: str
    file: str
    outcome: str


@dataclass(frozen=True, slots=True)
class Preview:
    """What a run would do, and what would be in its way."""

    files: tuple[Planned, ...] = ()
    findings: tuple[Finding, ...] = ()
    notes: tuple[str, ...] = ()


class Task(Protocol):
    """One task, its settings parsed. Safe to repeat; may run beside other tasks in threads.

    A type is a frozen dataclass: its fields are its settings, see settings.py.
    """

    kind: ClassVar[str]
    """The word of `task add CERT TYPE`."""

    @classmethod
    def parse(cls, settings: Mapping[str, Any]) -> Self:
        """The task with these settings; ConfigError says which one is wrong."""
        ...

    @property
    def target(self) -> str:
        """Where it works, for people: an address, a unit, a program; never with a secret."""
        ...

    def run(self, context: Context) -> TaskOutcome:
        """Do it. A failure is in the outcome, or is raised as CertshelfError: nothing is done then.

        Whatever it could not replace stays whole, and is named in the outcome.
        """
        ...

    def preview(self, context: Context) -> Preview:
        """Ask the target what a run would do, and change nothing there.

        context.bundle: what is there to deploy without a new request; None when a new certificate
        will be requested. Raises CertshelfError when the target cannot be used.
        """
        ...
