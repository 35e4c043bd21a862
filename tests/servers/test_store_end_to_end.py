"""The commands on a real share and a real bucket, as an administrator types them."""

from __future__ import annotations

import logging
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from certshelf.cli.main import run
from certshelf.errors import StoreDenied
from certshelf.names import HostName
from certshelf.resolve.resolver import Resolver
from certshelf.secret import Secret
from certshelf.shelf.shelf import Shelf
from certshelf.store.acl import READ, Ace
from certshelf.store.base import ANY, StoreCredentials
from certshelf.store.bucket import BucketStore
from certshelf.store.smb_security import HISTORY, make_folders, read_rights, set_rights
from tests.support.samba import Account, Samba, running_samba
from tests.support.seaweed import BUCKET, Seaweed, running_seaweed

pytestmark = pytest.mark.slow
Cli = Callable[..., int]


@pytest.fixture(scope="module")
def samba() -> Iterator[Samba]:
    with running_samba() as server:
        yield server


@pytest.fixture(scope="module")
def seaweed() -> Iterator[Seaweed]:
    with running_seaweed() as server:
        yield server


@pytest.fixture
def cli(tmp_path: Path) -> Cli:
    return lambda *args: run(["--home", str(tmp_path / "home"), *map(str, args)])


def secret_file(tmp_path: Path, name: str, text: str) -> Path:
    file = tmp_path / name
    file.write_text(text)
    return file


def keep_login(cli: Cli, tmp_path: Path, name: str, account: Account) -> None:
    file = secret_file(tmp_path, name, account.password)
    set_ = ("credential", "set", name, "--username", account.name)
    assert cli(*set_, "--password-file", file) == 0


def issue(cli: Cli, *options: str) -> None:
    assert cli("cert", "add", "www.example.test", *options) == 0
    assert cli("cert", "request", "www.example.test") == 0
    assert cli("cert", "request", "www.example.test", "--force") == 0


def pfx_password(tmp_path: Path, name: str = "shelf-password") -> Secret:
    from certshelf.manage.manager import open_manager

    with open_manager(tmp_path / "home") as manager:
        return manager.reveal(name)


# --- certshelf init on a share and on a bucket


def test_init_on_a_share_makes_the_folder_and_one_credential_serves(
    samba: Samba, cli: Cli, tmp_path: Path
) -> None:
    password = secret_file(tmp_path, "password", samba.writer.password)
    url = samba.url(f"{samba.new_folder()}/farm")
    assert cli("init", "--store", url, "--store-password-file", password) == 0
    issue(cli)
    assert cli("shelf", "verify") == 0
    assert cli("init", "--store", url, "--store-password-file", password) == 0


def test_init_on_a_share_with_a_credential_that_was_kept_before(
    samba: Samba, cli: Cli, tmp_path: Path
) -> None:
    keep_login(cli, tmp_path, "share-login", samba.writer)
    url = samba.url(samba.new_folder())
    assert cli("init", "--store", url, "--store-credential", "share-login") == 0
    issue(cli)
    assert samba.writer.password not in (tmp_path / "home" / "certshelf.toml").read_text()


def test_init_where_the_account_may_not_make_the_folder_says_what_to_do(
    samba: Samba, cli: Cli, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    above = samba.new_folder()
    admin = samba.store(above, samba.admin)
    set_rights(admin, (Ace(read_rights(admin).owner, 0x1F01FF), Ace("S-1-1-0", READ)))
    password = secret_file(tmp_path, "password", samba.writer.password)
    url = samba.url(f"{above}/farm")
    assert cli("init", "--store", url, "--store-password-file", password) == 1
    said = capsys.readouterr().err
    assert "may not make it" in said
    assert "certshelf share plan" in said
    (samba.share / above / "farm").mkdir()
    assert cli("init", "--store", url, "--store-password-file", password) == 0


def test_init_with_a_wrong_password_says_so_and_shows_no_traceback(
    samba: Samba, tmp_path: Path
) -> None:
    password = secret_file(tmp_path, "password", "wrong-canary")
    command = [sys.executable, "-m", "certshelf", "--home", str(tmp_path / "home"), "init"]
    command += ["--store", samba.url(samba.new_folder()), "--store-password-file", str(password)]
    done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=60)
    assert done.returncode == 1
    assert len(done.stderr.splitlines()) == 2, done.stderr
    assert "wrong-canary" not in done.stdout + done.stderr


def test_a_server_that_goes_away_shows_no_traceback_of_a_library(tmp_path: Path) -> None:
    script = (
        "import sys\n"
        "from certshelf.errors import StoreError\n"
        "from certshelf.secret import Secret\n"
        "from certshelf.store.base import StoreCredentials\n"
        "from certshelf.store.smb import SmbStore\n"
        "user, password = sys.stdin.readline().split()\n"
        "store = SmbStore.from_url(sys.argv[1], StoreCredentials(user, Secret(password)), 2)\n"
        "store.look('a.pfx')\n"
        "print('ready', flush=True)\n"
        "sys.stdin.readline()\n"
        "try:\n    store.look('a.pfx')\nexcept StoreError as error:\n    print(error.kind)\n"
    )
    with running_samba() as server:
        command = [sys.executable, "-c", script, server.url(server.new_folder())]
        child = subprocess.Popen(
            command,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
        assert child.stdin and child.stdout
        child.stdin.write(f"{server.writer.name} {server.writer.password}\n")
        child.stdin.flush()
        assert child.stdout.readline() == "ready\n"
        server.stop()
        out, err = child.communicate("go\n", timeout=60)
    assert (out, err) == ("unreachable\n", "")


def test_a_log_level_of_ones_own_brings_the_library_s_log_back() -> None:
    from certshelf.store import smb_messages

    logger = logging.getLogger("smbprotocol")
    before = (logger.level, list(logger.handlers), logger.propagate)
    try:
        logger.handlers, logger.propagate, logger.level = [], True, logging.DEBUG
        smb_messages.library("connection")
        assert (logger.handlers, logger.propagate) == ([], True)
        logger.level = logging.NOTSET
        smb_messages.library("connection")
        assert not logger.propagate
    finally:
        logger.level, logger.handlers, logger.propagate = before


def test_init_on_a_bucket_and_a_reader_key_that_cannot_write(
    seaweed: Seaweed, cli: Cli, tmp_path: Path
) -> None:
    secret = secret_file(tmp_path, "secret", seaweed.writer.secret)
    init = ["init", "--store", f"s3://{BUCKET}/end-to-end", "--s3-endpoint", seaweed.endpoint]
    login = ["--store-username", seaweed.writer.id, "--store-password-file", secret]
    assert cli(*init, *login) == 0
    issue(cli)
    assert cli("shelf", "verify") == 0
    reader = BucketStore.from_url(
        f"s3://{BUCKET}/end-to-end",
        StoreCredentials(seaweed.reader.id, Secret(seaweed.reader.secret), seaweed.endpoint),
    )
    found = Shelf(reader, pfx_password(tmp_path)).find(HostName.parse("www.example.test"))
    assert found is not None and found.file.bundle is not None
    with pytest.raises(StoreDenied):
        reader.put("www.example.test.pfx", b"x", ANY)
    with pytest.raises(StoreDenied):
        reader.delete("www.example.test.pfx")


def test_init_on_a_bucket_that_is_not_there_says_so(
    seaweed: Seaweed, cli: Cli, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    secret = secret_file(tmp_path, "secret", seaweed.writer.secret)
    init = ["init", "--store", "s3://no-such-bucket/x", "--s3-endpoint", seaweed.endpoint]
    login = ["--store-username", seaweed.writer.id, "--store-password-file", secret]
    assert cli(*init, *login) == 1
    assert "no such bucket" in capsys.readouterr().err


# --- reader scopes: two groups, two reader accounts, one certificate in both


def test_each_group_s_reader_opens_only_its_own_shelf(
    samba: Samba, cli: Cli, tmp_path: Path
) -> None:
    readers = {"web": samba.reader, "mail": samba.other}
    folders = {group: samba.new_folder() for group in readers}  # an administrator owns them
    for name, account in {"writer": samba.writer, "admin": samba.admin, **readers}.items():
        keep_login(cli, tmp_path, name, account)
    main = samba.url(samba.new_folder())
    assert cli("init", "--store", main, "--store-credential", "writer") == 0
    for group, account in readers.items():
        password = secret_file(tmp_path, f"pfx-{group}", f"the password of {group} alone")
        assert cli("credential", "set", f"pfx-{group}", "--password-file", password) == 0
        store = ("--store", samba.url(folders[group]), "--store-credential", "writer")
        own = ("--password-credential", f"pfx-{group}", "--reader-credential", group)
        assert cli("group", "add", group, *store, *own) == 0
        rights = ("--reader", account.name, "--writer", samba.writer.name)
        assert cli("share", "grant", "--group", group, *rights, "--login", "admin") == 0
    issue(cli, "--group", "web", "--group", "mail")
    for group, account in readers.items():
        other = "mail" if group == "web" else "web"
        assert cli("share", "check", "--group", group, "--reader-login", group) == 0
        assert cli("share", "check", "--group", other, "--reader-login", group) == 1
        own_shelf = Shelf(
            samba.store(folders[group], account), pfx_password(tmp_path, f"pfx-{group}")
        )
        found = own_shelf.find(HostName.parse("www.example.test"))
        assert found is not None and found.file.bundle is not None
        with pytest.raises(StoreDenied):
            samba.store(folders[other], account).get("www.example.test.pfx")
        with pytest.raises(StoreDenied):
            list(samba.store(folders[other], account).list())
        foreign = Shelf(
            samba.store(folders[other]), pfx_password(tmp_path, f"pfx-{group}")
        ).look_at("www.example.test.pfx")
        assert foreign is not None and foreign.bundle is None  # its password opens no other's


def test_share_check_fails_when_a_reader_can_read_old_versions(
    samba: Samba, cli: Cli, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    for name, account in (
        ("writer", samba.writer), ("admin", samba.admin), ("reader", samba.reader)
    ):  # fmt: skip
        keep_login(cli, tmp_path, name, account)
    folder = samba.new_folder()
    assert cli("init", "--store", samba.url(folder), "--store-credential", "writer") == 0
    rights = ("--reader", samba.reader.name, "--writer", samba.writer.name)
    assert cli("share", "grant", *rights, "--login", "admin") == 0
    assert cli("share", "check", "--reader-login", "reader") == 0
    admin = samba.store(folder, samba.admin)
    make_folders(admin, HISTORY)
    aces = read_rights(admin, HISTORY).aces or ()
    set_rights(admin, (*aces, Ace("S-1-1-0", READ)), HISTORY)
    capsys.readouterr()
    assert cli("share", "check", "--reader-login", "reader") == 1
    assert "share-reader-reads-history" in capsys.readouterr().out


def test_14_a_reader_on_a_share_serves_a_renewal_without_a_listing_at_the_handshake(
    samba: Samba, cli: Cli, tmp_path: Path
) -> None:
    import time

    password = secret_file(tmp_path, "password", samba.writer.password)
    folder = samba.new_folder()
    assert cli("init", "--store", samba.url(folder), "--store-password-file", password) == 0
    issue(cli)
    resolver = Resolver(Shelf(samba.store(folder), pfx_password(tmp_path))).start()
    try:
        assert resolver.wait_ready(30)

        def served(other_than: str) -> str:
            end = time.monotonic() + 30
            while time.monotonic() < end:
                bundle = resolver.resolve("www.example.test")
                if bundle is not None and bundle.serial != other_than:
                    return bundle.serial
                time.sleep(0.02)
            pytest.fail("the renewal is not served after 30 s")

        first = served("")
        assert cli("cert", "request", "www.example.test", "--force") == 0
        assert served(first) != first
    finally:
        resolver.close()
