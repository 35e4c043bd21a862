"""How a secret reaches a command: from a file, from stdin or by a prompt; never as an argument."""

from __future__ import annotations

import sys
from pathlib import Path

import click

from certshelf.errors import CredentialError
from certshelf.secret import Secret

_MAX_BYTES = 64 * 1024

password_file = click.option(
    "--password-file",
    type=click.Path(path_type=Path),
    help="Read the password from this file (its first line end is dropped).",
)
password_stdin = click.option(
    "--password-stdin", is_flag=True, help="Read the password from standard input."
)


def read_secret(file: Path | None, stdin: bool, prompt: str, *, confirm: bool = False) -> Secret:
    """The secret from where the user said, else by a prompt that does not echo.

    Raises CredentialError when it is empty, unreadable, or nobody is there to be asked.
    """
    if file is not None and stdin:
        raise click.UsageError("give --password-file or --password-stdin, not both")
    if file is not None:
        return read_secret_file(file)
    if stdin:
        return _secret(sys.stdin.buffer.read(_MAX_BYTES + 1), "standard input")
    if not sys.stdin.isatty():
        raise CredentialError(
            f"no {prompt.lower()} given, and no terminal to ask on",
            hint="use --password-file FILE or --password-stdin",
        )
    return Secret(click.prompt(prompt, hide_input=True, confirmation_prompt=confirm))


def read_secret_file(file: Path) -> Secret:
    """The secret in a file; CredentialError when it cannot be used."""
    try:
        with file.open("rb") as stream:
            return _secret(stream.read(_MAX_BYTES + 1), str(file))
    except OSError as error:
        raise CredentialError(f"cannot read the secret in {file}: {error.strerror}") from error


def _secret(data: bytes, where: str) -> Secret:
    try:
        text = data.decode("utf-8").removesuffix("\n").removesuffix("\r")
    except UnicodeDecodeError:  # it carries the secret: not even as a cause
        raise CredentialError(f"cannot use the secret in {where}: it is not UTF-8") from None
    if not text or len(data) > _MAX_BYTES:
        reason = "it is too long" if text else "it is empty"
        raise CredentialError(f"cannot use the secret in {where}: {reason}")
    return Secret(text)
