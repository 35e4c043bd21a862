"""One answer of a CA as a value: what the objects are read from."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from urllib.parse import urljoin

from certshelf.errors import IssuerUnreachable
from certshelf.issue.acme.directory import checked_url

_LINK = re.compile(r'<([^<>]*)>\s*;[^,<]*\brel="?([a-z-]+)"?', re.ASCII)


@dataclass(frozen=True, slots=True)
class Response:
    """retry_at: what Retry-After names, or None. links: raw Link headers. nonce: "" for none."""

    url: str
    status: int
    body: bytes
    location: str = ""
    links: tuple[str, ...] = ()
    retry_at: datetime | None = None
    nonce: str = ""

    def json(self) -> Mapping[str, object]:
        """The body as a JSON object. Raises IssuerUnreachable when it is none."""
        document = self.document()
        if document is None:
            raise IssuerUnreachable(
                f"no JSON object came from {self.url}",
                hint="a proxy or a wrong directory URL may answer instead of the CA",
                retry_at=self.retry_at,
            )
        return document

    def document(self) -> Mapping[str, object] | None:
        """The body as a JSON object, or None when it is none."""
        try:
            document = json.loads(self.body)
        except (ValueError, RecursionError):
            return None
        return document if isinstance(document, dict) else None

    def object_url(self) -> str:
        """The Location header: the URL of what was made or found."""
        return checked_url(urljoin(self.url, self.location) if self.location else "")

    def related(self, relation: str) -> tuple[str, ...]:
        """The URLs of the Link headers with this relation (RFC 8288), made absolute."""
        found = [pair for header in self.links for pair in _LINK.findall(header)]
        return tuple(checked_url(urljoin(self.url, url)) for url, rel in found if rel == relation)
