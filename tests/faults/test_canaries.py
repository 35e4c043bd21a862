"""No secret leaves by any way but its own, and no hostile text reaches a terminal or a log raw.

One story is run with canaries for secrets, by real processes that are watched; then everything
that others could see of it is searched.
"""

from __future__ import annotations

import json
import os
import shutil
import socket
import sqlite3
import sys
import tempfile
import time
from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from pathlib import Path

import pytest
from cryptography import x509
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat
from cryptography.x509.oid import NameOID

from certshelf.bundle.model import Bundle
from certshelf.manage.db.tables import metadata
from certshelf.manage.manager import open_manager
from certshelf.manage.shelves import MANIFEST_KEY
from certshelf.names import HostName
from certshelf.opening import open_shelf
from certshelf.secret import Secret
from tests.support.canaries import Canaries, Runner, Seen, found_in
from tests.support.scripted_ca import scripted_ca
from tests.support.small_ca import SmallCa

pytestmark = [
    pytest.mark.timeout(400),
    pytest.mark.slow,
    pytest.mark.skipif(not Path("/proc/self/environ").exists(), reason="looks into /proc"),
]

HOST = "www.example.test"
HOSTILE = "evil\r\nerror: forged\x1b[2J\x07\x9b31m\u202etxt"
SECRETS = {
    "PFX password": "canary-Pfx-4uQm2Zr9-password",
    "share password": "canary-Share-8Ht1Vw3x",
    "TSIG secret": "Y2FuYXJ5LVRzaWctc2VjcmV0LTU1NTU=",
    "DNS token": "canary-Token-Kb77Rz0p",
    "EAB key": "Y2FuYXJ5LUVhYi1tYWMta2V5LTEyMzQ1Njc4OTAxMg",
    "import password": "canary-Import-Xx19Qo5s",
    "wrong password": "canary-Wrong-M3nn2Tt6",
    "share login": "canary-Login-Zu6Pp1Ww",
}
CRASH = """
import sys
import certshelf.shelf.publish as publish
from certshelf.bundle.model import Bundle
def broken(self, *args, **named):
    raise RuntimeError("a fault of ours")
Bundle.to_pfx = broken
from certshelf.cli.main import run
sys.exit(run(sys.argv[1:]))
"""
CRASHING_READER = """
import sys
from certshelf.serve.pems import PemCache
def broken(self, bundle):
    raise RuntimeError("a fault of ours")
PemCache.of = broken
from certshelf.serve.program import main
sys.exit(main(sys.argv[1:]))
"""


@dataclass
class Story:
    """What was run, and everything that was seen of it."""

    folder: Path
    canaries: Canaries
    run: Runner
    seen: dict[str, Seen] = field(default_factory=dict)
    logs: dict[str, bytes] = field(default_factory=dict)

    @property
    def home(self) -> Path:
        return self.folder / "home"

    def step(self, name: str, *words: str, stdin: str = "", status: int | None = 0) -> Seen:
        """Run one command; status None for any."""
        seen = self.seen[name] = self.run(*words, stdin=stdin)
        assert status is None or seen.status == status, f"{name}: {seen.said}"
        return seen

    def batch(self, commands: dict[str, list[str]]) -> None:
        """Run commands in one process, whatever their status."""
        seen = self.run.batch(list(commands.values()))
        self.seen |= dict(zip(commands, seen, strict=True))

    def secret_file(self, name: str) -> str:
        """A secret in a file that only we may read, as users have it."""
        path = self.folder / "input" / name.replace(" ", "-")
        path.write_text(SECRETS[name] + "\n")
        path.chmod(0o600)
        return str(path)


@pytest.fixture(scope="module")
def story() -> Iterator[Story]:
    folder = Path(tempfile.mkdtemp(prefix="cs-"))  # short: it holds a Unix socket
    (folder / "input").mkdir()
    canaries = Canaries()
    for name, secret in SECRETS.items():
        canaries.add(name, secret)
    story = Story(folder, canaries, Runner(folder, canaries))
    try:
        _keep_secrets(story)
        _issue_locally(story)
        _meet_a_failing_ca(story)
        _meet_bad_files(story)
        _look_around(story)
        _crash(story)
        _serve(story)
        _learn_the_keys_that_were_made(story)
        yield story
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def _keep_secrets(story: Story) -> None:
    store = ["--store", str(story.folder / "shelf")]
    story.step("init", "init", *store, "--password-file", story.secret_file("PFX password"))
    for name, kind in (("TSIG secret", "tsig"), ("DNS token", "token"), ("share password", "")):
        words = ["credential", "set", name.lower().replace(" ", "-"), "--username", "canary-user"]
        words += ["--kind", kind] if kind else []
        story.step(f"set {name}", *words, "--password-stdin", stdin=SECRETS[name])
    commands = {
        "credentials": ["credential", "ls", "--json"],
        "show": ["credential", "show", "dns-token"],
        "rotate": ["credential", "rotate-keys"],
    }
    story.batch(commands)
    login = ["--store-username", "canary-user"]
    login += ["--store-password-file", story.secret_file("share login")]
    words = ["--home", str(story.folder / "home-2"), "init", "--store", "smb://127.0.0.1:1/s/f"]
    story.step("a share that is away", *words, *login, status=None)
    story.step("its shelf", *words[:2], "shelf", "ls", status=1)


def _issue_locally(story: Story) -> None:
    story.step("add", "cert", "add", HOST, "--name", "web")
    story.step("request", "cert", "request", "web")
    copies = story.folder / "copies"
    copies.mkdir()
    task = ["task", "add", "web", "deploy-to-shelf", "--set", f"store={copies}"]
    story.batch({"task": task, "with a task": ["cert", "renew", "web", "--force"]})
    away = story.folder / "shelf-away"
    (story.folder / "shelf").rename(away)
    (story.folder / "shelf").write_text("no folder")
    story.step("a failing store", "cert", "renew", "web", "--force", status=1)
    (story.folder / "shelf").unlink()
    away.rename(story.folder / "shelf")
    story.step("again", "cert", "renew", "web", "--force", "--json")


def _meet_a_failing_ca(story: Story) -> None:
    with scripted_ca() as ca:
        eab = ["--eab-kid", "kid-1", "--eab-key-file", "-"]
        url = ["--acme", ca.directory_url, "--poll-interval", "0.1"]
        story.step("issuer", "issuer", "add", "ca", *url, *eab, stdin=SECRETS["EAB key"])
        story.step("account", "issuer", "test", "ca", status=None)
        dns = ["--challenge", "dns-01", "--dns", "rfc2136", "--dns-server", "127.0.0.1:1"]
        dns += ["--dns-zone", "example.test", "--dns-credential", "tsig-secret"]
        story.step("acme", "cert", "add", "a.example.test", "--name", "a", "--issuer", "ca", *dns)
        story.step("a dead name server", "cert", "request", "a", status=1)
        ca.fault("new-order", 20, status=403, type=HOSTILE, detail=HOSTILE)
        words = ["cert", "add", "b.example.test", "--name", "b", "--issuer", "ca"]
        words += ["--challenge", "http-01", "--http-webroot", str(story.folder)]
        story.step("add b", *words)
        story.step("a hostile problem", "cert", "request", "b", status=1)
        ca.fault("dir", 20, status=500, type=HOSTILE, detail=HOSTILE)
        story.step("a hostile directory", "issuer", "test", "ca", status=1)
    story.step("a dead CA", "cert", "request", "a", status=1)


def _meet_bad_files(story: Story) -> None:
    foreign = story.folder / "input" / "foreign.pfx"
    foreign.write_bytes(hostile_bundle().to_pfx(Secret(SECRETS["import password"])))
    put = ["shelf", "put", str(foreign), "--password-stdin"]
    story.step("wrong password", *put, stdin=SECRETS["wrong password"], status=1)
    story.step("hostile names", *put, stdin=SECRETS["import password"])
    shelf = story.folder / "shelf"
    (shelf / "planted.example.test.pfx").write_bytes(foreign.read_bytes())
    (shelf / f"{HOSTILE.replace('/', '')}.pfx").write_bytes(b"x")
    (shelf / "junk.example.test.pfx").write_bytes(HOSTILE.encode())
    story.step("hostile file name", "shelf", "put", str(shelf / HOSTILE), status=1)
    words = ["import", "ccs", str(shelf), "--password-stdin"]
    story.step("import", *words, stdin=SECRETS["PFX password"], status=None)
    commands = {
        "ls": ["shelf", "ls"],
        "ls --json": ["shelf", "ls", "--json"],
        "verify": ["shelf", "verify"],
        "adopt": ["shelf", "adopt"],
        "resolve": ["shelf", "resolve", "hostile.example.test"],
        "explain": ["explain", "hostile.example.test"],
        "explain hostile": ["explain", HOSTILE],
    }
    story.batch(commands)


def _look_around(story: Story) -> None:
    server = ["--writer", "D\\w$", "--reader", "D\\r"]
    commands = {
        "doctor": ["doctor"],
        "doctor --json": ["doctor", "--json"],
        "doctor --junit": ["doctor", "--junit"],
        "events": ["events"],
        "events --json": ["events", "--json"],
        "export": ["events", "export"],
        "export ocsf": ["events", "export", "--format", "ocsf"],
        "iis plan": ["iis", "plan", "web1", "--store", "\\\\files\\certs", "--reader", "D\\r"],
        "iis plan --out": [
            *["iis", "plan", "web1", "--store", "\\\\files\\certs", "--reader", "D\\r"],
            *["--out", str(story.folder / "scripts")],
        ],
        "share plan": ["share", "plan", "--path", "D:\\certs", *server],
        "share plan samba": ["share", "plan", "--server", "samba", "--path", "/srv/c", *server],
        "history": ["shelf", "history", HOST],
        "plan of a rotation": ["shelf", "rotate-password", "plan"],
        "issuers": ["issuer", "ls", "--json"],
        "issuer show": ["issuer", "show", "ca"],
        "root": ["issuer", "root"],
        "cert show": ["cert", "show", "web"],
        "cert ls": ["cert", "ls", "--json"],
        "task ls": ["task", "ls", "web"],
        "toml": ["export"],
    }
    story.batch(commands)
    pyrage = pytest.importorskip("pyrage")
    recipient = str(pyrage.x25519.Identity.generate().to_public())
    backup = str(story.folder / "backup.age")
    story.step("backup", "backup", backup, "--recipient", recipient)


def _crash(story: Story) -> None:
    words = [sys.executable, "-c", CRASH, "cert", "renew", "web", "--force"]
    with story.run.started(words) as (process, watch):
        out, err = process.communicate(timeout=60)
    story.seen["a fault of ours"] = Seen(process.returncode, out, err, sorted(watch.places))


def _serve(story: Story) -> None:
    _reader(story, "reader", [sys.executable, "-m", "certshelf.serve.program"])
    _reader(story, "reader with a fault of ours", [sys.executable, "-c", CRASHING_READER])


def _reader(story: Story, name: str, command: list[str]) -> None:
    """Run a reader, ask it good and hostile things over both doors, and stop it."""
    sock, path_file = story.folder / "h.sock", story.folder / "http-path"
    words = ["--shelf", str(story.folder / "shelf"), "--http", f"unix:{sock}"]
    words += ["--password-file", story.secret_file("PFX password"), "--http", "127.0.0.1:0"]
    words += ["--http-path-file", str(path_file), "--cache", str(story.folder / "cache")]
    with story.run.started([*command, *words]) as (process, watch):
        assert process.stdout is not None
        ready = process.stdout.readline()
        assert ready.startswith(b"ready"), ready + process.communicate()[1]
        port = int(ready.partition(b"http=127.0.0.1:")[2].split()[0])
        secret = path_file.read_text().strip()
        story.canaries.add("secret path", secret)
        tries = [HOST, "hostile.example.test", "%0d%0aX:%1b%5b2J%9b31m", "../../etc/passwd"]
        _wait_for_key(sock, wanted=name == "reader")
        for host in tries:
            _ask(sock, f"GET /cert?server_name={host} HTTP/1.1\r\n\r\n")
            _ask(port, f"GET /{secret}/cert?server_name={host} HTTP/1.1\r\n\r\n")
            _ask(port, f"GET /wrong/cert?server_name={host} HTTP/1.1\r\n\r\n")
        _ask(sock, f"GET /{HOSTILE} HTTP/9\r\n{HOSTILE}\r\n\r\n")
        process.terminate()
        out, err = process.communicate(timeout=20)
    story.logs[name] = ready + out + err
    story.seen[name] = Seen(process.returncode, ready + out, err, sorted(watch.places))


def _wait_for_key(sock: Path, wanted: bool) -> None:
    until = time.monotonic() + 20
    while True:
        answer = _ask(sock, f"GET /cert?server_name={HOST} HTTP/1.1\r\n\r\n")
        if (b"PRIVATE KEY" in answer) if wanted else not answer:
            return
        assert time.monotonic() < until, answer[:200]


def _ask(where: Path | int, request: str) -> bytes:
    family = socket.AF_INET if isinstance(where, int) else socket.AF_UNIX
    with socket.socket(family) as connection:
        connection.settimeout(10)
        connection.connect(("127.0.0.1", where) if isinstance(where, int) else str(where))
        connection.sendall(request.encode())
        connection.shutdown(socket.SHUT_WR)
        answer = b""
        while part := connection.recv(65536):
            answer += part
    return answer


def _learn_the_keys_that_were_made(story: Story) -> None:
    """The keys that the program made itself are canaries, too: what was seen is searched again."""
    canaries = story.canaries
    for ring in (story.home / "keys.json", story.folder / "home-2" / "keys.json"):
        for key in json.loads(ring.read_text())["keys"].values():
            canaries.add("master key", key)
    with open_manager(story.home) as manager, manager.database.read() as records:
        canaries.add("manifest key", records.credentials.secret(MANIFEST_KEY).reveal())
        for name, found in (
            ("ACME account key", records.accounts.key("ca")),
            ("local CA's key", records.issuers.key("local")),
        ):
            assert found is not None, name
            key = x509_key(found)
            canaries.add_key(name, key)
    for host in (HOST, "hostile.example.test"):
        file = open_shelf(home=story.home).find(HostName.parse(host))
        assert file is not None
        der = file.file.bundle.key.private_bytes(Encoding.DER, PrivateFormat.PKCS8, NoEncryption())
        canaries.add_key(f"private key of {host}", der)


def x509_key(pem: Secret) -> bytes:
    """A PEM key as PKCS#8 DER."""
    from cryptography.hazmat.primitives.serialization import load_pem_private_key

    key = load_pem_private_key(pem.reveal_bytes(), None)
    return key.private_bytes(Encoding.DER, PrivateFormat.PKCS8, NoEncryption())


def hostile_bundle() -> Bundle:
    """A sound bundle whose texts are hostile: CN, organisation, issuer and friendlyName."""
    made = SmallCa().issue("hostile.example.test")
    key = made.key
    assert isinstance(key, ec.EllipticCurvePrivateKey)
    name = x509.Name(
        [
            x509.NameAttribute(NameOID.COMMON_NAME, HOSTILE),
            x509.NameAttribute(NameOID.ORGANIZATION_NAME, f"<script>{HOSTILE}</script>"),
        ]
    )
    leaf = (
        x509.CertificateBuilder(name, name, key.public_key(), x509.random_serial_number())
        .not_valid_before(made.not_before)
        .not_valid_after(made.not_after)
        .add_extension(
            x509.SubjectAlternativeName([x509.DNSName("hostile.example.test")]), critical=False
        )
        .sign(key, SHA256())
    )
    return replace(Bundle(key, leaf), friendly_name=HOSTILE)


# --- T10


def test_nothing_that_was_said_holds_a_secret(story: Story) -> None:
    found = {
        name: hits
        for name, seen in story.seen.items()
        if (hits := story.canaries.hits(seen.stdout + seen.stderr))
    }
    assert found == {}


def test_no_argument_environment_or_temporary_file_held_a_secret(story: Story) -> None:
    assert {name: seen.places for name, seen in story.seen.items() if seen.places} == {}


def test_the_home_holds_no_secret_in_clear_outside_the_key_file(story: Story) -> None:
    assert found_in(story.home, story.canaries, except_for=["keys.json"]) == []
    assert found_in(story.folder / "home-2", story.canaries, except_for=["keys.json"]) == []


def test_a_dump_of_the_database_holds_no_secret(story: Story) -> None:
    connection = sqlite3.connect(story.home / "certshelf.db")
    try:
        dump = "\n".join(connection.iterdump())
    finally:
        connection.close()
    assert all(table.name in dump for table in metadata.sorted_tables)
    assert story.canaries.hits(dump.encode("utf-8", "surrogatepass")) == set()


def test_shelf_copies_cache_scripts_and_backup_hold_no_secret_in_clear(story: Story) -> None:
    for name in ("shelf", "copies", "cache", "scripts"):
        assert (story.folder / name).is_dir(), name
        assert found_in(story.folder / name, story.canaries) == []
    assert story.canaries.hits((story.folder / "backup.age").read_bytes()) == set()


def test_everything_that_was_made_in_the_home_is_for_its_owner_alone(story: Story) -> None:
    wide = [
        path
        for path in [story.home, *story.home.rglob("*")]
        if path.name != "certshelf.toml" and path.stat().st_mode & 0o077
    ]
    inner = [path for path in wide if not any(p in path.parents for p in [story.home])]
    assert inner == []  # the folder itself is 0700: nobody gets further
    for name in ("keys.json", "certshelf.db"):
        assert (story.home / name).stat().st_mode & 0o077 == 0, name


def test_a_fault_of_ours_is_told_with_its_place_and_without_secrets(story: Story) -> None:
    for name in ("a fault of ours", "reader with a fault of ours"):
        said = story.seen[name].said
        assert "a fault of ours" in said, name
        assert story.canaries.hits(said.encode()) == set(), name


def test_the_watch_would_find_a_secret(story: Story) -> None:
    story.canaries.add("bait", "canary-bait-77")
    words = [sys.executable, "-c", "import sys; sys.stdin.read()", "canary-bait-77"]
    with story.run.started(words) as (process, watch):
        until = time.monotonic() + 10
        while not watch.places and time.monotonic() < until:
            time.sleep(0.01)
        process.communicate(timeout=10)
    assert "bait in /proc/PID/cmdline" in watch.places


def test_a_handed_out_key_is_logged_by_name_and_not_by_value(story: Story) -> None:
    lines = [json.loads(x) for x in story.logs["reader"].splitlines() if x.startswith(b"{")]
    handed = [line for line in lines if line["event"] == "key-handed-out"]
    assert {line["name"] for line in handed} >= {HOST}
    assert {line["peer"] for line in handed} == {f"uid {os.geteuid()}", "loopback"}


# --- T20


def test_no_control_character_reaches_a_terminal(story: Story) -> None:
    found = {
        name: sorted({c for c in seen.said if not (c.isprintable() or c in "\n\t")})
        for name, seen in story.seen.items()
    }
    assert {name: chars for name, chars in found.items() if chars} == {}


def test_no_hostile_text_makes_a_line_of_its_own(story: Story) -> None:
    forged = [
        name
        for name, seen in story.seen.items()
        if any(line.startswith("error: forged") for line in seen.said.splitlines())
    ]
    assert forged == []


def test_every_line_of_the_readers_log_is_one_object(story: Story) -> None:
    lines = story.seen["reader"].stderr.splitlines()
    assert lines
    assert all(isinstance(json.loads(line), dict) for line in lines)


def test_what_is_hostile_was_met(story: Story) -> None:
    for name in ("a hostile problem", "a hostile directory", "hostile file name"):
        assert "forged" in story.seen[name].said, story.seen[name].said
