"""What is said in clear before TLS begins: SMTP, IMAP, LDAP and RDP."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import Protocol

_MAX_ANSWER = 64 * 1024
# ExtendedRequest 1.3.6.1.4.1.1466.20037 with message id 1: RFC 4511, section 4.14.
_LDAP_REQUEST = bytes.fromhex("301d02010177188016") + b"1.3.6.1.4.1.1466.20037"
# TPKT, X.224 connection request, RDP_NEG_REQ for TLS or CredSSP: MS-RDPBCGR 2.2.1.1.
_RDP_REQUEST = bytes.fromhex("030000130ee00000000000" + "0100080003000000")


class Refused(Exception):
    """The server does not want to speak TLS; the text is what it said."""


class Wire(Protocol):
    """Bytes out and in, before TLS."""

    async def send(self, data: bytes) -> None:
        """All of it."""
        ...

    async def receive(self) -> bytes:
        """Some bytes; b"" when the peer closed."""
        ...


async def begin(protocol: str, wire: Wire) -> None:
    """Say what makes the peer start TLS; Refused when it does not want to."""
    await _PRELUDES[protocol](wire)


async def _smtp(wire: Wire) -> None:
    """RFC 3207."""
    await _smtp_reply(wire, b"220")
    await wire.send(b"EHLO certshelf.invalid\r\n")
    await _smtp_reply(wire, b"250")
    await wire.send(b"STARTTLS\r\n")
    await _smtp_reply(wire, b"220")


async def _smtp_reply(wire: Wire, code: bytes) -> None:
    said = await _until(wire, lambda text: _last_smtp_line(text) is not None)
    last = _last_smtp_line(said)
    if last is None or not last.startswith(code):
        raise Refused(_shown(said))


def _last_smtp_line(text: bytes) -> bytes | None:
    """The final line of a reply: its code is followed by a space, not by a hyphen."""
    for line in text.split(b"\r\n")[:-1]:
        if line[3:4] != b"-":
            return line
    return None


async def _imap(wire: Wire) -> None:
    """RFC 9051, section 6.2.1."""
    said = await _until(wire, lambda text: b"\r\n" in text)
    if not said.startswith(b"* OK"):
        raise Refused(_shown(said))
    await wire.send(b"a1 STARTTLS\r\n")
    said = await _until(wire, lambda text: b"a1 " in text and text.endswith(b"\r\n"))
    if b"a1 OK" not in said.upper().replace(b"A1", b"a1"):
        raise Refused(_shown(said))


async def _ldap(wire: Wire) -> None:
    """RFC 4511, sections 4.12 and 4.14."""
    await wire.send(_LDAP_REQUEST)
    said = await _until(wire, lambda text: (size := _ber_size(text)) and len(text) >= size)
    # ExtendedResponse (0x78) with the result code success (0).
    if b"\x78" not in said or b"\x0a\x01\x00" not in said:
        raise Refused(_shown(said))


def _ber_size(text: bytes) -> int:
    """The size of a BER element by its header; 0 as long as that is not whole.

    Active Directory writes lengths in the long form where the short one would do: X.690, 8.1.3.5.
    """
    if len(text) < 2:
        return 0
    more = text[1] & 0x7F if text[1] & 0x80 else 0
    if len(text) < 2 + more:
        return 0
    length = int.from_bytes(text[2 : 2 + more], "big") if more else text[1]
    return 2 + more + length


async def _rdp(wire: Wire) -> None:
    """MS-RDPBCGR 2.2.1.1 and 2.2.1.2; TPKT's length is big-endian."""
    await wire.send(_RDP_REQUEST)
    said = await _until(wire, lambda text: len(text) >= 4 and len(text) >= text[2] << 8 | text[3])
    # Byte 11: RDP_NEG_RSP (2) or RDP_NEG_FAILURE (3); MS-RDPBCGR 2.2.1.2.
    if len(said) < 19 or said[0] != 3 or said[11] != 2:
        raise Refused(_shown(said))


async def _until(wire: Wire, complete: Callable[[bytes], object]) -> bytes:
    said = b""
    while not complete(said):
        more = await wire.receive()
        if not more or len(said) > _MAX_ANSWER:
            raise Refused(_shown(said) or "it closed the connection")
        said += more
    return said


def _shown(said: bytes) -> str:
    text = said[:120].decode("ascii", "replace")
    return "".join(c if c.isprintable() else " " for c in text).strip()


_PRELUDES: dict[str, Callable[[Wire], Awaitable[None]]] = {
    "smtp": _smtp,
    "imap": _imap,
    "ldap": _ldap,
    "rdp": _rdp,
}
