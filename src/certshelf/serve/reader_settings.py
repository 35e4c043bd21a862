"""What a reader is told: its flags, the same keys in a TOML file, the secrets that they name."""

from __future__ import annotations

import argparse
import base64
import binascii
import os
import stat
import tomllib
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey
from cryptography.hazmat.primitives.serialization import load_pem_public_key

from certshelf.errors import ConfigError, NameInvalid
from certshelf.names import HostName
from certshelf.secret import Secret

MAX_FILE_BYTES = 64 * 1024 * 1024
UNIX = "unix:"


@dataclass(frozen=True, slots=True)
class ReaderSettings:
    """Where the shelf lies, and what to serve it through. Paths as given; times in seconds."""

    shelf: str
    password_file: Path | None = None
    store_username: str = ""
    store_password_file: Path | None = None
    manifest_key: Path | None = None
    cache: Path | None = None
    names: Path | None = None
    poll_s: float = 60.0
    allow_users: tuple[str, ...] = ()
    envoy: Path | None = None
    http: tuple[str, ...] = ()
    http_path_file: Path | None = None
    mirror: Path | None = None
    mirror_lazily: bool = False
    mirror_owner: str = ""
    mirror_mode: int = 0o640
    mirror_grace_s: float = 3600.0
    mirror_pfx: Path | None = None
    haproxy: tuple[Path, ...] = ()
    traefik: Path | None = None
    apache_reload: str = ""
    challenges: tuple[str, ...] = ()
    challenge_thumbprint: str = ""

    @property
    def serves(self) -> bool:
        """Whether anybody is served; the other flags need one of these."""
        places = self.http or self.envoy or self.mirror or self.mirror_pfx
        return bool(places or self.challenges)


def parser(program: str) -> argparse.ArgumentParser:
    """The command line; --config FILE gives any of the long flags as `key = value`."""
    flags = argparse.ArgumentParser(
        prog=program,
        description="Serve the certificates of a shelf to the web servers of this machine.",
        epilog="SIGHUP reads the settings again, SIGTERM stops.",
    )
    add = flags.add_argument
    add("--config", type=Path, help="TOML file with the flags below as keys")
    add("--check", action="store_true", help="look at settings and shelf, say what is wrong, end")
    add("--shelf", metavar="URL", help="where the shelf lies: a path, file:, smb:, s3:")
    add("--password-file", type=Path, metavar="FILE", help="password of the PFX files")
    add("--store-username", default="", metavar="USER", help="account for a share or bucket")
    add("--store-password-file", type=Path, metavar="FILE", help="its password")
    add("--manifest-key", type=Path, metavar="FILE", help="serve only what this key vouches for")
    add("--cache", type=Path, metavar="DIR", help="encrypted copies, for a shelf that is away")
    add("--names", type=Path, metavar="FILE", help="serve only these names, one a line")
    add("--poll", type=float, default=60.0, metavar="SECONDS", help="how often to list the shelf")
    add("--allow-user", action="append", default=[], metavar="USER", help="may ask for keys")
    add("--envoy", metavar="unix:PATH", help="serve Envoy's secret discovery")
    add(
        "--http", action="append", default=[], metavar="ADDRESS", help="unix:PATH or 127.0.0.1:PORT"
    )
    add("--http-path-file", type=Path, metavar="FILE", help="secret path of 127.0.0.1:PORT")
    add("--mirror", type=Path, metavar="DIR", help="PEM files for nginx, Apache, Traefik, HAProxy")
    add("--mirror-lazily", action="store_true", help="only names that were asked for (nginx Lua)")
    add("--mirror-owner", default="", metavar="USER[:GROUP]", help="owner of the PEM files")
    add("--mirror-mode", default="0640", metavar="MODE", help="mode of the PEM files")
    add("--mirror-grace", type=float, default=3600.0, metavar="SECONDS", help="see the manual")
    add("--mirror-pfx", type=Path, metavar="DIR", help="keep a local CCS folder equal to the shelf")
    add("--haproxy", action="append", default=[], metavar="unix:PATH", help="push to HAProxy")
    add("--traefik", type=Path, metavar="FILE", help="write Traefik's dynamic configuration")
    add("--apache-reload", default="", metavar="COMMAND", help="run after changes, batched")
    add("--challenges", action="append", default=[], metavar="ADDRESS", help="answer http-01 there")
    add("--challenge-thumbprint", default="", metavar="TEXT", help="of the account at the CA")
    return flags


def read_settings(program: str, argv: Sequence[str]) -> tuple[ReaderSettings, bool]:
    """Settings from the command line and its --config file, and whether only to --check.

    The command line wins over the file. Raises ConfigError; argparse's own errors end the process.
    """
    flags = parser(program)
    argv = _with_thumbprint_joined(argv)
    first, _ = flags.parse_known_args(argv)
    known = {action.dest for action in flags._actions} - {"help", "config", "check"}
    words = _config_words(first.config, known) if first.config else []
    found = flags.parse_args([*words, *argv])
    if not found.shelf:
        raise ConfigError("no shelf is named", hint="give --shelf URL")
    settings = ReaderSettings(
        shelf=found.shelf,
        password_file=found.password_file,
        store_username=found.store_username,
        store_password_file=found.store_password_file,
        manifest_key=found.manifest_key,
        cache=found.cache,
        names=found.names,
        poll_s=found.poll,
        allow_users=tuple(found.allow_user),
        envoy=_socket("--envoy", found.envoy) if found.envoy else None,
        http=tuple(found.http),
        http_path_file=found.http_path_file,
        mirror=found.mirror,
        mirror_lazily=found.mirror_lazily,
        mirror_owner=found.mirror_owner,
        mirror_mode=_mode(found.mirror_mode),
        mirror_grace_s=found.mirror_grace,
        mirror_pfx=found.mirror_pfx,
        haproxy=tuple(_socket("--haproxy", text) for text in found.haproxy),
        traefik=found.traefik,
        apache_reload=found.apache_reload,
        challenges=tuple(found.challenges),
        challenge_thumbprint=found.challenge_thumbprint,
    )
    _check(settings)
    return settings, found.check


def read_password(path: Path | None) -> Secret | None:
    """The first line of a file, without its line end; None without a file."""
    if path is None:
        return None
    lines = _read_text(path).split("\n", 1)
    password = lines[0].removesuffix("\r")
    if not password:
        raise ConfigError(f"the password file {path} is empty")
    return Secret(password)


def read_old_passwords(path: Path | None) -> tuple[Secret | None, ...]:
    """The further lines of a password file: older passwords, while the shelf's is being changed."""
    if path is None:
        return ()
    lines = _read_text(path).split("\n")[1:]
    return tuple(Secret(text) for line in lines if (text := line.removesuffix("\r")))


def read_manifest_key(path: Path | None) -> Ed25519PublicKey | None:
    """An Ed25519 public key in PEM, or its 32 bytes in base64 on one line."""
    if path is None:
        return None
    text = _read_text(path)
    try:
        if "-----BEGIN" not in text:
            return Ed25519PublicKey.from_public_bytes(base64.b64decode(text.strip(), validate=True))
        key = load_pem_public_key(text.encode())
    except (ValueError, binascii.Error, UnsupportedAlgorithm) as error:
        raise ConfigError(f"{path} holds no Ed25519 public key") from error
    if not isinstance(key, Ed25519PublicKey):
        raise ConfigError(f"{path} holds a public key that is not Ed25519")
    return key


def read_names(path: Path | None) -> Callable[[HostName], bool] | None:
    """Whether a host is in a file of names, one a line, `#` for comments; None without a file."""
    if path is None:
        return None
    names: set[str] = set()
    for number, line in enumerate(_read_text(path).splitlines(), 1):
        text = line.partition("#")[0].strip()
        try:
            if text:
                names.add(HostName.parse(text).ascii)
        except NameInvalid as error:
            raise ConfigError(f"{path} line {number}: {error}") from error

    def allows(host: HostName) -> bool:
        return any(candidate.ascii in names for candidate in host.candidates())

    return allows


def _with_thumbprint_joined(argv: Sequence[str]) -> list[str]:
    """The words, the thumbprint joined to its flag: one in 64 begins with a dash, like a flag."""
    words: list[str] = []
    for word in argv:
        if words and words[-1] == "--challenge-thumbprint":
            words[-1] += f"={word}"
        else:
            words.append(word)
    return words


def _config_words(path: Path, known: set[str]) -> list[str]:
    """The file's keys as command-line words."""
    try:
        values = tomllib.loads(_read_text(path))
    except tomllib.TOMLDecodeError as error:
        raise ConfigError(f"{path} is no TOML: {error}") from error
    words: list[str] = []
    for key, value in values.items():
        if key.replace("-", "_") not in known:
            raise ConfigError(f"{path}: unknown key {key!r}", hint="the keys are the long flags")
        for item in value if isinstance(value, list) else [value]:
            if item is True:
                words.append(f"--{key}")
            elif isinstance(item, (str, int, float)) and item is not False:
                words.append(f"--{key}={item}")
            elif item is not False:
                raise ConfigError(f"{path}: {key} is neither text, number, true nor false")
    return words


def _read_text(path: Path) -> str:
    """A settings file, at most MAX_FILE_BYTES of UTF-8; ConfigError when that is not there."""
    try:
        with path.open("rb") as file:
            mode = os.fstat(file.fileno()).st_mode
            if not stat.S_ISREG(mode) and not stat.S_ISFIFO(mode):
                raise ConfigError(f"{path} is no file")
            data = file.read(MAX_FILE_BYTES + 1)
        if len(data) > MAX_FILE_BYTES:
            raise ConfigError(f"{path} is too large")
        text = data.decode("utf-8-sig")
    except OSError as error:
        raise ConfigError(f"cannot read {path}: {error.strerror}") from error
    except UnicodeDecodeError:  # it carries the bytes, which may be a password
        raise ConfigError(f"cannot read {path}: it is not UTF-8") from None
    return text.replace("\r\n", "\n")


def _socket(flag: str, text: str) -> Path:
    if not text.startswith(UNIX) or len(text) == len(UNIX):
        raise ConfigError(f"{flag} {text!r}: no Unix socket", hint=f"write {flag} unix:/run/...")
    return Path(text.removeprefix(UNIX))


def _mode(text: str) -> int:
    try:
        mode = int(text, 8)
    except ValueError as error:
        raise ConfigError(f"--mirror-mode {text!r}: no octal mode", hint="such as 0640") from error
    if mode & ~0o660 or not mode & 0o400:
        raise ConfigError(
            f"--mirror-mode {text}: keys are for an owner and a group only",
            hint="such as 0640 or 0400",
        )
    return mode


def _check(settings: ReaderSettings) -> None:
    """Refuse flags that need others."""
    needs_mirror = settings.haproxy or settings.traefik or settings.apache_reload
    if needs_mirror and (settings.mirror is None or settings.mirror_lazily):
        raise ConfigError(
            "HAProxy, Traefik and Apache read the PEM files of a whole mirror",
            hint="give --mirror DIR, and no --mirror-lazily",
        )
    if settings.mirror_lazily and not (settings.mirror and settings.http):
        raise ConfigError(
            "a lazy mirror is filled by questions", hint="give --mirror DIR and --http unix:PATH"
        )
    if bool(settings.challenges) != bool(settings.challenge_thumbprint):
        raise ConfigError(
            "--challenges and --challenge-thumbprint belong together",
            hint="certshelf issuer show ISSUER prints the thumbprint",
        )
    if settings.store_username and settings.store_password_file is None:
        raise ConfigError("a store's account needs its password", hint="give --store-password-file")
