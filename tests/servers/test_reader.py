"""The reader as a process: who may ask, signals, a shelf that is away, a local CCS folder."""

from __future__ import annotations

import json
import os
import shutil
import socket
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.serialization import (
    Encoding,
    NoEncryption,
    PrivateFormat,
    PublicFormat,
)

from certshelf.secret import Secret
from certshelf.shelf.shelf import Shelf
from certshelf.store.folder import FolderStore
from tests.support import asn1
from tests.support.blind import blind_children
from tests.support.bundles import make_bundle
from tests.support.envoy import Envoy
from tests.support.reader import PASSWORD, ReaderProcess, ShelfFolder
from tests.support.tls_probe import served, wait_served, wait_until

pytestmark = [pytest.mark.slow, pytest.mark.skipif(os.name != "posix", reason="Unix sockets")]

as_root = pytest.mark.skipif(
    not hasattr(os, "geteuid") or os.geteuid() != 0, reason="becomes another user"
)

ASK = """
import socket, sys
s = socket.socket(socket.AF_UNIX); s.settimeout(10); s.connect(sys.argv[1])
try: s.sendall(f"GET /cert?server_name={sys.argv[2]} HTTP/1.0\\r\\n\\r\\n".encode())
except BrokenPipeError: pass  # a stranger is refused before he asks
while (d := s.recv(65536)): sys.stdout.write(d.decode("latin-1"))
"""

SETTINGS = "\0\0\x0c\x04\0"  # how a server of HTTP/2 begins, to whom may ask (RFC 9113 section 6.5)
Start = Callable[..., ReaderProcess]


@pytest.fixture
def work() -> Iterator[Path]:
    """A short path (sockets) that other users can enter."""
    folder = Path(tempfile.mkdtemp(prefix="cs-"))
    folder.chmod(0o755)
    yield folder
    shutil.rmtree(folder, ignore_errors=True)


@pytest.fixture
def shelf(work: Path) -> ShelfFolder:
    shelf = ShelfFolder(work / "shelf")
    shelf.publish("www.one.test")
    return shelf


@pytest.fixture
def start(work: Path, shelf: ShelfFolder) -> Iterator[Start]:
    running: list[ReaderProcess] = []

    def run(*flags: str) -> ReaderProcess:
        reader = ReaderProcess(work / f"reader-{len(running)}", shelf, flags)
        running.append(reader)
        return reader

    yield run
    for reader in running:
        reader.close()


def ask(path: Path, name: str, user: str | None = None) -> str:
    """The answer of the endpoint on a Unix socket, as another user if told so."""
    import pwd

    python = sys.executable if user is None else "/usr/bin/python3"
    done = subprocess.run(
        [python, "-c", ASK, str(path), name],
        user=user,
        group=None if user is None else pwd.getpwnam(user).pw_gid,
        extra_groups=None if user is None else [],
        cwd="/",
        env={},
        capture_output=True,
        text=True,
        timeout=20,
        check=False,
    )
    return done.stdout + done.stderr


@as_root
@pytest.mark.skipif(not Path("/usr/bin/python3").exists(), reason="needs a Python for all users")
def test_only_allowed_users_get_a_key(work: Path, start: Start) -> None:
    path = work / "http.sock"
    reader = start("--http", f"unix:{path}")
    assert ask(path, "www.one.test").startswith("HTTP/1.1 200")
    refused = ask(path, "www.one.test", user="nobody")
    assert refused.startswith("HTTP/1.1 403")
    assert "PRIVATE" not in refused
    assert '"refused"' in reader.log
    reader.stop()
    start("--http", f"unix:{path}", "--allow-user", "nobody")
    assert "PRIVATE KEY" in ask(path, "www.one.test", user="nobody")


@as_root
@pytest.mark.skipif(not Path("/usr/bin/python3").exists(), reason="needs a Python for all users")
def test_only_allowed_users_reach_envoys_secrets_whatever_their_groups(
    work: Path, start: Start
) -> None:
    import pwd

    path = work / "sds" / "sds.sock"
    users = ("nobody", "daemon")
    assert len({pwd.getpwnam(user).pw_gid for user in users}) == 2
    reader = start("--envoy", f"unix:{path}", "--allow-user", "nobody", "--allow-user", "daemon")
    for user in (None, *users):
        assert ask(path, "x", user=user).startswith(SETTINGS), user
    assert SETTINGS not in ask(path, "x", user="mail")
    refused = f'"event": "refused", "server": "envoy", "peer": "uid {pwd.getpwnam("mail").pw_uid}"'
    assert wait_until(lambda: refused in reader.log), reader.log


@as_root
def test_only_the_mirrors_group_reads_its_keys(work: Path, start: Start) -> None:
    import grp
    import pwd

    nobody = pwd.getpwnam("nobody")
    group = grp.getgrgid(nobody.pw_gid).gr_name

    def read(mirror: Path) -> str:
        done = subprocess.run(
            ["cat", str(mirror / "www.one.test.pem")],
            user=nobody.pw_uid,
            group=nobody.pw_gid,
            extra_groups=[],
            cwd="/",
            capture_output=True,
            text=True,
            timeout=20,
            check=False,
        )
        return done.stdout

    for name, owner, may_read in (("a", "", False), ("b", f"root:{group}", True)):
        mirror = work / name
        start("--mirror", str(mirror), *(["--mirror-owner", owner] if owner else []))
        assert wait_until((mirror / "www.one.test.pem").exists)
        assert ("PRIVATE KEY" in read(mirror)) is may_read


def test_a_second_reader_does_not_take_the_socket_of_the_first(
    work: Path, shelf: ShelfFolder, start: Start
) -> None:
    path = work / "http.sock"
    start("--http", f"unix:{path}")
    password = work / "password"
    password.write_text(PASSWORD)
    words = ["--shelf", str(shelf.folder), "--password-file", str(password)]
    command = [sys.executable, "-m", "certshelf.serve.program", *words, "--http", f"unix:{path}"]
    done = subprocess.run(command, capture_output=True, text=True, timeout=30, check=False)
    assert done.returncode == 2
    assert "already listens" in done.stderr
    assert ask(path, "www.one.test").startswith("HTTP/1.1 200")


def test_the_secret_path_is_in_no_log(work: Path, start: Start) -> None:
    file = work / "http-path"
    reader = start("--http", "127.0.0.1:0", "--http-path-file", str(file))
    secret = file.read_text().strip()
    host, _, port = reader.offers["http"].rpartition(":")
    with socket.create_connection((host, int(port)), 10) as connection:
        connection.sendall(f"GET /{secret}/cert?server_name=www.one.test HTTP/1.0\r\n\r\n".encode())
        assert connection.recv(65536).startswith(b"HTTP/1.1 200")
    assert wait_until(lambda: "key-handed-out" in reader.log)
    assert secret not in reader.log


def test_every_line_of_the_log_is_json(work: Path, start: Start) -> None:
    path = work / "http.sock"
    reader = start("--http", f"unix:{path}", "--mirror", str(work / "mirror"))
    ask(path, "www.one.test")
    assert reader.stop() == 0
    lines = [line for line in reader.log.splitlines() if not line.startswith("ready")]
    events = {json.loads(line)["event"] for line in lines}
    assert {"ready", "mirror-filled", "key-handed-out", "stopped"} <= events


def test_a_shelf_that_is_away_from_the_start_is_served_from_the_encrypted_copy(
    work: Path, shelf: ShelfFolder, start: Start
) -> None:
    path, cache = work / "http.sock", work / "cache"
    flags = ("--http", f"unix:{path}", "--cache", str(cache))
    reader = start(*flags)
    assert ask(path, "www.one.test").startswith("HTTP/1.1 200")
    assert wait_until(lambda: (cache / "www.one.test.pfx").exists())
    reader.stop()
    copy = (cache / "www.one.test.pfx").read_bytes()
    assert copy == (shelf.folder / "www.one.test.pfx").read_bytes()
    assert (cache / "www.one.test.pfx").stat().st_mode & 0o077 == 0
    shelf.take_away()
    start(*flags)
    assert "PRIVATE KEY" in ask(path, "www.one.test")
    assert ask(path, "other.test").startswith("HTTP/1.1 503")  # it cannot know
    shelf.bring_back()
    shelf.publish("other.test")
    assert wait_until(lambda: ask(path, "other.test").startswith("HTTP/1.1 200"))


def test_hanging_up_reads_the_names_again_and_keeps_good_settings(
    work: Path, shelf: ShelfFolder, start: Start
) -> None:
    path, names = work / "http.sock", work / "names"
    shelf.publish("two.test")
    names.write_text("www.one.test\n")
    reader = start("--http", f"unix:{path}", "--names", str(names))
    assert ask(path, "two.test").startswith("HTTP/1.1 404")
    names.write_text("two.test\n")
    reader.hang_up()
    assert wait_until(lambda: "settings-read" in reader.log), reader.log
    assert ask(path, "two.test").startswith("HTTP/1.1 200")
    assert ask(path, "www.one.test").startswith("HTTP/1.1 404")
    names.write_text("no name at all\n")
    reader.hang_up()
    assert wait_until(lambda: "settings-refused" in reader.log)
    assert ask(path, "two.test").startswith("HTTP/1.1 200")


def test_hanging_up_reads_a_changed_file_of_settings(
    work: Path, shelf: ShelfFolder, start: Start
) -> None:
    config = work / "reader.toml"
    config.write_text(f'http = "unix:{work}/a.sock"\n')
    reader = start("--config", str(config))
    config.write_text(f'http = "unix:{work}/b.sock"\n')
    reader.hang_up()
    assert wait_until(lambda: "settings-read" in reader.log), reader.log
    assert ask(work / "b.sock", "www.one.test").startswith("HTTP/1.1 200")


def test_hanging_up_forgets_nothing_that_is_served(
    work: Path, shelf: ShelfFolder, start: Start
) -> None:
    path = work / "http.sock"
    reader = start("--http", f"unix:{path}")
    assert ask(path, "www.one.test").startswith("HTTP/1.1 200")
    shelf.take_away()
    reader.hang_up()
    assert wait_until(lambda: "settings-read" in reader.log), reader.log
    assert ask(path, "www.one.test").startswith("HTTP/1.1 200")
    shelf.bring_back()
    newest = shelf.publish("www.one.test")
    assert wait_until(lambda: newest in ask(path, "www.one.test"))


def test_with_a_manifest_key_only_vouched_files_are_handed_out(work: Path, start: Start) -> None:
    path, key = work / "http.sock", Ed25519PrivateKey.generate()
    folder, public = work / "signed", work / "manifest.pem"
    form = (Encoding.PEM, PublicFormat.SubjectPublicKeyInfo)
    public.write_bytes(key.public_key().public_bytes(*form))
    folder.mkdir()
    manager = Shelf(FolderStore(folder), Secret(PASSWORD), owner="manager", signing_key=key)
    manager.publish(make_bundle("www.one.test"))
    forged = make_bundle("forged.test").to_pfx(Secret(PASSWORD))
    (folder / "forged.test.pfx").write_bytes(forged)
    start("--http", f"unix:{path}", "--manifest-key", str(public), "--shelf", str(folder))
    assert ask(path, "www.one.test").startswith("HTTP/1.1 200")
    assert "PRIVATE KEY" not in ask(path, "forged.test")


def test_certshelf_reader_is_the_same_program(work: Path, shelf: ShelfFolder) -> None:
    password = work / "password"
    password.write_text(PASSWORD)
    words = ["--shelf", str(shelf.folder), "--password-file", str(password), "--check"]
    command = [sys.executable, "-m", "certshelf", "reader", *words]
    done = subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)
    assert done.stdout == "1 names on the shelf; 1 of the 1 tried can be served\n", done.stderr


@pytest.mark.parametrize("program", ["certshelf", "certshelf.serve.program"])
def test_configure_prints_what_nginx_needs_for_the_names_of_the_mirror(
    work: Path, shelf: ShelfFolder, start: Start, program: str
) -> None:
    shelf.publish("*.wild.test")
    mirror = work / "mirror"
    start("--mirror", str(mirror))
    assert wait_until((mirror / "_.wild.test.pem").exists)
    command = [sys.executable, "-m", program, "configure", "nginx", "--mirror", str(mirror)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)
    assert " _.wild.test;" in done.stdout, done.stderr


def test_a_local_ccs_folder_is_kept_equal_to_the_shelf(
    work: Path, shelf: ShelfFolder, start: Start
) -> None:
    shelf.publish("bücher.test")
    local = work / "ccs"
    local.mkdir()
    (local / "foreign.test.pfx").write_bytes(b"somebody else's")
    start("--mirror-pfx", str(local), "--mirror-grace", "0")

    def equal() -> bool:
        there = {p.name: p.read_bytes() for p in local.glob("*.pfx")}
        there.pop("foreign.test.pfx")
        return there == {p.name: p.read_bytes() for p in shelf.folder.glob("*.pfx")}

    assert wait_until(equal)
    assert (local / "bücher.test.pfx").exists()
    for name in ("www.one.test", "late.test"):
        shelf.publish(name)
        assert wait_until(equal)
    shelf.shelf.retire(shelf.current["late.test"].names[0])
    assert wait_until(equal)
    shelf.take_away()
    assert not wait_until(lambda: len(list(local.glob("*.pfx"))) < 4, 3)
    assert (local / "foreign.test.pfx").read_bytes() == b"somebody else's"


def test_check_says_what_is_wrong_and_ends(work: Path, shelf: ShelfFolder) -> None:
    password = work / "password"
    password.write_text(PASSWORD)
    words = ["--shelf", str(shelf.folder), "--password-file", str(password), "--check"]
    command = [sys.executable, "-m", "certshelf.serve.program", *words]
    good = subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)
    assert (good.returncode, good.stdout) == (
        0,
        "1 names on the shelf; 1 of the 1 tried can be served\n",
    )
    password.write_text("another password")
    bad = subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)
    assert bad.returncode == 1
    assert "www.one.test.pfx" in bad.stderr


def bomb(name: str) -> bytes:
    """A PFX that hides 2^31 rounds where only who knows the password can put them."""
    bundle = make_bundle(name)
    form = (Encoding.DER, PrivateFormat.PKCS8, NoEncryption())
    key, password = bundle.key.private_bytes(*form), PASSWORD.encode()
    hidden = asn1.shrouded_bag(key, password, claimed_rounds=2**31 - 1)
    leaf = asn1.cert_bag(bundle.leaf.public_bytes(Encoding.DER))
    return asn1.pfx([asn1.encrypted([hidden, leaf], password)], password)


@pytest.mark.skipif(not Path("/proc/self/task").exists(), reason="finds the child in /proc")
def test_a_file_without_end_holds_up_nobody_and_its_child_is_killed(
    work: Path, shelf: ShelfFolder, start: Start, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    blind_children(monkeypatch, tmp_path)
    path = work / "http.sock"
    old = shelf.current["www.one.test"]
    shelf.publish("two.test")
    reader = start("--http", f"unix:{path}")
    for name in shelf.current:
        assert ask(path, name).startswith("HTTP/1.1 200")
    assert reader.process is not None
    children = Path(f"/proc/{reader.process.pid}/task/{reader.process.pid}/children")
    threads = children.parent.parent

    def child() -> str:
        return " ".join((t / "children").read_text() for t in threads.iterdir()).strip()

    assert child() == ""
    shelf.spoil("www.one.test", bomb("www.one.test"))
    assert wait_until(lambda: child() != "")
    busy = child()
    assert old.sha256 in ask(path, "www.one.test")  # its ETag
    assert ask(path, "two.test").startswith("HTTP/1.1 200")
    assert child() == busy, "the answers did not wait for it"
    assert wait_until(lambda: child() != busy, 60)
    assert old.sha256 in ask(path, "www.one.test")
    assert "hides more rounds" in reader.log  # file-refused
    newest = shelf.publish_slow("www.one.test")
    assert wait_until(lambda: newest in ask(path, "www.one.test"))
    last = int(child())
    reader.kill()
    assert wait_until(lambda: not Path(f"/proc/{last}").exists(), 30)


def test_a_cold_name_of_many_rounds_is_served(work: Path, shelf: ShelfFolder, start: Start) -> None:
    path = work / "http.sock"
    sha256 = shelf.publish_slow("slow.test", rsa_key=True)
    start("--http", f"unix:{path}")
    assert wait_until(lambda: sha256 in ask(path, "slow.test"))


@pytest.mark.skipif(bool(Envoy.missing()), reason=f"not installed: {Envoy.missing()}")
def test_envoy_takes_more_names_than_one_stream_each_would_allow(
    tmp_path: Path, shelf: ShelfFolder, start: Start
) -> None:
    sha256 = shelf.publish("*.wild.test")
    envoy = Envoy(tmp_path)
    try:
        start(*envoy.reader_flags())
        envoy.start(())
        assert wait_served(envoy.port, "n0.wild.test", sha256) == sha256
        seen = {served(envoy.port, f"n{n}.wild.test") for n in range(1, 1100)}
        assert seen == {sha256}
        newer = shelf.publish("*.wild.test")
        assert wait_served(envoy.port, "n1099.wild.test", newer) == newer
        assert wait_served(envoy.port, "n1.wild.test", newer) == newer
    finally:
        envoy.close()


@pytest.mark.skipif(bool(Envoy.missing()), reason=f"not installed: {Envoy.missing()}")
def test_a_flood_of_unknown_names_leaves_a_known_one_served(
    tmp_path: Path, shelf: ShelfFolder, start: Start
) -> None:
    envoy = Envoy(tmp_path)
    try:
        start(*envoy.reader_flags())
        envoy.start(())
        sha256 = shelf.current["www.one.test"].sha256
        assert wait_served(envoy.port, "www.one.test", sha256) == sha256
        for number in range(500):
            assert served(envoy.port, f"n{number}.flood.test").startswith("alert: ")
        assert served(envoy.port, "www.one.test") == sha256
        late = shelf.publish("n7.flood.test")
        assert wait_served(envoy.port, "n7.flood.test", late) == late
    finally:
        envoy.close()
