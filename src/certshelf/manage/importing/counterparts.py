"""What another tool's ways of proving names and its hooks are here, where there is an exact match.

Nothing of the other tool is run, and no secret is copied: a credential is named, and setting it is
left to the administrator. Whatever has no exact counterpart stays a note that begins BY_HAND.
"""

from __future__ import annotations

import re
import shlex
from collections.abc import Mapping, Sequence
from ipaddress import ip_address
from pathlib import Path, PurePosixPath, PureWindowsPath

from certshelf.deploy.service import Service
from certshelf.deploy.triggers import Phase
from certshelf.errors import ConfigError
from certshelf.issue.solve.dns.rfc2136 import ALGORITHMS
from certshelf.manage.model import ChallengeChoice, Task, record_name
from certshelf.names import HostName

BY_HAND = "to do by hand: "
_DNS_SCRIPT = re.compile(r"dns_[a-z0-9_]{1,40}", re.ASCII)
_PORT = re.compile(r"[1-9][0-9]{0,4}", re.ASCII)
_SHELL = re.compile(r"[|&;<>()$`*?~{}\[\]#!\n\\]")
_ACTIONS = {
    "reload": "reload",
    "restart": "restart",
    "force-reload": "reload-or-restart",
    "reload-or-restart": "reload-or-restart",
}
LEXICON = {
    "cloudflare": ("cloudflare", "auth_token"),
    "cf": ("cloudflare", "auth_token"),
    "digitalocean": ("digitalocean", "auth_token"),
    "dgon": ("digitalocean", "auth_token"),
    "dnsimple": ("dnsimple", "auth_token"),
    "hetzner": ("hetzner", "auth_token"),
    "linode": ("linode4", "auth_token"),
    "linode_v4": ("linode4", "auth_token"),
    "nsone": ("nsone", "auth_token"),
    "vultr": ("vultr", "auth_token"),
}
"""A provider's short name elsewhere -> lexicon's provider and its one option, a token."""

Proof = tuple[tuple[ChallengeChoice, ...], tuple[str, ...]]
"""Choices of ours, () when there is none, and notes."""


def own_http01(port: str) -> Proof:
    """A responder of the tool's own; port: where it listens, "" or 80 for the usual one."""
    if not port or port == "80":
        return (ChallengeChoice("http-01"),), ()
    if _is_port(port):
        return (ChallengeChoice("http-01", settings={"port": port}),), ()
    return (), (f"{BY_HAND}its http-01 port is no port: {port[:20]}",)


def webroots(folders: Mapping[str, str]) -> Proof:
    """Folders that a web server publishes, by host; a host that is `*` stands for all."""
    if any(not _is_absolute(folder) for folder in folders.values()):
        return (), (f"{BY_HAND}its web root is no whole path: certshelf cert edit --http-webroot",)
    same = set(folders.values())
    if len(same) == 1:
        folders = {"*": same.pop()}
    choices = tuple(
        ChallengeChoice("http-01", host, {"webroot": folder}) for host, folder in folders.items()
    )
    return choices, ("this manager must be able to write to the same web root",)


def rfc2136(
    hosts: Sequence[HostName], server: str, port: str, key_name: str, algorithm: str
) -> Proof:
    """Dynamic DNS updates. server: an IP address, for no name is asked for there."""
    try:
        address = ip_address(server)
    except ValueError:
        why = f"its server is {server[:80] or 'not known'}, and --dns-server takes an address"
        return (), (f"{BY_HAND}its names are proved by dns-01 (rfc2136); {why}",)
    if algorithm.lower() not in ALGORITHMS:
        why = f"its TSIG key is {algorithm[:40] or 'unknown'}: make one of {ALGORITHMS[0]}"
        return (), (f"{BY_HAND}its names are proved by dns-01 (rfc2136); {why}",)
    number = port if _is_port(port) else "53"
    where = f"[{address}]:{number}" if address.version == 6 else f"{address}:{number}"
    zone = zone_of(hosts)
    if not zone:
        return (), (f"{BY_HAND}its names are proved by dns-01 (rfc2136) in several zones",)
    settings = {"dns": "rfc2136", "server": where, "zone": zone, "algorithm": algorithm.lower()}
    name = record_name(f"tsig-{key_name or server}")
    user = shlex.quote(key_name) if key_name else "KEYNAME"
    return (ChallengeChoice("dns-01", settings=settings, credential=name),), (
        _check_zone(zone),
        f"{BY_HAND}certshelf credential set {name} --kind tsig --username {user}",
    )


def dns_provider(hosts: Sequence[HostName], provider: str) -> Proof:
    """A DNS provider whose API takes one token, by its short name: `cf`, `cloudflare`, ..."""
    known = LEXICON.get(provider.lower())
    if known is None:
        return (), (
            f"{BY_HAND}its names are proved by dns-01 ({provider or '?'}): choose who writes TXT "
            "here, certshelf cert edit --challenge dns-01 --dns ...",
        )
    name, option = known
    zone = zone_of(hosts)
    if not zone:
        return (), (f"{BY_HAND}its names are proved by dns-01 ({provider}) in several zones",)
    credential = record_name(f"dns-{name}")
    settings = {"dns": "lexicon", "provider": name, "zone": zone}
    return (ChallengeChoice("dns-01", settings=settings, credential=credential),), (
        _check_zone(zone),
        f"{BY_HAND}certshelf credential set {credential} --kind token --username {option}",
    )


def acme_sh_script(home: Path, script: str) -> Proof:
    """A DNS script of acme.sh: what to type so that it runs by our exec hook with its tokens there.

    It is never chosen here: the manager would run programs that came with the imported folder.
    """
    known = home.absolute() / "dnsapi" / f"{script}.sh"
    how = f"{BY_HAND}its names are proved by dns-01 ({script[:40]})"
    if not _DNS_SCRIPT.fullmatch(script) or not str(known).isprintable():
        return (), (f"{how}: --challenge dns-01",)
    options = " ".join(f"--dns-command {shlex.quote(word)}" for word in acme_sh_argv(home, script))
    return (), (
        f"{how}; when you trust {home.absolute()}, whose programs the manager runs from then on: "
        f"certshelf cert edit NAME --challenge dns-01 --dns exec {options}",
    )


def acme_sh_argv(home: Path, script: str) -> list[str]:
    """The command of an exec hook that runs a DNS script of acme.sh, which stays installed."""
    wrapper = Path(__file__).with_name("acme_sh_hook.sh")
    return ["sh", str(wrapper), str(home.absolute()), script]


def hook(label: str, command: str, phase: Phase) -> tuple[Task | None, str]:
    """A command that ran before or after: our task `service` when it is no more than that.

    label: what the tool calls it. Any other program is named and never taken over: a file of
    somebody else's must not make the manager run something. Returns the task or None, and a note.
    """
    words = [] if _SHELL.search(command.strip()) else _words(command)
    program = PurePosixPath(words[0]).name if len(words) == 3 else ""
    task = None
    if program == "systemctl":
        task = service_task(words[2], words[1], phase)
    elif program == "service":
        task = service_task(words[1], words[2], phase)
    if task is not None:
        return task, f"its {label} is the task {task.name}"
    shown = " ".join(command.split())[:200]
    when = " --before" if phase is Phase.BEFORE else ""
    return None, f"{BY_HAND}its {label} ran {shown!r}: certshelf task add NAME script{when} ..."


def service_task(name: str, action: str, phase: Phase) -> Task | None:
    """Our task `service`; None when it does not do that."""
    if action not in _ACTIONS:
        return None
    settings = {"name": name, "action": _ACTIONS[action]}
    try:
        Service.parse(settings)
    except ConfigError:
        return None
    return Task(0, record_name(f"{action}-{name}"), Service.kind, phase, settings=settings)


def _is_port(text: str) -> bool:
    return _PORT.fullmatch(text) is not None and int(text) < 65536


def _words(command: str) -> list[str]:
    try:
        return shlex.split(command)
    except ValueError:
        return []


def zone_of(hosts: Sequence[HostName]) -> str:
    """The likely zone of all hosts: what they have in common, without the host's own first label.

    A guess, which the notes say: only the DNS knows where a zone begins.
    """
    names = [host.ascii.removeprefix("*.").split(".")[::-1] for host in hosts]
    common = []
    for labels in zip(*names, strict=False):
        if len(set(labels)) > 1:
            break
        common.append(labels[0])
    if len(common) > 2 and any(len(name) == len(common) for name in names):
        common.pop()
    return ".".join(reversed(common))


def _check_zone(zone: str) -> str:
    return f"its zone is taken to be {zone}: certshelf cert test shows whether it is"


def _is_absolute(folder: str) -> bool:
    if not folder.isprintable():
        return False
    return PurePosixPath(folder).is_absolute() or PureWindowsPath(folder).is_absolute()
