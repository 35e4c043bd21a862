"""What a solver is: it shows the answer to a challenge, waits until it is seen, and tidies up."""

from __future__ import annotations

from typing import Protocol

from certshelf.challenge import Challenge


class Solver(Protocol):
    """One way to answer challenges of one type.

    Each method is safe to repeat, also after a restart of the program, and raises only
    ChallengeFailed (or a ConfigError or CredentialError for what a retry cannot mend).
    """

    @property
    def type(self) -> str:
        """The challenge type that it answers: "http-01", "dns-01", "tls-alpn-01", ..."""
        ...

    async def present(self, challenge: Challenge) -> None:
        """Make the answer visible."""
        ...

    async def wait(self, challenge: Challenge) -> None:
        """Return once the CA will see the answer, as far as can be known from here."""
        ...

    async def clean_up(self, challenge: Challenge) -> None:
        """Take the answer away again; one that was never presented is no error."""
        ...
