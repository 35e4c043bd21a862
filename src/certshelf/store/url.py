"""From an address as the user writes it to the store that lies there."""

from __future__ import annotations

import os
import re
from importlib.util import find_spec
from urllib.parse import SplitResult, unquote, urlsplit

from certshelf.errors import ConfigError
from certshelf.store.base import DEADLINE_SECONDS, Store, StoreCredentials
from certshelf.store.folder import FolderStore

_SCHEME = re.compile(r"([A-Za-z][A-Za-z0-9+.-]+):")  # one letter is a drive of Windows
_BUCKETS = ("s3", "gs", "az")
_FORMS = (
    "use a path, file:///srv/shelf, smb://server/share/folder, s3://bucket/prefix, "
    "gs://bucket/prefix or az://container/prefix"
)


def open_store(
    url_or_path: str,
    *,
    credentials: StoreCredentials | None = None,
    deadline_seconds: float = DEADLINE_SECONDS,
) -> Store:
    """The store at an address. Nothing is opened before its first call.

    url_or_path: a path of this machine, also an UNC path on Windows, or one of the URLs file:,
    smb:, s3:, gs:, az:. A URL with a password in it is refused: it would end up in logs.
    credentials: for smb: and the buckets; without them the machine's own identity is used.
    deadline_seconds: how long one call may take.
    Raises ConfigError for what is no address, and when the extra for it is not installed.
    """
    found = _SCHEME.match(url_or_path)
    if not url_or_path or "\0" in url_or_path:
        raise ConfigError("no address of a store: it is empty or holds NUL", hint=_FORMS)
    if found is None:
        return FolderStore(url_or_path, deadline_seconds=deadline_seconds)
    scheme = found[1].lower()
    _split(url_or_path, scheme)  # refuses what is no URL, and a password in it
    if scheme == "file":
        return FolderStore(file_path(url_or_path), deadline_seconds=deadline_seconds)
    if scheme == "smb":
        _require("smbprotocol", "smb", scheme)
        from certshelf.store.smb import SmbStore

        share: Store = SmbStore.from_url(url_or_path, credentials, deadline_seconds)
        return share
    if scheme in _BUCKETS:
        _require("obstore", "bucket", scheme)
        from certshelf.store.bucket import BucketStore

        bucket: Store = BucketStore.from_url(url_or_path, credentials, deadline_seconds)
        return bucket
    raise ConfigError(f"no store has addresses of the form {scheme}:", hint=_FORMS)


def _split(url: str, scheme: str) -> SplitResult:
    try:
        parts = urlsplit(url)
    except ValueError as error:
        raise ConfigError(f"no address of a store: {scheme}: URL that is not valid") from error
    if parts.password is not None:
        raise ConfigError(
            f"a password in the {scheme}: address of a store",
            hint="take it out, and name a credential made with `certshelf credential set`",
        )
    return parts


def file_path(url: str) -> str:
    """The path of a file: URL (RFC 8089), on Windows `file:///C:/shelf` and `file://server/...`.

    ConfigError when it is no address of a folder on this machine.
    """
    parts = _split(url, "file")
    path = unquote(parts.path)
    host = "" if parts.netloc.lower() == "localhost" else parts.netloc
    if parts.query or parts.fragment or "\0" in path or not path.startswith("/"):
        raise ConfigError(f"no address of a folder: {url}", hint="write file:///srv/shelf")
    if os.name == "nt":
        return f"//{host}{path}" if host else path.removeprefix("/")
    if host:
        raise ConfigError(
            f"no address of a folder: {url}: it names the machine {host!r}",
            hint=f"write file://{path} with three slashes, or smb://{host}{path}",
        )
    return path


def _require(package: str, extra: str, scheme: str) -> None:
    if find_spec(package) is None:
        raise ConfigError(
            f"a store at {scheme}: needs the package {package}, which is not installed",
            hint=f"pip install 'certshelf[{extra}]'",
        )
