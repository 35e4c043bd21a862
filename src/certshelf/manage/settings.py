"""certshelf.toml: the few settings that are no records, as frozen dataclasses.

A setting that cannot be used is a ConfigError that names file, line, key and what was expected.
Secrets are never here: a setting names a credential.
"""

from __future__ import annotations

import json
import os
import re
import secrets
import tomllib
from collections.abc import Mapping
from dataclasses import Field, dataclass, field, fields
from pathlib import Path
from typing import Any, cast

from certshelf.errors import ConfigError

Value = str | int | bool


def _setting(default: Value, what: str, *, one_of: tuple[str, ...] = (), least: int = 0) -> Any:
    """A field of a section: its default, what it means, and what it may be."""
    return field(default=default, metadata={"what": what, "one_of": one_of, "least": least})


@dataclass(frozen=True, slots=True)
class ShelfSettings:
    """[shelf]: where the shelf lies and how its files are written."""

    store: str = _setting("", "where the shelf lies: a folder, or a file:, smb: or s3: URL")
    store_credential: str = _setting("", "the credential (login) that opens the store, if any")
    store_endpoint: str = _setting("", "address of an S3 server that is not Amazon's")
    reader_credential: str = _setting(
        "", "the credential (login) that servers read the share with: the doctor asks as it"
    )
    other_accounts: str = _setting(
        "", "further accounts that belong on the share's access list, by commas"
    )
    password_credential: str = _setting(
        "shelf-password", "the credential with the one password of all PFX files"
    )
    profile: str = _setting(
        "modern",
        "how PFX files are encrypted; windows-2016 when a server is older than Windows 2019",
        one_of=("modern", "windows-2016"),
    )
    owner: str = _setting("", "who writes here, in the shelf's records: never the same twice")
    history: int = _setting(5, "how many earlier versions of each file to keep")
    history_days: int = _setting(0, "for how many days to keep them; 0: until newer ones come")


@dataclass(frozen=True, slots=True)
class DatabaseSettings:
    """[database]: where the records lie."""

    url: str = _setting("", "empty: certshelf.db in this folder; or postgresql://user@host/name")


@dataclass(frozen=True, slots=True)
class CertificateSettings:
    """[certificates]: what a new managed certificate gets when it does not say."""

    issuer: str = _setting("local", "the issuer of new certificates")
    key: str = _setting(
        "ecdsa-p256",
        "the key type of new certificates",
        one_of=("ecdsa-p256", "ecdsa-p384", "rsa-2048", "rsa-3072", "rsa-4096"),
    )
    mode: str = _setting(
        "auto",
        "what happens after issuance: shelf and tasks, shelf only, nothing",
        one_of=("auto", "shelf-only", "none"),
    )


@dataclass(frozen=True, slots=True)
class ServiceSettings:
    """[service]: how `certshelf run` goes about it."""

    listen: str = _setting(
        "127.0.0.1:9411", "loopback address and port of /metrics and /healthz; empty: none"
    )
    tick_seconds: int = _setting(30, "how often to look for what is due", least=1)
    budget_per_hour: int = _setting(
        0, "at most so many orders begin in any hour, counted over all managers; 0: no limit"
    )
    windows: str = _setting(
        "",
        "when files may be deployed, as in `mon-fri 02:00-05:00; sun 22:00-04:00`; empty: always",
    )
    time_zone: str = _setting("", "whose time windows are in, as in Europe/Berlin; empty: UTC")
    doctor_minutes: int = _setting(60, "how often the doctor looks at everything; 0: never")
    events_to: str = _setting(
        "stdout",
        "where events go besides the database",
        one_of=("stdout", "journald", "windows-event-log", "none"),
    )
    drain_seconds: int = _setting(60, "how long a stop waits for steps that are under way", least=1)


@dataclass(frozen=True, slots=True)
class NotifySettings:
    """[notify]: who is told when something needs a person."""

    smtp: str = _setting("", "host:port of your own mail server; empty: no mail")
    smtp_security: str = _setting(
        "starttls",
        "how the connection is protected; none is for a server on this machine only",
        one_of=("starttls", "tls", "none"),
    )
    smtp_ca_file: str = _setting("", "the CA of the mail server, PEM; empty: the system's")
    smtp_credential: str = _setting("", "the credential (login) for the mail server, if any")
    mail_from: str = _setting("", "the sender's address")
    mail_to: str = _setting("", "who gets the mail, separated by commas")
    webhook_credential: str = _setting(
        "", "the credential (token) that holds an https URL to post digests to, if any"
    )
    webhook_allow: str = _setting(
        "", "host names of webhooks that may lie in private networks, separated by commas"
    )
    apprise_credential: str = _setting(
        "", "the credential (token) that holds an apprise URL, if any; needs certshelf[notify]"
    )
    after_failures: int = _setting(3, "tell of a certificate after so many failures", least=1)
    shelf_days: int = _setting(0, "tell when no file was written for so many days; 0: never")
    credential_days: int = _setting(
        0, "tell when a credential was not changed for so many days; 0: never"
    )
    digest_minutes: int = _setting(60, "at most one message in so many minutes", least=1)
    repeat_hours: int = _setting(24, "tell again of what stays wrong after so many hours", least=1)


@dataclass(frozen=True, slots=True)
class Settings:
    """The whole file."""

    shelf: ShelfSettings = field(default_factory=ShelfSettings)
    database: DatabaseSettings = field(default_factory=DatabaseSettings)
    certificates: CertificateSettings = field(default_factory=CertificateSettings)
    service: ServiceSettings = field(default_factory=ServiceSettings)
    notify: NotifySettings = field(default_factory=NotifySettings)


_SECTIONS: dict[str, type[Any]] = {
    "shelf": ShelfSettings,
    "database": DatabaseSettings,
    "certificates": CertificateSettings,
    "service": ServiceSettings,
    "notify": NotifySettings,
}


def load_settings(path: Path) -> Settings:
    """Read and check the file; the defaults when it is not there."""
    try:
        text = path.read_text(encoding="utf-8")
    except FileNotFoundError:
        return Settings()
    except (OSError, UnicodeDecodeError) as error:
        reason = error.strerror if isinstance(error, OSError) else "it is not UTF-8"
        raise ConfigError(f"cannot read {path}: {reason}") from error
    return parse_settings(text, str(path))


def parse_settings(text: str, where: str) -> Settings:
    """Settings from the text of a file; where: its name, for messages."""
    try:
        document = tomllib.loads(text)
    except tomllib.TOMLDecodeError as error:
        raise ConfigError(f"{where}: no TOML: {error}") from error
    source = _Source(where, text)
    source.refuse_unknown("", document, _SECTIONS)
    return Settings(**{name: _section(source, name, document.get(name, {})) for name in _SECTIONS})


@dataclass(frozen=True, slots=True)
class _Source:
    """The text that is parsed, to say where something is wrong."""

    where: str
    text: str

    def refuse(self, key: str, expected: str, *, hint: str = "") -> ConfigError:
        line = _line_of(self.text, key)
        at = f"{self.where}:{line}" if line else self.where
        return ConfigError(f"{at}: {key}: expected {expected}", hint=hint)

    def refuse_unknown(self, prefix: str, found: Mapping[str, object], known: object) -> None:
        names: list[str] = list(known)  # type: ignore[call-overload]
        for key in found:
            if key not in names:
                what = "a setting" if prefix else "a section"
                raise self.refuse(f"{prefix}{key}", f"{what} of these: {', '.join(names)}")


def _section(source: _Source, name: str, found: object) -> Any:
    if not isinstance(found, dict):
        raise source.refuse(name, f"a section [{name}]")
    kind = _SECTIONS[name]
    specs = {spec.name: spec for spec in fields(kind)}
    source.refuse_unknown(f"{name}.", found, specs)
    for key, value in found.items():
        _check(source, f"{name}.{key}", value, specs[key])
    return kind(**found)


def _check(source: _Source, key: str, value: object, spec: Field[Any]) -> None:
    default, metadata = spec.default, spec.metadata
    words: dict[type, str] = {str: "a text in quotes", int: "a whole number", bool: "true or false"}
    if type(value) is not type(default):
        raise source.refuse(key, words[type(default)])
    if metadata["one_of"] and value not in metadata["one_of"]:
        raise source.refuse(key, f"one of {', '.join(metadata['one_of'])}")
    if isinstance(value, int) and value < metadata["least"]:
        raise source.refuse(key, f"at least {metadata['least']}")
    if key.endswith((".url", ".store")) and _holds_password(str(value)):
        raise source.refuse(
            key, "an address without a password", hint="keep the password as a credential"
        )


def _holds_password(url: str) -> bool:
    return re.match(r"[a-z0-9+.-]+://[^/@]*:[^/@]*@", url, re.IGNORECASE) is not None


# --- writing


def write_initial(path: Path, chosen: Mapping[str, Value]) -> bool:
    """Write the file with every setting explained, unless it is there; whether it was written.

    chosen: values by key (`shelf.store`); `shelf.owner` gets a random one. The rest is written
    as comments, so that a later default applies.
    """
    text = initial_text({"shelf.owner": f"certshelf-{secrets.token_hex(4)}", **chosen})
    parse_settings(text, str(path))  # what we write, we can read
    try:
        with path.open("x", encoding="utf-8", newline="\n") as file:
            file.write(text)
    except FileExistsError:
        return False
    except OSError as error:
        raise ConfigError(f"cannot write {path}: {error.strerror}") from error
    return True


def initial_text(chosen: Mapping[str, Value]) -> str:
    """The text of a new file."""
    lines = ["# certshelf's settings. Secrets are never here: see `certshelf credential`.", ""]
    for name, kind in _SECTIONS.items():
        lines.append(f"[{name}]")
        for spec in fields(kind):
            key = f"{name}.{spec.name}"
            lines.append(f"# {spec.metadata['what']}{_choices(spec.metadata)}")
            mark = "" if key in chosen else "# "
            lines.append(f"{mark}{spec.name} = {_toml(chosen.get(key, _default(spec)))}")
        lines.append("")
    return "\n".join(lines)


def update_settings(path: Path, changes: Mapping[str, Value]) -> None:
    """Change settings (`shelf.profile`) in the file, all at once; other lines and comments stay.

    Raises ConfigError, and leaves the file alone, when a value does not fit or the file is
    written in a way that a change of one line cannot serve.
    """
    path = path.resolve()  # where it is a link, the link stays
    text = path.read_text(encoding="utf-8")
    for key, value in changes.items():
        text = _changed(path, text, key, value)
    temp = path.with_name(f".{path.name}.{secrets.token_hex(6)}.tmp")
    try:
        with temp.open("x", encoding="utf-8", newline="\n") as file:
            file.write(text)
            file.flush()
            os.fsync(file.fileno())
        temp.chmod(path.stat().st_mode & 0o777)
        temp.replace(path)
    except OSError as error:
        raise ConfigError(f"cannot write {path}: {error.strerror}") from error
    finally:
        temp.unlink(missing_ok=True)


def _changed(path: Path, text: str, key: str, value: Value) -> str:
    section, _, name = key.partition(".")
    before = tomllib.loads(text)
    after = _with_line(text, section, name, f"{name} = {_toml(value)}")
    parse_settings(after, str(path))
    if tomllib.loads(after) != {**before, section: {**before.get(section, {}), name: value}}:
        raise ConfigError(f"{path}: cannot change {key} by itself", hint="edit the file by hand")
    return after


def describe() -> tuple[tuple[str, Value, str], ...]:
    """Every setting as (key, default, meaning), in the order of the file."""
    return tuple(
        (f"{name}.{spec.name}", _default(spec), spec.metadata["what"] + _choices(spec.metadata))
        for name, kind in _SECTIONS.items()
        for spec in fields(kind)
    )


def database_url(settings: Settings, database: Path) -> str:
    """The address of the database for SQLAlchemy; database: the file when none is set.

    A PostgreSQL password comes from libpq's own places: ~/.pgpass, PGPASSFILE, or a `passfile`
    parameter of the address.
    """
    url = settings.database.url
    if not url:
        return f"sqlite:///{os.path.abspath(database)}"  # noqa: PTH100  # symlinks stay
    for prefix in ("postgresql://", "postgres://"):
        if url.startswith(prefix):
            return "postgresql+psycopg://" + url[len(prefix) :]
    raise ConfigError("database.url: expected nothing or postgresql://user@host/name")


def _default(spec: Field[Any]) -> Value:
    return cast(Value, spec.default)


def _choices(metadata: Mapping[str, Any]) -> str:
    return f" ({', '.join(metadata['one_of'])})" if metadata["one_of"] else ""


def _toml(value: Value) -> str:
    # A JSON string is a TOML basic string, but for DEL
    return json.dumps(value, ensure_ascii=False).replace("\x7f", "\\u007f")


def _line_of(text: str, key: str) -> int:
    """The line of `section.key` or of the section itself; 0 when it is written otherwise."""
    section, _, name = key.partition(".")
    current = ""
    for number, line in enumerate(text.splitlines(), 1):
        header = _header(line)
        current = current if header is None else header
        if name and current == section and re.match(rf"\s*{re.escape(name)}\s*=", line):
            return number
        if name and re.match(rf"\s*{re.escape(section)}\s*\.\s*{re.escape(name)}\s*=", line):
            return number
        if not name and (header == section or re.match(rf"\s*{re.escape(section)}\s*=", line)):
            return number
    return 0


def _header(line: str) -> str | None:
    found = re.match(r"\s*\[\s*([A-Za-z0-9_-]+)\s*\]", line)
    return found.group(1) if found else None


def _with_line(text: str, section: str, name: str, new: str) -> str:
    """The text with the line of one setting replaced, its comment taken up, or added."""
    lines = text.splitlines()
    start = next((i for i, line in enumerate(lines) if _header(line) == section), None)
    if start is None:
        return "\n".join([*lines, "", f"[{section}]", new, ""])
    end = next((i for i in range(start + 1, len(lines)) if _header(lines[i])), len(lines))
    for pattern in (rf"\s*{re.escape(name)}\s*=", rf"#\s*{re.escape(name)}\s*="):
        for i in range(start + 1, end):
            if re.match(pattern, lines[i]):
                lines[i] = new
                return "\n".join([*lines, ""])
    lines.insert(start + 1, new)
    return "\n".join([*lines, ""])
