"""How guarded.GuardedChild and its process talk over pipes: messages with their length in front."""

from __future__ import annotations

from typing import IO

from certshelf.secret import Secret

_NO_PASSWORD = 0xFFFFFFFF


def pack(data: bytes, password: Secret | None) -> bytes:
    """One file to read: the password's length and bytes, then the PFX."""
    secret = b"" if password is None else password.reveal_bytes()
    length = _NO_PASSWORD if password is None else len(secret)
    return length.to_bytes(4, "big") + secret + data


def unpack(message: bytes) -> tuple[bytes, Secret | None]:
    """The inverse of pack()."""
    length = int.from_bytes(message[:4], "big")
    if length == _NO_PASSWORD:
        return message[4:], None
    return message[4 + length :], Secret(message[4 : 4 + length].decode())


def write_message(stream: IO[bytes], message: bytes) -> None:
    """One whole message. Raises OSError when nobody reads."""
    stream.write(len(message).to_bytes(4, "big") + message)
    stream.flush()


def read_message(stream: IO[bytes]) -> bytes | None:
    """The next message; None when the other end is gone, in the middle of one too."""
    length = stream.read(4)
    if len(length) < 4:
        return None
    size = int.from_bytes(length, "big")
    message = stream.read(size)
    return message if len(message) == size else None
