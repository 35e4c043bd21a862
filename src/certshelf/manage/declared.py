"""certs.toml: what to keep issued, declared in a file; and the same written out, as JSON and CSV.

Only wishes are in it: no state, no secret (a credential is named, never shown).
"""

from __future__ import annotations

import csv
import io
import json
import tomllib
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from typing import Any

from certshelf.errors import BundleError, ConfigError, NameInvalid, RecordError
from certshelf.manage.declared_tasks import as_table, parse_tasks
from certshelf.manage.model import ChallengeChoice, ManagedCertificate, Mode, Task, check_name
from certshelf.manage.settings import CertificateSettings
from certshelf.manage.wish import WISHES, plain, sorted_out
from certshelf.printable import escaped_json

_TABLE, _TASKS = "certificate", "tasks"
_LISTS = ("hosts", "fallbacks", "tags", "groups")
_FLAGS = ("reuse_key", "auto_renew")
_CSV = ("siteid", "name", "domains", "includeinautorenew", "issuer", "key", "mode", "tags")


@dataclass(frozen=True, slots=True)
class Declared:
    """A certificate of the file. tasks: None when the file does not speak of them."""

    wish: ManagedCertificate
    tasks: tuple[Task, ...] | None = None


def parse(text: str, where: str, defaults: CertificateSettings) -> list[Declared]:
    """The wishes in a file; where: its name, for messages. ConfigError says what is wrong.

    What a wish does not say is as in the settings' [certificates].
    """
    try:
        document = tomllib.loads(text)
    except (tomllib.TOMLDecodeError, RecursionError) as error:
        raise ConfigError(f"{where}: no TOML: {error}") from error
    for key in document:
        if key != _TABLE:
            raise ConfigError(f"{where}: {key!r}: expected only [[{_TABLE}]] tables")
    tables = document.get(_TABLE, [])
    if not isinstance(tables, list) or not all(isinstance(table, dict) for table in tables):
        raise ConfigError(f"{where}: expected [[{_TABLE}]] tables, two brackets on each side")
    found: dict[str, Declared] = {}
    for number, table in enumerate(tables, 1):
        one = _declared(table, f"{where}: certificate {number}", defaults)
        if one.wish.name in found:
            raise ConfigError(f"{where}: there are two certificates {one.wish.name!r}")
        found[one.wish.name] = one
    return list(found.values())


def _declared(table: Mapping[str, Any], where: str, defaults: CertificateSettings) -> Declared:
    wish = _wish({key: value for key, value in table.items() if key != _TASKS}, where, defaults)
    if _TASKS not in table:
        return Declared(wish)
    return Declared(wish, parse_tasks(f"{where} ({wish.name})", table[_TASKS]))


def _wish(
    table: Mapping[str, Any], where: str, defaults: CertificateSettings
) -> ManagedCertificate:
    name = table.get("name")
    if not isinstance(name, str):
        raise ConfigError(f"{where}: expected a name")
    where = f"{where} ({name[:64]})"
    for key in table:
        if key != "name" and key not in WISHES:
            raise ConfigError(
                f"{where}: {key!r} is no field of a certificate",
                hint=f"these are: name, {', '.join(WISHES)}, {_TASKS}",
            )
    values: dict[str, Any] = {
        "issuer": defaults.issuer,
        "key_type": defaults.key,
        "mode": defaults.mode,
    }
    values |= {WISHES[key]: _value(where, key, table[key]) for key in WISHES if key in table}
    values["hosts"], values["addresses"] = values.pop("names", ((), ()))
    try:
        values["mode"] = Mode(values["mode"])
        wish = ManagedCertificate(check_name(name, "certificate"), **values)
        wish = _with_csr(wish, table) if wish.csr else wish
        if not wish.names:
            raise ConfigError(f"{where}: expected hosts, at least one")
        return wish
    except (BundleError, NameInvalid, RecordError) as error:
        raise ConfigError(f"{where}: {error}", hint=error.hint) from error
    except ValueError as error:
        modes = ", ".join(mode.value for mode in Mode)
        raise ConfigError(f"{where}: mode: expected one of {modes}") from error


def _with_csr(wish: ManagedCertificate, table: Mapping[str, Any]) -> ManagedCertificate:
    """The wish with what its CSR says, which may be said beside it, too."""
    from certshelf.manage.foreign import require_fit, with_csr

    whole = with_csr(wish, wish.csr.encode())
    told: dict[str, Any] = {"key_type": wish.key_type} if "key" in table else {}
    if "hosts" in table:
        told |= {"hosts": wish.hosts, "addresses": wish.addresses}
    require_fit(replace(whole, **told))
    return whole


def _value(where: str, key: str, value: object) -> object:
    """One field, checked for its type and parsed."""
    if key == "challenges":
        return _challenges(where, value)
    if key in _FLAGS:
        if not isinstance(value, bool):
            raise ConfigError(f"{where}: {key}: expected true or false")
        return value
    if key not in _LISTS:
        if not isinstance(value, str):
            raise ConfigError(f"{where}: {key}: expected a text in quotes")
        return value
    if not isinstance(value, list) or not all(isinstance(item, str) for item in value):
        raise ConfigError(f"{where}: {key}: expected a list of texts in quotes")
    items = tuple(dict.fromkeys(value))
    if key != "hosts":
        return items
    try:
        return sorted_out(items)
    except NameInvalid as error:
        raise ConfigError(f"{where}: {error}") from error


def _challenges(where: str, value: object) -> tuple[ChallengeChoice, ...]:
    wrong = ConfigError(
        f"{where}: challenges: expected tables with type, and pattern, credential, settings",
        hint='challenges = [{ type = "http-01", pattern = "*" }]',
    )
    if not isinstance(value, list):
        raise wrong
    found = []
    for table in value:
        if not isinstance(table, dict) or not isinstance(table.get("type"), str):
            raise wrong
        settings = table.get("settings", {})
        texts = [table.get("pattern", "*"), table.get("credential", "")]
        if not isinstance(settings, dict) or not set(table) <= {
            "type",
            "pattern",
            "credential",
            "settings",
        }:
            raise wrong
        if not all(isinstance(text, str) for text in [*texts, *settings.values()]):
            raise wrong
        found.append(ChallengeChoice(table["type"], texts[0], settings, texts[1]))
    return tuple(found)


def as_objects(declared: Iterable[Declared]) -> list[dict[str, object]]:
    """Wishes as plain objects; what is as by default is left out, but for what everybody reads."""
    bare = ManagedCertificate("", ())
    always = ("hosts", "issuer", "key", "mode")
    found = []
    for one in declared:
        table: dict[str, object] = {"name": one.wish.name}
        for key, attribute in WISHES.items():
            value = getattr(one.wish, attribute)
            if key in always or value != getattr(bare, attribute):
                table[key] = plain(value)
        if one.tasks:
            table[_TASKS] = [as_table(task) for task in one.tasks]
        found.append(table)
    return found


def to_toml(declared: Iterable[Declared]) -> str:
    """The file that `parse` reads back as the same wishes."""
    lines = ["# What certshelf keeps issued: certshelf apply FILE makes it so.", ""]
    for one in as_objects(declared):
        tasks = one.pop(_TASKS, [])
        assert isinstance(tasks, list)  # noqa: S101 - as_objects() made it
        lines += _table(_TABLE, one)
        for task in tasks:
            lines += _table(f"{_TABLE}.{_TASKS}", task)
    return "\n".join(lines)


def _table(name: str, values: Mapping[str, object]) -> list[str]:
    return [f"[[{name}]]", *(f"{key} = {_toml(value)}" for key, value in values.items()), ""]


def to_json(declared: Iterable[Declared]) -> str:
    """The same as one JSON document."""
    return escaped_json(json.dumps(as_objects(declared), ensure_ascii=False, indent=2)) + "\n"


def to_csv(declared: Iterable[Declared]) -> str:
    """Columns as Certify's import reads them, and three of ours behind; hosts joined by `;`.

    Certify knows no quotes: no value here holds a comma, a quote or a line break. No task is in
    it.
    """
    out = io.StringIO()
    writer = csv.writer(out, lineterminator="\n", quoting=csv.QUOTE_NONE, escapechar="\\")
    writer.writerow(_CSV)
    for one in (each.wish for each in declared):
        hosts = ";".join(one.names)
        renew = "true" if one.auto_renew else "false"
        tags = ";".join(tag.replace(",", " ") for tag in one.tags)
        writer.writerow((0, one.name, hosts, renew, one.issuer, one.key_type, one.mode.value, tags))
    return out.getvalue()


def _toml(value: object) -> str:
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, list):
        return "[" + ", ".join(_toml(item) for item in value) + "]"
    if isinstance(value, (int, float)):
        return repr(value)
    if isinstance(value, dict):
        return "{ " + ", ".join(f"{_toml(k)} = {_toml(v)}" for k, v in value.items()) + " }"
    # A JSON string is a TOML basic string, but for DEL; the rest is what no terminal shows.
    text = json.dumps(str(value), ensure_ascii=False)
    return "".join(c if c.isprintable() else f"\\U{ord(c):08x}" for c in text)
