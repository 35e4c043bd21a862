"""What an `smb://` address says: server, account, share, folder, and whether to encrypt."""

from __future__ import annotations

from urllib.parse import parse_qsl, unquote, urlsplit

from certshelf.errors import ConfigError, StoreInvalidName
from certshelf.store.base import StoreCredentials, check_key
from certshelf.store.smb_wire import Login

_DEFAULT_PORT = 445


def parse_address(url: str, credentials: StoreCredentials | None) -> tuple[Login, tuple[str, ...]]:
    """The login and the folder in `smb://[DOMAIN;]user@server[:port]/share/folder`.

    credentials: the account's password, and its name when it is to be another than the URL's.
    Raises ConfigError, which says what is wrong and never repeats a password.
    """
    split = urlsplit(url)
    if split.password is not None:
        raise ConfigError(
            "a store's address holds no password", hint="keep it with: certshelf credential set"
        )
    try:
        port = split.port or _DEFAULT_PORT
    except ValueError as error:
        raise _bad(url, "its port is no number") from error
    share, *folder = [unquote(part) for part in split.path.split("/") if part] or [""]
    if split.scheme != "smb" or not split.hostname or not share or "\\" in share:
        raise _bad(url, "expected smb://user@server/share/folder")
    for part in folder:
        try:
            check_key(part)
        except StoreInvalidName as error:
            raise _bad(url, f"{part!r} is no folder") from error
    login = Login(
        server=split.hostname,
        port=port,
        share=share,
        username=(credentials.username if credentials else "")
        or unquote(split.username or "").replace(";", "\\"),
        password=credentials.password if credentials else None,
        encrypt=_encrypts(url, split.query),
    )
    return login, tuple(folder)


def _encrypts(url: str, query: str) -> bool:
    options = dict(parse_qsl(query, keep_blank_values=True))
    if options not in ({}, {"encryption": "off"}):
        raise _bad(url, "the only option is ?encryption=off")
    return not options


def _bad(url: str, reason: str) -> ConfigError:
    return ConfigError(f"no address of an SMB share: {url[:200]}: {reason}")
