"""`certshelf demo`: the main job on this machine, step by step, each one checked."""

from __future__ import annotations

import json
import shutil
import socket
import ssl
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

import click

from certshelf.cli import output

if TYPE_CHECKING:
    from certshelf.manage.manager import Manager

CERTIFICATES = {
    "web": ("www.example.test", "example.test"),
    "shop": ("*.shop.example.test",),
    "books": ("bücher.example.test",),
}
SNI = {
    "www.example.test": "www.example.test",
    "example.test": "example.test",
    "*.shop.example.test": "any.shop.example.test",
    "bücher.example.test": "xn--bcher-kva.example.test",
}
RENEWED = "www.example.test"
DAMAGED = "example.test"
TIMEOUT_S = 20.0


class StepFailed(Exception):
    """A step of the story did not hold."""


@dataclass
class Story:
    """What the steps share: the manager, the server and the open connection."""

    manager: Manager
    server: Server
    root: Path
    kept_open: ssl.SSLSocket | None = None
    checks: int = 0
    before: dict[str, str] = field(default_factory=dict)

    @property
    def folder(self) -> Path:
        """The shelf's folder."""
        return Path(self.manager.settings.shelf.store)


@dataclass
class Server:
    """The web server's process. Its pid and port never change, or the demo fails."""

    process: subprocess.Popen[str]
    port: int
    pid: int


@click.command()
@click.option("--hold", is_flag=True, help="Keep the server running, and say what to try.")
@click.option(
    "--folder",
    type=click.Path(path_type=Path, file_okay=False),
    help="Put everything here and keep it; default: a fresh folder, removed at the end.",
)
def command(hold: bool, folder: Path | None) -> int:
    """Make a shelf, fill it, serve it, renew on it, damage it: and check every step."""
    with ExitStack() as stack:
        if folder is None:
            folder = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="certshelf-")))
        try:
            return _tell(folder.absolute(), hold, stack)
        except StepFailed as error:
            output.bad(str(error))
            return 1


def _tell(folder: Path, hold: bool, stack: ExitStack) -> int:
    started = time.monotonic()
    manager = _make_shelf(folder, stack)
    _issue(manager)
    root = _export_root(manager, folder)
    story = Story(manager, stack.enter_context(_serve(manager)), root)
    _handshakes(story)
    stack.callback(lambda: story.kept_open.close() if story.kept_open else None)
    _renew(story)
    _damage(story)
    all_ok = _table(story)
    output.say(f"\n{story.checks} checks in {time.monotonic() - started:.1f} s")
    if all_ok:
        output.ok("every step held")
    if hold:
        _hold(story)
    return 0 if all_ok else 1


def _make_shelf(folder: Path, stack: ExitStack) -> Manager:
    from certshelf.manage.manager import open_manager
    from certshelf.manage.setup import set_up

    _title(1, "a shelf is made, its PFX password kept as a credential")
    home = folder / "home"
    set_up(home, store=str(folder / "shelf"))
    manager = stack.enter_context(open_manager(home))
    output.ok(f"shelf {folder / 'shelf'}, home {home}")
    return manager


def _issue(manager: Manager) -> None:
    from certshelf.manage.certificates import add_certificate
    from certshelf.manage.model import ManagedCertificate
    from certshelf.names import HostName

    _title(2, "certificates are issued by the local CA, one PFX per name")
    with output.progress("issuing", len(CERTIFICATES)) as step:
        for name, hosts in CERTIFICATES.items():
            parsed = tuple(map(HostName.parse, hosts))
            add_certificate(manager, ManagedCertificate(name, parsed))
            _request(manager, name)
            step()
    expected = {f for host in SNI for f in HostName.parse(host).file_names()}
    folder = Path(manager.settings.shelf.store)
    present = {path.name for path in folder.glob("*.pfx")}
    _check(present == expected, f"on the shelf: {', '.join(sorted(present))}")


def _request(manager: Manager, name: str, *, force: bool = False) -> None:
    import asyncio

    from certshelf.manage.pipeline import request_certificate

    run = asyncio.run(request_certificate(manager, name, force=force))
    if not run.ok:
        raise StepFailed(f"{name} was not issued: {run.error}")


def _export_root(manager: Manager, folder: Path) -> Path:
    from certshelf.manage.issuers import root_pem

    path = folder / "root.pem"
    path.write_bytes(root_pem(manager, "local"))
    return path


@contextmanager
def _serve(manager: Manager) -> Iterator[Server]:
    _title(3, "a web server (uvicorn) starts, with the shelf for its certificates")
    process = subprocess.Popen(
        [sys.executable, "-m", "certshelf.cli.demo_server"],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    )
    assert process.stdin and process.stdout  # noqa: S101
    try:
        password = manager.shelf.passwords[0]
        secret = password.reveal() if password else ""
        process.stdin.write(f"{manager.settings.shelf.store}\n{secret}\n")
        process.stdin.flush()
        line = process.stdout.readline()
        if not line:
            raise StepFailed("the web server did not start")
        ready = json.loads(line)
        output.ok(f"listening on 127.0.0.1:{ready['port']}, process {ready['pid']}")
        yield Server(process, ready["port"], ready["pid"])
    finally:
        process.terminate()
        process.wait(TIMEOUT_S)


def _handshakes(story: Story) -> None:
    _title(4, "a client handshakes with each name; one connection is left open")
    for host, sni in SNI.items():
        with _connect(story, sni) as connection:
            story.before[host] = _fingerprint(connection)
        _check(
            story.before[host] == _on_shelf(story, sni), f"{sni} is served from the shelf", story
        )
    story.kept_open = _connect(story, RENEWED)
    same = _ask(story.kept_open, RENEWED) == story.server.pid
    _check(same, "the open connection answers", story)


def _renew(story: Story) -> None:
    _title(5, f"{RENEWED} is renewed with a new key")
    _request(story.manager, "web", force=True)
    with _connect(story, RENEWED) as connection:
        served = _fingerprint(connection)
    _check(served != story.before[RENEWED], "the very next handshake serves a new one", story)
    _check(served == _on_shelf(story, RENEWED), "it is the one on the shelf", story)
    assert story.kept_open  # noqa: S101
    same = _ask(story.kept_open, RENEWED) == story.server.pid
    _check(same, "the open connection still answers, from the same process", story)
    _check(story.server.process.poll() is None, "the server was never restarted", story)


def _damage(story: Story) -> None:
    from certshelf.finding import Severity

    _title(6, f"{DAMAGED}.pfx is overwritten with garbage")
    with _connect(story, DAMAGED) as connection:
        good = _fingerprint(connection)
    path = story.folder / f"{DAMAGED}.pfx"
    path.write_bytes(b"this is no PFX" * 40)
    with _connect(story, DAMAGED) as connection:
        _check(_fingerprint(connection) == good, "the last good certificate is served", story)
    wrong = [f for f in story.manager.shelf.verify() if f.severity is Severity.ERROR]
    _check({f.subject for f in wrong} == {path.name}, "`shelf verify` names the file:", story)
    for finding in wrong:
        output.print_finding(finding)
    story.before[DAMAGED] = good


def _table(story: Story) -> bool:
    from certshelf.clock import iso
    from certshelf.names import HostName

    _title(7, "what is on the shelf, and what is served")
    rows = []
    all_ok = True
    for host, sni in SNI.items():
        found = story.manager.shelf.find(HostName.parse(sni))
        bundle = found.file.bundle if found else None
        with _connect(story, sni) as connection:
            served = _fingerprint(connection)
        good = served == (bundle.sha256 if bundle else story.before[host])
        all_ok &= good
        rows.append(
            (
                host,
                found.file.file if found else "-",
                bundle.thumbprint if bundle else "(damaged)",
                iso(bundle.not_after) if bundle else "-",
                served[:16] + ("" if bundle else " (last good)"),
                "ok" if good else "NOT OK",
            )
        )
    output.print_table(("NAME", "FILE", "THUMBPRINT", "UNTIL", "SERVED (SHA-256)", ""), rows)
    return all_ok


def _hold(story: Story) -> None:
    import signal

    signal.signal(signal.SIGTERM, signal.default_int_handler)
    port, root = story.server.port, story.root
    command = "certshelf" if shutil.which("certshelf") else sys.argv[0]
    where = f"--resolve {RENEWED}:{port}:127.0.0.1 https://{RENEWED}:{port}/"
    output.say(f"""
The server runs until you press Ctrl-C. Try:
  curl --cacert {root} {where}
  openssl s_client -connect 127.0.0.1:{port} -servername {RENEWED} -CAfile {root} </dev/null
  {command} --home {story.manager.home.path} cert renew web --force
  {command} --home {story.manager.home.path} shelf ls""")
    try:
        story.server.process.wait()
    except KeyboardInterrupt:
        output.say("")


def _connect(story: Story, sni: str) -> ssl.SSLSocket:
    """A full handshake, checked as a browser does: chain to the root, and the name."""
    context = ssl.create_default_context(cafile=str(story.root))
    raw = socket.create_connection(("127.0.0.1", story.server.port), timeout=TIMEOUT_S)
    try:
        return context.wrap_socket(raw, server_hostname=sni)
    except OSError as error:
        raw.close()
        raise StepFailed(f"the handshake for {sni} failed: {error}") from error


def _fingerprint(connection: ssl.SSLSocket) -> str:
    import hashlib

    return hashlib.sha256(connection.getpeercert(binary_form=True) or b"").hexdigest()


def _ask(connection: ssl.SSLSocket, host: str) -> int:
    """One HTTP request on an open connection; the pid of the process that answered."""
    connection.sendall(f"GET / HTTP/1.1\r\nHost: {host}\r\n\r\n".encode())
    answer = b""
    while b"}\n" not in answer:
        part = connection.recv(4096)
        if not part:
            raise StepFailed("the open connection was closed")
        answer += part
    return int(json.loads(answer.partition(b"\r\n\r\n")[2])["pid"])


def _on_shelf(story: Story, sni: str) -> str:
    from certshelf.names import HostName

    found = story.manager.shelf.find(HostName.parse(sni))
    return found.file.bundle.sha256 if found and found.file.bundle else ""


def _title(number: int, text: str) -> None:
    click.secho(f"\n{number}. {text}", bold=True)


def _check(holds: bool, what: str, story: Story | None = None) -> None:
    if story:
        story.checks += 1
    if not holds:
        raise StepFailed(f"this does not hold: {what}")
    output.ok(what)
