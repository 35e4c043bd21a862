"""certbot: its configuration folder (/etc/letsencrypt), `renewal/*.conf` and `live/`.

The format is ConfigObj's, written by certbot itself. Paths in it are not followed: a folder that
was copied from another machine works as well, and a hostile file leads nowhere.
Source: certbot's user guide, "Where are my certificates?" and "Modifying the Renewal
Configuration of Existing Certificates"; files written by certbot 5.8.
"""

from __future__ import annotations

from pathlib import Path

from certshelf.deploy.triggers import Phase
from certshelf.errors import ConfigError
from certshelf.manage.importing import counterparts
from certshelf.manage.importing.base import Found, entries, parse_hosts, read_bundle, read_text
from certshelf.manage.importing.counterparts import BY_HAND
from certshelf.manage.model import Task
from certshelf.names import HostName

_HOOKS = {
    "pre_hook": Phase.BEFORE,
    "post_hook": Phase.AFTER,
    "renew_hook": Phase.AFTER,  # the name under which --deploy-hook is kept
    "deploy_hook": Phase.AFTER,
}
_HTTP = ("standalone", "webroot", "nginx", "apache")


def read(folder: Path) -> list[Found]:
    """What certbot renews. folder: its configuration folder. ConfigError when it is none."""
    renewal = folder / "renewal"
    if not renewal.is_dir():
        raise ConfigError(
            f"{folder} is no folder of certbot's: it has no renewal/",
            hint="certshelf import certbot /etc/letsencrypt",
        )
    return [_found(folder, file) for file in entries(renewal) if file.suffix == ".conf"]


def parse(text: str) -> dict[str, dict[str, str]]:
    """Sections of a renewal file by name, "" for its head; what is no `key = value` is skipped."""
    sections: dict[str, dict[str, str]] = {"": {}}
    current = sections[""]
    for line in text.splitlines():
        stripped = line.strip()
        if stripped.startswith("["):
            current = sections.setdefault(stripped.strip("[] "), {})
        elif stripped and not stripped.startswith("#"):
            key, equals, value = stripped.partition("=")
            if equals:
                current[key.strip()] = value.strip().strip("'\"")
    return sections


def _found(folder: Path, file: Path) -> Found:
    name = file.name.removesuffix(".conf")
    try:
        sections = parse(read_text(file))
    except ConfigError as error:
        return Found(name, notes=(str(error),))
    options = sections.get("renewalparams", {})
    live = folder / "live" / name
    bundle, hosts, notes = read_bundle(live / "privkey.pem", live / "fullchain.pem")
    if not hosts:
        hosts, bad = parse_hosts(sections.get("webroot_map", {}))
        notes += bad
    choices, told = _proof(folder, sections, hosts)
    tasks, also_told = _tasks(options)
    return Found(
        name,
        hosts,
        issuer=options.get("server", ""),
        key_type=bundle.key_type if bundle else _key_type(options),
        challenge=_challenge(options),
        choices=choices,
        tasks=tasks,
        auto_renew=options.get("autorenew", "True").lower() != "false",
        bundle=bundle,
        notes=(*notes, *told, *also_told),
    )


def _proof(
    folder: Path, sections: dict[str, dict[str, str]], hosts: tuple[HostName, ...]
) -> counterparts.Proof:
    """The authenticator's counterpart; none for nginx, apache and a hook of the user's own."""
    options = sections.get("renewalparams", {})
    authenticator = options.get("authenticator", "")
    if authenticator == "standalone":
        return counterparts.own_http01(options.get("http01_port", ""))
    if authenticator == "webroot":
        folders = sections.get("webroot_map", {})
        first = options.get("webroot_path", "").strip("[]").split(",")[0].strip()
        return counterparts.webroots(folders or {"*": first})
    if authenticator in ("nginx", "apache"):
        rule = f"{authenticator} can answer by itself: certshelf configure http-01"
        return (), (f"{BY_HAND}its names are proved by certbot's {authenticator} plug-in; {rule}",)
    if authenticator == "dns-rfc2136":
        return _rfc2136(folder, options, hosts)
    if authenticator.startswith("dns-"):
        return counterparts.dns_provider(hosts, authenticator.removeprefix("dns-"))
    shown = options.get("manual_auth_hook", "") or "a person"
    return (), (f"{BY_HAND}its names are proved by {authenticator or '?'} ({shown[:80]})",)


def _rfc2136(
    folder: Path, options: dict[str, str], hosts: tuple[HostName, ...]
) -> counterparts.Proof:
    """What the plug-in's file says of the server, when it lies below certbot's own folder."""
    path = options.get("dns_rfc2136_credentials", "")
    inner = folder / path.rpartition("/letsencrypt/")[2] if path else folder
    try:
        if ".." in inner.parts or not inner.resolve().is_relative_to(folder.resolve()):
            raise ConfigError("it lies elsewhere")
        said = parse(read_text(inner))[""]
    except ConfigError:
        said = {}
    return counterparts.rfc2136(
        hosts,
        said.get("dns_rfc2136_server", ""),
        said.get("dns_rfc2136_port", ""),
        said.get("dns_rfc2136_name", ""),
        said.get("dns_rfc2136_algorithm", "hmac-md5"),
    )


def _tasks(options: dict[str, str]) -> tuple[tuple[Task, ...], tuple[str, ...]]:
    """Hooks that do no more than reload a service are tasks; certbot keeps one text for each."""
    tasks, notes = {}, []
    for key, phase in _HOOKS.items():
        command = options.get(key, "")
        if command and command != "None":
            task, note = counterparts.hook(key, command, phase)
            notes.append(note)
            if task:
                tasks[task.name] = task
    return tuple(tasks.values()), tuple(notes)


def _key_type(options: dict[str, str]) -> str:
    if options.get("key_type", "ecdsa") == "rsa":
        return f"rsa-{options.get('rsa_key_size', '2048')}"
    curves = {"secp256r1": "ecdsa-p256", "secp384r1": "ecdsa-p384", "secp521r1": "ecdsa-p521"}
    return curves.get(options.get("elliptic_curve", "secp256r1"), "")


def _challenge(options: dict[str, str]) -> str:
    authenticator = options.get("authenticator", "")
    wanted = options.get("pref_challs", "").split(",")[0].strip()
    if wanted in ("http-01", "dns-01"):
        return f"{wanted} {authenticator}".strip()
    if authenticator in _HTTP:
        return f"http-01 {authenticator}"
    return f"dns-01 {authenticator}" if authenticator.startswith("dns") else authenticator
