"""A shelf's store in a bucket: one object per file, written by one conditional put.

S3 and what speaks it, Google Cloud Storage and Azure, through the package obstore. A put is whole
or not at all by the service's own promise, so there are no temps and no sweep. A version is the
object's ETag: on S3 that is a digest of the content, so writing the same bytes again may give the
same version.
"""

from __future__ import annotations

import importlib
import ipaddress
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from datetime import timedelta
from functools import partial
from typing import Any, TypeVar
from urllib.parse import urlsplit

from certshelf.errors import (
    ConfigError,
    StoreBadCredentials,
    StoreConflict,
    StoreCorrupt,
    StoreDenied,
    StoreError,
    StoreFull,
    StoreInvalidName,
    StoreNotFound,
    StoreTimeout,
    StoreUnreachable,
)
from certshelf.store.base import (
    ABSENT,
    ANY,
    DEADLINE_SECONDS,
    MAX_BYTES,
    Blob,
    Entry,
    Expect,
    StoreCredentials,
    Version,
    check_folder,
    check_key,
    too_large,
)
from certshelf.store.deadline import Deadline

T = TypeVar("T")
_SCHEMES = {"s3": "S3Store", "gs": "GCSStore", "az": "AzureStore"}
_RETRIES = 2


class BucketStore:
    """Keeps the contract of Store but for the version of equal bytes. Build one with from_url().

    Delete has no condition in S3's API as it is used here: it compares first and deletes then, so
    a write that falls between the two is lost. Nothing in certshelf deletes what it also renews.
    """

    def __init__(
        self, url: str, bucket: Any, *, deadline_seconds: float = DEADLINE_SECONDS
    ) -> None:
        self._url = url
        self._bucket = bucket
        self._needs_head = not url.startswith("s3:")  # others compare by more than the ETag
        self._deadline = Deadline(deadline_seconds)
        self._library = _library("obstore")

    @staticmethod
    def from_url(
        url: str,
        credentials: StoreCredentials | None,
        deadline_seconds: float = DEADLINE_SECONDS,
    ) -> BucketStore:
        """A store at `s3://bucket/prefix`, `gs://bucket/prefix` or `az://container/prefix`.

        credentials: for S3 key id, secret and the endpoint of a server that is not Amazon's; for
        Azure account and key; for Google the service account's JSON as the password; None for what
        the environment or the machine gives (AWS_..., instance roles). Raises ConfigError.
        """
        _check_address(url)
        options: dict[str, Any] = {"timeout": f"{deadline_seconds:g}s", "connect_timeout": "5s"}
        config = _config(url, credentials)
        endpoint = credentials.endpoint if credentials else ""
        if endpoint:
            options["allow_http"] = _may_be_plain(endpoint)
        split = urlsplit(url)
        bucket = getattr(_library("obstore.store"), _SCHEMES[split.scheme])(
            split.netloc,
            prefix=split.path.strip("/") or None,
            config=config,
            client_options=options,
            retry_config={
                "max_retries": _RETRIES,
                "retry_timeout": timedelta(seconds=deadline_seconds),
            },
        )
        return BucketStore(url, bucket, deadline_seconds=deadline_seconds)

    @property
    def url(self) -> str:
        """See Store."""
        return self._url

    @property
    def is_local(self) -> bool:
        """See Store."""
        return False

    def get(self, key: str) -> Blob | None:
        """See Store."""
        check_key(key)
        return self._run("read", key, partial(self._get, key))

    def look(self, key: str) -> Version | None:
        """See Store."""
        check_key(key)
        found = self._run("look at", key, partial(self._head, key))
        return None if found is None else _version(found)

    def put(self, key: str, data: bytes, expect: Version | Expect) -> Version:
        """See Store."""
        check_key(key)
        if len(data) > MAX_BYTES:
            raise StoreCorrupt(f"{self._what('write', key)}: more than {MAX_BYTES} bytes")
        return self._run("write", key, partial(self._put, key, bytes(data), expect))

    def delete(self, key: str, expect: Version | Expect = ANY) -> bool:
        """See Store; between the comparison and the deletion another write may be lost."""
        check_key(key)
        return self._run("delete", key, partial(self._delete, key, expect))

    def list(self, folder: str = "") -> Iterator[Entry]:
        """See Store. The deadline is that of the whole listing."""
        parts = check_folder(folder)
        objects = self._run("list", folder or "names", partial(self._list, "/".join(parts)))
        for found in objects:
            entry = _entry(found)
            if entry is not None:
                yield entry

    def sweep(self, older_than_seconds: float = 3600.0) -> int:
        """See Store: a bucket never shows an unfinished put."""
        return 0

    def check_login(self) -> None:
        """Ask for one object; raises what a call would raise."""
        self.look("certshelf-login-check")

    def close(self) -> None:
        """See Store."""
        self._deadline.close()

    def _run(self, verb: str, key: str, call: Callable[[], T]) -> T:
        what = self._what(verb, key)

        def bounded() -> T:
            with _as_store_errors(what):
                return call()

        return self._deadline.call(bounded, what)

    def _what(self, verb: str, key: str) -> str:
        return f"cannot {verb} {key} in {self._url}"

    def _get(self, key: str) -> Blob | None:
        try:
            answer = self._library.get(self._bucket, key)
            if answer.meta["size"] > MAX_BYTES:
                raise too_large(self._what("read", key), answer.meta["size"])
            return Blob(bytes(answer.bytes()), _version(answer.meta))
        except FileNotFoundError as error:
            _refuse_missing_bucket(error)
            return None

    def _head(self, key: str) -> dict[str, Any] | None:
        try:
            found: dict[str, Any] = self._library.head(self._bucket, key)
        except FileNotFoundError as error:
            _refuse_missing_bucket(error)
            return None
        except _library("obstore.exceptions").PermissionDeniedError:
            self._library.get(self._bucket, key)  # its answer has a body, which says why
            raise
        return found

    def _put(self, key: str, data: bytes, expect: Version | Expect) -> Version:
        exceptions = _library("obstore.exceptions")
        lost_race = (
            FileNotFoundError,
            exceptions.AlreadyExistsError,
            exceptions.PreconditionError,
        )
        try:
            made = self._library.put(
                self._bucket, key, data, mode=self._mode(key, expect), use_multipart=False
            )
        except lost_race as error:
            _refuse_missing_bucket(error)
            if expect is ANY:
                raise
            raise self._conflict("write", key, expect, self._head(key)) from error
        return self._read_back(key, data, Version(made["e_tag"] or ""))

    def _mode(self, key: str, expect: Version | Expect) -> Any:
        if expect is ANY:
            return "overwrite"
        if expect is ABSENT:
            return "create"
        if not self._needs_head:
            return {"e_tag": expect}
        found = self._head(key)
        if found is None or _version(found) != expect:
            raise self._conflict("write", key, expect, found)
        return {"e_tag": found["e_tag"], "version": found["version"]}

    def _read_back(self, key: str, data: bytes, made: Version) -> Version:
        there = self._get(key)
        if there is None or (there.version == made and there.data != data):
            raise StoreCorrupt(
                f"{self._what('write', key)}: what is read back is something else",
                hint="check the storage service, and that nothing else writes this prefix",
            )
        return made  # another version there: somebody wrote right after us

    def _delete(self, key: str, expect: Version | Expect) -> bool:
        found = self._head(key)
        if found is None:
            return False
        if expect is not ANY and _version(found) != expect:
            raise self._conflict("delete", key, expect, found)
        self._library.delete(self._bucket, key)
        return True

    def _list(self, folder: str) -> Sequence[dict[str, Any]]:
        try:
            found = self._library.list_with_delimiter(self._bucket, folder or None)
        except FileNotFoundError as error:
            _refuse_missing_bucket(error)
            return []
        objects: Sequence[dict[str, Any]] = found["objects"]
        return objects

    def _conflict(
        self, verb: str, key: str, expect: Version | Expect, found: dict[str, Any] | None
    ) -> StoreConflict:
        return StoreConflict(
            f"{self._what(verb, key)}: somebody else wrote it first",
            hint="read it again, then decide again",
            expected="absent" if isinstance(expect, Expect) else expect,
            found="absent" if found is None else _version(found),
        )


def _library(name: str) -> Any:
    """A module of obstore, imported on first use: only who has a bucket needs it."""
    try:
        return importlib.import_module(name)
    except ImportError as error:
        raise ConfigError(
            "a bucket needs the package obstore", hint="pip install 'certshelf[bucket]'"
        ) from error


def _version(meta: dict[str, Any]) -> Version:
    return Version(str(meta["e_tag"] or meta["version"] or meta["last_modified"]))


def _entry(found: dict[str, Any]) -> Entry | None:
    try:
        check_key(found["path"])
    except StoreInvalidName:  # not ours
        return None
    return Entry(found["path"], found["size"], _version(found), found["last_modified"])


# --- the address


def _check_address(url: str) -> None:
    split = urlsplit(url)
    if "@" in split.netloc:
        raise ConfigError(
            "a store's address holds no account", hint="keep it with: certshelf credential set"
        )
    if split.scheme not in _SCHEMES or not split.netloc or split.query or split.fragment:
        raise ConfigError(f"no address of a bucket: {url[:200]}: expected s3://bucket/prefix")
    for part in filter(None, split.path.split("/")):
        try:
            check_key(part)
        except StoreInvalidName as error:
            raise ConfigError(f"no address of a bucket: {url[:200]}: {part!r}") from error


def _config(url: str, credentials: StoreCredentials | None) -> dict[str, Any]:
    if credentials is None:
        return {}
    password = credentials.password.reveal()
    if url.startswith("gs:"):
        return {"service_account_key": password}
    if url.startswith("az:"):
        return {"account_name": credentials.username, "account_key": password}
    config: dict[str, Any] = {
        "access_key_id": credentials.username,
        "secret_access_key": password,
    }
    if credentials.endpoint:  # such servers have no regions, but a signature names one
        config |= {
            "endpoint": credentials.endpoint.rstrip("/"),
            "region": "us-east-1",
            "virtual_hosted_style_request": False,
        }
    return config


def _may_be_plain(endpoint: str) -> bool:
    """Whether an endpoint is HTTP; only this machine's own may be, since keys travel."""
    split = urlsplit(endpoint)
    if split.scheme == "https" and split.hostname:
        return False
    if split.scheme == "http" and split.hostname and _is_loopback(split.hostname):
        return True
    raise ConfigError(
        f"cannot use the endpoint {endpoint[:200]}: keys travel by https:// only",
        hint="give the server a certificate; http:// is for this machine itself",
    )


def _is_loopback(host: str) -> bool:
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"


# --- errors

_CHECK_KEY = "check the store's credential"
_BY_WORD: tuple[tuple[str, type[StoreError], str, str], ...] = (
    ("InvalidAccessKeyId", StoreBadCredentials, "no such access key", _CHECK_KEY),
    ("SignatureDoesNotMatch", StoreBadCredentials, "the secret is refused", _CHECK_KEY),
    ("ExpiredToken", StoreBadCredentials, "the key has expired", _CHECK_KEY),
    ("InvalidToken", StoreBadCredentials, "the key is refused", _CHECK_KEY),
    ("AuthenticationFailed", StoreBadCredentials, "the key is refused", _CHECK_KEY),
    ("NoSuchBucket", StoreNotFound, "there is no such bucket", "check its name and region"),
    ("ContainerNotFound", StoreNotFound, "there is no such container", "check its name"),
    ("AccessDenied", StoreDenied, "access denied", "check the key's policy"),
    ("403 Forbidden", StoreDenied, "access denied", "check the key's policy"),
    ("401 Unauthorized", StoreBadCredentials, "the key is refused", _CHECK_KEY),
    ("QuotaExceeded", StoreFull, "the quota is used up", "make room"),
    ("status code: 507", StoreFull, "no space left", "make room"),
    ("timed out", StoreTimeout, "no answer in time", "check the network"),
)
"""The first word that is found decides (Amazon S3 API Reference, Error responses)."""


@contextmanager
def _as_store_errors(what: str) -> Iterator[None]:
    """Turn obstore's errors into the ten. Its texts are only searched: they quote requests."""
    exceptions = _library("obstore.exceptions")
    try:
        yield
    except exceptions.InvalidPathError:
        raise StoreInvalidName(f"{what}: no name for an object") from None
    except (exceptions.BaseError, OSError, ValueError) as error:
        raise _by_word(what, str(error)) from None


def _by_word(what: str, text: str) -> StoreError:
    for word, kind, reason, hint in _BY_WORD:
        if word in text:
            return kind(f"{what}: {reason}", hint=hint, code=word)
    return StoreUnreachable(
        f"{what}: the storage service does not answer as it should",
        hint="check the endpoint and the network",
    )


def _refuse_missing_bucket(error: Exception) -> None:
    if "NoSuchBucket" in str(error) or "ContainerNotFound" in str(error):
        raise StoreNotFound(
            "there is no such bucket", hint="check its name and region", code="NoSuchBucket"
        ) from None
