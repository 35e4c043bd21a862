"""The few messages of Envoy's secret discovery as bytes: read and written field by field.

Sources, with the numbers of fields: envoy/service/discovery/v3/discovery.proto
(DeltaDiscoveryRequest, Resource, DeltaDiscoveryResponse), secret.proto and common.proto of
envoy/extensions/transport_sockets/tls/v3, envoy/config/core/v3/base.proto (DataSource),
google/rpc/status.proto, google/protobuf/any.proto; protobuf.dev, "Encoding". The tests compare
with Google's library.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field

from certshelf.serve.pems import Pem

SECRET_TYPE = b"type.googleapis.com/envoy.extensions.transport_sockets.tls.v3.Secret"
_VARINT, _EIGHT_BYTES, _TEXT, _FOUR_BYTES = 0, 1, 2, 5


@dataclass(slots=True)
class Request:
    """A DeltaDiscoveryRequest. held: the versions that a reconnected Envoy has, by name."""

    type_url: bytes = b""
    subscribe: list[str] = field(default_factory=list)
    unsubscribe: list[str] = field(default_factory=list)
    held: dict[str, str] = field(default_factory=dict)
    error: str = ""


def read_request(data: bytes) -> Request:
    """Read a request; what is not declared here (Envoy's Node of 40 KB) is skipped.

    Raises ValueError for bytes that are no such message.
    """
    request = Request()
    for number, value in _fields(data):
        if number == 2:
            request.type_url = value
        elif number == 3:
            request.subscribe.append(value.decode())
        elif number == 4:
            request.unsubscribe.append(value.decode())
        elif number == 5:
            entry = dict(_fields(value))
            request.held[entry.get(1, b"").decode()] = entry.get(2, b"").decode()
        elif number == 7:
            request.error = dict(_fields(value)).get(2, b"").decode(errors="replace") or "an error"
    return request


def secret(name: str, pem: Pem) -> bytes:
    """A Resource that holds a Secret with this key and these certificates."""
    certificate = _text(1, _text(2, pem.certificates)) + _text(2, _text(2, pem.key))
    value = _text(1, name.encode()) + _text(2, certificate)
    any_ = _text(1, SECRET_TYPE) + _text(2, value)
    return _text(1, pem.version.encode()) + _text(2, any_) + _text(3, name.encode())


def response(resources: list[bytes], removed: list[str], nonce: str) -> bytes:
    """A DeltaDiscoveryResponse."""
    return b"".join(
        (
            _text(1, nonce.encode()),
            *(_text(2, resource) for resource in resources),
            _SECRETS,
            _text(5, nonce.encode()),
            *(_text(6, name.encode()) for name in removed),
        )
    )


def _text(number: int, value: bytes) -> bytes:
    return bytes((number << 3 | _TEXT,)) + _varint(len(value)) + value


def _varint(value: int) -> bytes:
    if value < 0x80:
        return bytes((value,))
    out = bytearray()
    while value >= 0x80:
        out.append(value & 0x7F | 0x80)
        value >>= 7
    out.append(value)
    return bytes(out)


_SECRETS = _text(4, SECRET_TYPE)


def _fields(data: bytes) -> Iterator[tuple[int, bytes]]:
    """Number and value of each length-delimited field; the others are skipped."""
    at, end = 0, len(data)
    while at < end:
        tag, at = _read_varint(data, at)
        kind = tag & 7
        if kind == _TEXT:
            length, at = _read_varint(data, at)
            if at + length > end:
                raise ValueError("a field is longer than its message")
            yield tag >> 3, data[at : at + length]
            at += length
        elif kind == _VARINT:
            _, at = _read_varint(data, at)
        elif kind in (_EIGHT_BYTES, _FOUR_BYTES):
            at += 8 if kind == _EIGHT_BYTES else 4
        else:
            raise ValueError(f"a field of wire type {kind}")


def _read_varint(data: bytes, at: int) -> tuple[int, int]:
    """A number of at most 64 bits, and where it ends."""
    value = 0
    for shift in range(0, 64, 7):
        if at >= len(data):
            break
        byte = data[at]
        at += 1
        value |= (byte & 0x7F) << shift
        if byte < 0x80:
            return value, at
    raise ValueError("a number that does not end")
