"""A secret in HashiCorp Vault or OpenBao, read over HTTP when it is needed."""

from __future__ import annotations

import json
import ssl
import urllib.error
import urllib.request
from http.client import HTTPException, HTTPMessage
from typing import IO, Any

from certshelf.errors import CredentialError
from certshelf.secret import Secret

_TIMEOUT_SECONDS = 5.0
_MAX_BYTES = 64 * 1024


def read_field(url: str, field: str, token: Secret, ca_file: str = "") -> Secret:
    """A field of the KV secret at url, version 1 or 2; ca_file: who vouches for the server.

    One request of at most 5 s, without proxy and redirect. CredentialError says what is wrong.
    Source: developer.hashicorp.com/vault/api-docs/secret/kv.
    """
    request = urllib.request.Request(url, headers={"X-Vault-Token": token.reveal()})  # noqa: S310
    try:
        document = json.loads(_get(request, ca_file))
    except urllib.error.HTTPError as error:
        raise CredentialError(
            f"{url} answers {error.code}", hint="check the path and what the token may read"
        ) from None
    except (OSError, HTTPException, ValueError) as error:
        raise CredentialError(f"cannot read {url}: {error}") from None
    value = _field(document, field)
    if not isinstance(value, str) or not value:
        raise CredentialError(f"{url} has no text in {field!r}")
    return Secret(value)


def _field(document: Any, field: str) -> object:
    """The field of a KV secret: version 2 has its values one level deeper, beside `metadata`."""
    data = document.get("data") if isinstance(document, dict) else None
    if isinstance(data, dict) and isinstance(data.get("data"), dict) and "metadata" in data:
        data = data["data"]
    return data.get(field) if isinstance(data, dict) else None


def _get(request: urllib.request.Request, ca_file: str) -> bytes:
    context = ssl.create_default_context(cafile=ca_file or None)
    opener = urllib.request.build_opener(
        urllib.request.ProxyHandler({}),
        urllib.request.HTTPSHandler(context=context),
        _NoRedirects(),
    )
    with opener.open(request, timeout=_TIMEOUT_SECONDS) as answer:
        body: bytes = answer.read(_MAX_BYTES)
    return body


class _NoRedirects(urllib.request.HTTPRedirectHandler):
    """A token is for one server only."""

    def redirect_request(
        self, req: Any, fp: IO[bytes], code: int, msg: str, headers: HTTPMessage, newurl: str
    ) -> None:
        return None
