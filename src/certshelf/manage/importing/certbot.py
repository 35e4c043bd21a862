"""certbot: its configuration folder (/etc/letsencrypt), `renewal/*.conf` and `live/`.

The format is ConfigObj's, written by certbot itself. Paths in it are not followed: a folder that
was copied from another machine works as well, and a hostile file leads nowhere.
Source: certbot's user guide, "Where are my certificates?" and "Modifying the Renewal
Configuration of Existing Certificates"; files written by certbot 5.8.
"""

from __future__ import annotations

from pathlib import Path

from certshelf.errors import ConfigError
from certshelf.manage.importing.base import Found, entries, parse_hosts, read_bundle, read_text

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
    hooks = [
        key for key in ("pre_hook", "post_hook", "renew_hook", "deploy_hook") if key in options
    ]
    if hooks:
        notes += (f"its {', '.join(hooks)} is not taken over: make it a task",)
    return Found(
        name,
        hosts,
        issuer=options.get("server", ""),
        key_type=bundle.key_type if bundle else _key_type(options),
        challenge=_challenge(options),
        auto_renew=options.get("autorenew", "True").lower() != "false",
        bundle=bundle,
        notes=notes,
    )


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
