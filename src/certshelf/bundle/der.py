"""A small reader of DER, and of the BER that other programs write into PFX files, with bounds.

It reads one value at a time, counts what it reads and never goes deeper than it is asked to, so
that a hostile file costs no more than MAX_VALUES steps. Indefinite lengths and octet strings in
pieces (ITU-T X.690 section 8) are understood: Java and BouncyCastle write them.
"""

from __future__ import annotations

from dataclasses import dataclass

from certshelf.errors import PfxHostile, PfxUnreadable

MAX_VALUES = 4096
MAX_DEPTH = 16
INTEGER, OCTETS, OID, SEQUENCE = 0x02, 0x04, 0x06, 0x30
CONSTRUCTED = 0x20
_INDEFINITE = 0x80


@dataclass(frozen=True, slots=True)
class Value:
    """One value: its tag, what is inside, and the offset just behind it."""

    tag: int
    body: memoryview
    end: int


class Reader:
    """Reads values and counts them; `is_ber` is set by the first form that DER forbids."""

    def __init__(self, max_values: int = MAX_VALUES) -> None:
        self._left = max_values
        self._max_values = max_values
        self.is_ber = False

    def read(self, data: memoryview, at: int = 0, depth: int = 0) -> Value:
        """The value that begins at `at`. Raises PfxUnreadable or PfxHostile."""
        self._spend(depth)
        if at + 2 > len(data):
            raise PfxUnreadable("truncated: a value has no length")
        tag, first, start = data[at], data[at + 1], at + 2
        if tag & 0x1F == 0x1F:
            raise PfxUnreadable("not a PFX: a tag that PKCS#12 does not use")
        if first == _INDEFINITE:
            return self._indefinite(data, tag, start, depth)
        length = first
        if first > _INDEFINITE:
            count = first & 0x7F
            if count > 4 or start + count > len(data):
                raise PfxUnreadable("truncated, or a length that no PFX has")
            length = int.from_bytes(data[start : start + count], "big")
            start += count
            self.is_ber |= length < 0x80 or length >> (8 * (count - 1)) == 0
        if start + length > len(data):
            missing = start + length - len(data)
            raise PfxUnreadable(f"truncated: {missing} bytes are missing")
        return Value(tag, data[start : start + length], start + length)

    def children(self, value: Value, depth: int = 0) -> list[Value]:
        """The values inside a constructed one, in order."""
        if not value.tag & CONSTRUCTED:
            raise PfxUnreadable("not a PFX: a value without the parts that it should have")
        return self.sequence(value.body, depth)

    def sequence(self, body: memoryview, depth: int = 0) -> list[Value]:
        """The values that lie one after the other in body."""
        found, at = [], 0
        while at < len(body):
            found.append(self.read(body, at, depth + 1))
            at = found[-1].end
        return found

    def octets(self, value: Value, tag: int = OCTETS, depth: int = 0) -> memoryview:
        """The content of an octet string, whole or in pieces, that carries this (primitive) tag."""
        if value.tag == tag:
            return value.body
        if value.tag != tag | CONSTRUCTED:
            raise PfxUnreadable("not a PFX: an octet string is missing")
        self.is_ber = True
        pieces = [self.octets(piece, depth=depth + 1) for piece in self.children(value, depth)]
        return pieces[0] if len(pieces) == 1 else memoryview(b"".join(pieces))

    def _indefinite(self, data: memoryview, tag: int, start: int, depth: int) -> Value:
        if not tag & CONSTRUCTED:
            raise PfxUnreadable("not a PFX: a plain value of indefinite length")
        self.is_ber = True
        at = start
        while bytes(data[at : at + 2]) != b"\0\0":
            at = self.read(data, at, depth + 1).end
        return Value(tag, data[start:at], at + 2)

    def _spend(self, depth: int) -> None:
        self._left -= 1
        if self._left < 0:
            raise PfxHostile(f"more than {self._max_values} values inside: no PFX needs so many")
        if depth > MAX_DEPTH:
            raise PfxHostile(f"values more than {MAX_DEPTH} deep inside each other")


def integer(value: Value) -> int:
    """A small integer. Raises PfxHostile when it has more than 8 bytes."""
    if value.tag != INTEGER or not value.body:
        raise PfxUnreadable("not a PFX: a number is missing")
    if len(value.body) > 8:
        raise PfxHostile("a number of more than 64 bits where a count should be")
    return int.from_bytes(value.body, "big", signed=True)


def oid(value: Value) -> str:
    """An object identifier in dots."""
    if value.tag != OID or not 0 < len(value.body) <= 32:
        raise PfxUnreadable("not a PFX: an object identifier is missing")
    arcs, arc = [], 0
    for byte in value.body:
        arc = arc << 7 | byte & 0x7F
        if not byte & 0x80:
            arcs.append(arc)
            arc = 0
    if not arcs:
        raise PfxUnreadable("truncated: an object identifier has no end")
    first = min(arcs[0] // 40, 2)
    return ".".join(map(str, (first, arcs[0] - 40 * first, *arcs[1:])))
