"""Every error that certshelf raises on purpose, in one tree.

CertshelfError
+- NameInvalid (also ValueError)      the text is no host name that a shelf can hold
+- BundleError
|  +- PfxError
|  |  +- PfxUnreadable                truncated, or no PFX at all
|  |  +- PfxHostile                   beyond the sizes and iteration counts that we accept
|  |  +- PfxUnsupported               an algorithm that this machine's library cannot read
|  |  +- PfxPasswordWrong             wrong password or damaged: the format cannot tell which
|  |  +- PfxKeyMissing                no private key inside
|  |  +- PfxManyKeys                  more than one private key inside
|  +- PemUnreadable
|  +- KeyMismatch                     the key is not the leaf's
|  +- KeyUnsupported                  a key type or size that we do not publish
|  +- BundleRefused                   not sound for this name now: name, validity, chain
+- StoreError                         one class for each of the ten kinds; `.kind` names it
|  +- StoreNotFound StoreDenied StoreBadCredentials StoreUnreachable StoreTimeout
|  +- StoreBusy StoreFull StoreConflict StoreInvalidName StoreCorrupt
+- ShelfError
|  +- ForeignFile                     somebody else's file lies under that name
|  +- OlderBundle                     what lies there is newer
|  +- RecordInvalid                   a manifest record is torn, forged or too new
|  +- Unvouched                       no valid record vouches for these bytes
+- IssueError                         `.retry_at`: when to try again, or None for never
|  +- AcmeProblem ChallengeFailed RateLimited IssuerUnreachable HeldBack
+- ConfigError                        file, key, what was expected
+- RecordError                        the database: no such record, already there, too new
|  +- RecordBusy RecordStale           held by another process; another one took the work over
+- CredentialError                    a secret that cannot be opened or is not there
+- DeployError                        a task that failed: target and step

An error says what happened and to what; `hint` says what to do. Neither ever holds a key or a
password. `retryable` belongs to the class. "Not there" is None where a caller may expect it.
"""

from __future__ import annotations

from datetime import datetime
from typing import ClassVar


class CertshelfError(Exception):
    """The root: `str(error)` is one line, `error.hint` the next thing to do ("" when none)."""

    retryable: ClassVar[bool] = False

    def __init__(self, message: str, *, hint: str = "") -> None:
        super().__init__(message)
        self.hint = hint


class NameInvalid(CertshelfError, ValueError):
    """The text is no host name that a shelf can hold."""


# --- bundles


class BundleError(CertshelfError):
    """A key, leaf and chain that cannot be read or must not be used."""


class PfxError(BundleError):
    """A PFX file that cannot be read."""


class PfxUnreadable(PfxError):
    """Truncated, or not a PFX at all."""


class PfxHostile(PfxError):
    """Beyond the limits that we accept: refused before any key derivation."""


class PfxUnsupported(PfxError):
    """Encrypted or authenticated by an algorithm that cannot be read here."""


class PfxPasswordWrong(PfxError):
    """Wrong password or damaged: PKCS#12 (RFC 7292) cannot tell the two apart."""


class PfxKeyMissing(PfxError):
    """No private key inside."""


class PfxManyKeys(PfxError):
    """More than one private key inside: which one to serve is not defined."""


class PemUnreadable(BundleError):
    """Not PEM, or without the parts that are needed."""


class KeyMismatch(BundleError):
    """The private key does not belong to the leaf."""


class KeyUnsupported(BundleError):
    """A key type or size that certshelf does not publish."""


class BundleRefused(BundleError):
    """Readable, but not sound for this name now."""


# --- stores: every call ends in a result or in one of these ten kinds


class StoreError(CertshelfError):
    """Where bytes lie said no. `kind` is one of ten words; `code` keeps the back end's own code."""

    kind: ClassVar[str] = ""

    def __init__(self, message: str, *, hint: str = "", code: str = "") -> None:
        super().__init__(message, hint=hint)
        self.code = code


class StoreNotFound(StoreError):
    """The folder, share or bucket itself is not there (a missing file is None, not this)."""

    kind = "not-found"


class StoreDenied(StoreError):
    """This account may not do that."""

    kind = "denied"


class StoreBadCredentials(StoreError):
    """The account or its password is refused."""

    kind = "bad-credentials"


class StoreUnreachable(StoreError):
    """Nobody answers there."""

    kind = "unreachable"
    retryable = True


class StoreTimeout(StoreError):
    """No answer before the deadline."""

    kind = "timeout"
    retryable = True


class StoreBusy(StoreError):
    """Somebody holds the file open, or too many calls hang already."""

    kind = "busy"
    retryable = True


class StoreFull(StoreError):
    """No space left; what lay there before is whole."""

    kind = "full"
    retryable = True


class StoreConflict(StoreError):
    """The file is not at the version that was expected: somebody else wrote first."""

    kind = "conflict"

    def __init__(
        self, message: str, *, hint: str = "", expected: str = "", found: str = ""
    ) -> None:
        super().__init__(message, hint=hint)
        self.expected = expected
        self.found = found


class StoreInvalidName(StoreError):
    """A key that no store accepts, or a thing that is no plain file (link, folder, pipe)."""

    kind = "invalid-name"


class StoreCorrupt(StoreError):
    """What was read back is not what was written, or a file is larger than any PFX may be."""

    kind = "corrupt"


# --- shelf


class ShelfError(CertshelfError):
    """The shelf's own rules say no."""


class ForeignFile(ShelfError):
    """A file that certshelf did not write lies under that name; it is kept."""


class OlderBundle(ShelfError):
    """What lies there is newer than what was to be published."""


class RecordInvalid(ShelfError):
    """A manifest record that is torn, forged or written by a newer certshelf."""


class Unvouched(ShelfError):
    """This reader demands a signed record, and none vouches for these bytes."""


# --- issuing


class IssueError(CertshelfError):
    """A certificate could not be issued. `retry_at` is aware UTC, or None: do not retry."""

    def __init__(self, message: str, *, hint: str = "", retry_at: datetime | None = None) -> None:
        super().__init__(message, hint=hint)
        self.retry_at = retry_at


class AcmeProblem(IssueError):
    """The CA's own error document (RFC 8555 section 6.7, RFC 9457)."""

    def __init__(
        self,
        message: str,
        *,
        hint: str = "",
        retry_at: datetime | None = None,
        type: str = "",
        status: int = 0,
        subproblems: tuple[AcmeProblem, ...] = (),
    ) -> None:
        super().__init__(message, hint=hint, retry_at=retry_at)
        self.type = type
        self.status = status
        self.subproblems = subproblems


class ChallengeFailed(IssueError):
    """The CA could not validate a name."""


class RateLimited(IssueError):
    """The CA asks us to come back later: `retry_at` says when."""

    retryable = True


class IssuerUnreachable(IssueError):
    """The CA does not answer, or answers nonsense."""

    retryable = True


class HeldBack(IssueError):
    """Nothing was asked of the CA: a limit, a back-off or a wrong clock says later."""

    retryable = True


# --- the manager


class ConfigError(CertshelfError):
    """A setting that cannot be used: says the file, the key and what was expected."""


class RecordError(CertshelfError):
    """The database has no such record, has it already, or is newer than this program."""


class RecordBusy(RecordError):
    """Another process held the database for longer than we wait; nothing was written."""

    retryable = True


class RecordStale(RecordError):
    """Another manager took this work over: the late write was refused, nothing was written."""


class CredentialError(CertshelfError):
    """A secret that is not there or cannot be opened with the keys at hand."""


class DeployError(CertshelfError):
    """A task failed: the message names target and step, `output` is the end of what it said."""

    def __init__(self, message: str, *, hint: str = "", output: str = "") -> None:
        super().__init__(message, hint=hint)
        self.output = output
