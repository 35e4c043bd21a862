"""Task webhook: tell a receiver by a signed JSON document what happened."""

from __future__ import annotations

import hashlib
import hmac
import json
import re
import ssl
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, ClassVar, Self

from certshelf.deploy import guarded_http
from certshelf.deploy.base import Context, Preview, Stale, TaskOutcome
from certshelf.deploy.settings import parse_settings, setting
from certshelf.errors import ConfigError, DeployError

_PLACE = re.compile(r"\{([a-z0-9_]+)\}")
_FACTS = "certificate hosts phase ok error thumbprint thumbprint_sha256 serial not_before not_after"
_DEFAULT = {name: f"{{{name}}}" for name in _FACTS.split()}


@dataclass(frozen=True)
class Webhook:
    """See deploy.base.Task."""

    kind: ClassVar[str] = "webhook"

    url: str = setting("Where to POST to, https.")
    body: Mapping[str, Any] = setting(
        "The JSON document; {certificate}, {hosts}, ... in its texts are filled in.", default={}
    )
    allow_http: bool = setting("Permit http, which anybody on the way can read.", default=False)
    allow: tuple[str, ...] = setting(
        "Networks that it may reach although they are not public, as 10.1.2.0/24.", default=()
    )
    ca_file: str = setting("Trust the CAs in this PEM file instead of the system's.", default="")

    @classmethod
    def parse(cls, settings: Mapping[str, Any]) -> Self:
        """See Task."""
        parsed = parse_settings(cls, settings)
        guarded_http.parse_url(parsed.url, allow_http=parsed.allow_http)
        guarded_http.parse_networks(parsed.allow)
        for name in _PLACE.findall(json.dumps(dict(parsed.body))):
            if name not in _DEFAULT:
                raise ConfigError(
                    f"webhook: the body names {name[:64]!r}",
                    hint=f"it may use {', '.join(_DEFAULT)}",
                )
        return parsed

    @property
    def target(self) -> str:
        """See Task. Without the path, which may hold a token."""
        parts = guarded_http.parse_url(self.url, allow_http=self.allow_http)
        return f"{parts.scheme}://{parts.netloc}"

    def run(self, context: Context) -> TaskOutcome:
        """See Task. It is done when the receiver answers with a status of 200 to 299."""
        body = json.dumps(fill(self.body or _DEFAULT, context.facts())).encode()
        status, _ = guarded_http.post(
            self._destination(),
            body,
            self._headers(context, body),
            seconds=min(guarded_http.TIMEOUT_SECONDS, context.left()),
            trust=self._trust(),
        )
        if not 200 <= status < 300:
            moved = "redirects are not followed" if 300 <= status < 400 else "it was not taken"
            error = DeployError(f"{self.target} answered {status}: {moved}")
            return TaskOutcome(str(error), (Stale(self.target, "what it knows"),), error)
        return TaskOutcome(f"{self.target} answered {status}")

    def preview(self, context: Context) -> Preview:
        """See Task. The receiver is looked up, not told."""
        where = self._destination()
        self._trust()
        return Preview(notes=(f"posts to {self.target} at {', '.join(where.addresses)}",))

    def _destination(self) -> guarded_http.Destination:
        networks = guarded_http.parse_networks(self.allow)
        return guarded_http.resolve(self.url, allow_http=self.allow_http, allowed=networks)

    def _trust(self) -> ssl.SSLContext | None:
        try:
            return ssl.create_default_context(cafile=self.ca_file) if self.ca_file else None
        except (OSError, ssl.SSLError) as error:
            raise ConfigError(f"webhook: ca_file {self.ca_file} cannot be read") from error

    def _headers(self, context: Context, body: bytes) -> dict[str, str]:
        headers = {"Content-Type": "application/json", "User-Agent": "certshelf"}
        if context.login is None:
            return headers
        stamp = str(int(context.clock.timestamp()))
        signature = sign(context.login.secret.reveal_bytes(), stamp, body)
        return {
            **headers,
            "X-Certshelf-Timestamp": stamp,
            "X-Certshelf-Signature": f"sha256={signature}",
        }


def sign(secret: bytes, timestamp: str, body: bytes) -> str:
    """HMAC-SHA256 in hex over `timestamp.body`: a receiver can tell an old message from a new."""
    return hmac.new(secret, timestamp.encode() + b"." + body, hashlib.sha256).hexdigest()


def fill(template: Any, facts: Mapping[str, Any]) -> Any:
    """A JSON document with the facts in its texts; a text that is one place becomes the fact.

    The document is filled after it was parsed: no value can change its form.
    """
    if isinstance(template, Mapping):
        return {key: fill(value, facts) for key, value in template.items()}
    if isinstance(template, list):
        return [fill(value, facts) for value in template]
    if not isinstance(template, str):
        return template
    alone = _PLACE.fullmatch(template)
    if alone:
        return facts[alone[1]]
    return _PLACE.sub(lambda found: _text(facts[found[1]]), template)


def _text(value: Any) -> str:
    return ", ".join(value) if isinstance(value, list) else str(value)
