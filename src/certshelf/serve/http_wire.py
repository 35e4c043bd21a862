"""Just enough HTTP/1.1 (RFC 9112) for an endpoint of GET and HEAD: heads in, answers out."""

from __future__ import annotations

import hmac
from dataclasses import dataclass, field
from urllib.parse import unquote_plus

MAX_HEAD_BYTES = 8192
_NAME_FIELD = "server_name="
_READ_FIELDS = frozenset({b"transfer-encoding", b"content-length", b"connection", b"if-none-match"})


@dataclass(frozen=True, slots=True)
class Request:
    """What a client asked. path: below the secret prefix, "" for one that lies outside."""

    method: bytes
    path: str
    server_name: str
    if_none_match: bytes
    keep_alive: bool


@dataclass(frozen=True, slots=True)
class Answer:
    """What it is told."""

    status: str
    body: bytes = field(default=b"", repr=False)
    etag: str = ""
    content_type: str = "text/plain"

    def encode(self, method: bytes, keep_alive: bool) -> bytes:
        """The bytes on the wire; HEAD is told all but the body."""
        lines = [f"HTTP/1.1 {self.status}"]
        if not self.status.startswith("304"):  # RFC 9110 section 15.4.5: it has no content
            lines.append(f"Content-Length: {len(self.body)}")
        if self.body:
            lines += [f"Content-Type: {self.content_type}", "Cache-Control: no-store"]
        if self.etag:
            lines.append(f"ETag: {self.etag}")
        if not keep_alive:
            lines.append("Connection: close")
        head = ("\r\n".join(lines) + "\r\n\r\n").encode("ascii")
        return head if method == b"HEAD" else head + self.body


class BadRequest(Exception):
    """The request is none that this endpoint reads; the text is the status line's."""


def parse(head: bytes, prefix: bytes) -> Request:
    """Read a request's head. Raises BadRequest.

    prefix: the secret path; what lies outside it is an unknown path, found out in constant time.
    """
    lines = head.split(b"\r\n")
    parts = lines[0].split(b" ")
    if len(parts) != 3 or parts[2] not in (b"HTTP/1.1", b"HTTP/1.0"):
        raise BadRequest("400 Bad Request")
    if parts[0] not in (b"GET", b"HEAD"):
        raise BadRequest("405 Method Not Allowed")
    fields = {}
    for line in lines[1:]:
        name, _, value = line.partition(b":")
        name = name.strip().lower()
        if name in _READ_FIELDS:
            fields[name] = value.strip()
            if name == b"transfer-encoding" or (name == b"content-length" and fields[name] != b"0"):
                raise BadRequest("400 Bad Request")  # each of them: a later one takes none back
    keep = parts[2] == b"HTTP/1.1" and fields.get(b"connection", b"").lower() != b"close"
    path, server_name = _target(parts[1], prefix)
    return Request(parts[0], path, server_name, fields.get(b"if-none-match", b""), keep)


def _target(target: bytes, prefix: bytes) -> tuple[str, str]:
    """Path below the secret prefix, and the server name; `/healthz` needs no secret."""
    if target == b"/healthz":
        return "/healthz", ""
    if not hmac.compare_digest(target[: len(prefix)], prefix):
        return "", ""
    try:
        path, _, query = target[len(prefix) :].decode("ascii").partition("?")
    except UnicodeDecodeError as error:
        raise BadRequest("400 Bad Request") from error
    for pair in query.split("&"):
        if pair.startswith(_NAME_FIELD):
            return path, unquote_plus(pair[len(_NAME_FIELD) :])
    return path, ""
