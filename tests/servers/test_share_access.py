"""Who may do what on a real file server: granted, checked, widened, and tried."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from certshelf.errors import ConfigError, StoreDenied, StoreError
from certshelf.finding import Severity
from certshelf.shelf.access import check, find_accounts, grant
from certshelf.shelf.rights import grant_list
from certshelf.store.acl import FULL, MODIFY, READ, Ace
from certshelf.store.base import ABSENT, ANY, HIDDEN
from certshelf.store.smb_security import (
    HISTORY,
    Encryption,
    Protection,
    maximal_access,
    protection_of,
    read_rights,
    set_rights,
)
from tests.support.samba import Account, Samba, running_samba

pytestmark = pytest.mark.slow
KEY = "www.example.com.pfx"


@pytest.fixture(scope="module")
def samba() -> Iterator[Samba]:
    with running_samba() as server:
        yield server


@pytest.fixture
def folder(samba: Samba) -> str:
    """A folder that was granted to one reader and one writer, with one file in it."""
    name = samba.new_folder()
    grant(samba.store(name, samba.admin), readers=[samba.reader.name], writer=samba.writer.name)
    samba.store(name).put(KEY, b"key", ANY)
    samba.store(name).put(f"{HISTORY}/www.example.com/1.pfx", b"old key", ANY)
    return name


def ids(samba: Samba, folder: str) -> set[str]:
    findings = check(samba.store(folder), samba.store(folder, samba.reader))
    return {finding.id for finding in findings}


def widen(samba: Samba, folder: str, ace: Ace, below: str = "") -> None:
    admin = samba.store(folder, samba.admin)
    aces = read_rights(admin, below).aces
    assert aces is not None
    set_rights(admin, (*aces, ace), below)


def test_t17_what_was_granted_is_green(samba: Samba, folder: str) -> None:
    assert ids(samba, folder) == {"share-rights"}


def test_t17_a_reader_that_may_write_is_red_and_narrowed_again_green(
    samba: Samba, folder: str
) -> None:
    before = sorted(os.listdir(samba.share / folder))
    sid = find_accounts(samba.store(folder), (samba.reader.name,))[samba.reader.name]
    widen(samba, folder, Ace(sid, MODIFY))
    assert "share-reader-can-write" in ids(samba, folder)
    grant(samba.store(folder, samba.admin), readers=[samba.reader.name], writer=samba.writer.name)
    assert ids(samba, folder) == {"share-rights"}
    assert sorted(os.listdir(samba.share / folder)) == before  # no test file was written


@pytest.mark.parametrize(
    ("sid", "expected"),
    [
        ("S-1-1-0", "share-everyone"),
        ("S-1-5-11", "share-everyone"),
        ("S-1-5-82-3006700770-424185619-1745488364", "share-app-pool"),
        ("S-1-5-32-568", "share-app-pool"),
    ],
)
def test_a_list_that_lets_others_in_is_red(
    samba: Samba, folder: str, sid: str, expected: str
) -> None:
    widen(samba, folder, Ace(sid, READ))
    assert expected in ids(samba, folder)


def test_a_writer_that_may_set_rights_is_red(samba: Samba, folder: str) -> None:
    sid = find_accounts(samba.store(folder), (samba.writer.name,))[samba.writer.name]
    widen(samba, folder, Ace(sid, FULL))
    assert "share-writer-sets-rights" in ids(samba, folder)


def test_a_reader_of_old_versions_is_red(samba: Samba, folder: str) -> None:
    sid = find_accounts(samba.store(folder), (samba.reader.name,))[samba.reader.name]
    widen(samba, folder, Ace(sid, READ), HISTORY)
    assert "share-reader-reads-history" in ids(samba, folder)


def test_a_folder_that_nobody_narrowed_is_red(samba: Samba) -> None:
    assert {"share-everyone", "share-inherits"} & ids(samba, samba.new_folder())


def test_another_account_on_the_list_is_named(samba: Samba, folder: str) -> None:
    sid = find_accounts(samba.store(folder), (samba.other.name,))[samba.other.name]
    widen(samba, folder, Ace(sid, READ))
    assert ids(samba, folder) == {"share-other-account"}
    findings = check(
        samba.store(folder), samba.store(folder, samba.reader), accounts=(samba.other.name,)
    )
    assert [finding.severity for finding in findings] == [Severity.OK]


def test_15_a_reader_reads_and_changes_nothing(samba: Samba, folder: str) -> None:
    reader = samba.store(folder, samba.reader)
    blob = reader.get(KEY)
    assert blob is not None
    assert [entry.key for entry in reader.list()] == [KEY]
    changes: list[Callable[[], object]] = [
        lambda: reader.put(KEY, b"x", ANY),
        lambda: reader.put(KEY, b"x", blob.version),
        lambda: reader.put("new.pfx", b"x", ABSENT),
        lambda: reader.put(f"{HIDDEN}/records/x", b"x", ANY),
        lambda: reader.delete(KEY),
        lambda: reader.get(f"{HISTORY}/www.example.com/1.pfx"),
        lambda: set_rights(reader, (Ace("S-1-1-0", FULL),)),
    ]
    for change in changes:
        with pytest.raises(StoreDenied):
            change()
    assert reader.get(KEY) == blob


def test_the_writer_cannot_open_the_folder_or_its_own_files_to_others(
    samba: Samba, folder: str
) -> None:
    writer = samba.store(folder)
    for below in ("", HISTORY):
        with pytest.raises(StoreDenied):
            set_rights(writer, (Ace("S-1-1-0", FULL),), below)
    access = maximal_access(writer, KEY)
    assert access is not None
    assert not access & 0x40000


def test_t1_a_reader_of_one_group_gets_nothing_of_another(samba: Samba, folder: str) -> None:
    group_b = samba.new_folder()
    grant(samba.store(group_b, samba.admin), readers=[samba.other.name], writer=samba.writer.name)
    samba.store(group_b).put(KEY, b"of group b", ANY)
    reader_a = samba.store(group_b, samba.reader)
    for call in (
        lambda: reader_a.get(KEY),
        lambda: list(reader_a.list()),
        lambda: reader_a.put(KEY, b"x", ANY),
    ):
        with pytest.raises(StoreDenied):
            call()
    assert maximal_access(reader_a) in (0, 0x80)
    assert samba.store(group_b, samba.other).get(KEY) is not None
    assert samba.store(folder, samba.reader).get(KEY) is not None


def test_t23_a_new_file_has_the_folder_s_rights_from_its_first_byte(
    samba: Samba, folder: str
) -> None:
    store = samba.store(folder)
    store.put("another.example.pfx", b"x", ANY)
    temp = store.calls.path((".another.example.pfx.0123456789abcdef.tmp",))
    wire = store.calls.wire
    assert wire is not None
    wire.write_new(temp, b"half")
    lists = [
        {
            (ace.sid, ace.mask)
            for ace in read_rights(samba.store(folder, samba.admin), key).aces or ()
        }
        for key in (KEY, "another.example.pfx")
    ]
    assert lists[0] == lists[1]
    store.sweep(-5)


def test_a_denied_rename_is_told_at_once_and_is_not_busy(samba: Samba, folder: str) -> None:
    """A writer that may make files and not delete: Windows says the same of an open file."""
    admin = samba.store(folder, samba.admin)
    sid = find_accounts(admin, (samba.other.name,))[samba.other.name]
    set_rights(admin, (Ace(read_rights(admin).owner, FULL), Ace(sid, READ | 0x116)))
    with pytest.raises(StoreDenied, match="may not replace"):
        samba.store(folder, samba.other).put(KEY, b"theirs", ANY)
    blob = admin.get(KEY)
    assert blob is not None
    assert blob.data == b"key"


def test_what_was_there_before_is_narrowed_too(samba: Samba) -> None:
    name = samba.new_folder()
    before = samba.store(name)
    before.put(KEY, b"key", ANY)
    before.put(f"{HIDDEN}/records/{KEY}.json", b"{}", ANY)
    before.put(f"{HISTORY}/old.pfx", b"old", ANY)
    admin = samba.store(name, samba.admin)
    set_rights(admin, grant_list_of(samba, name))  # the folder alone, as a hasty hand does
    assert "share-wider-below" in ids(samba, name)
    grant(admin, readers=[samba.reader.name], writer=samba.writer.name)
    assert ids(samba, name) == {"share-rights"}
    reader = samba.store(name, samba.reader)
    with pytest.raises(StoreDenied):
        reader.put(f"{HIDDEN}/records/{KEY}.json", b"forged", ANY)
    assert reader.get(KEY) is not None
    assert samba.store(name, samba.other).calls.login.username == samba.other.name
    with pytest.raises(StoreDenied):
        samba.store(name, samba.other).get(KEY)


def grant_list_of(samba: Samba, name: str) -> tuple[Ace, ...]:
    admin = samba.store(name, samba.admin)
    sids = find_accounts(admin, (samba.reader.name, samba.writer.name))
    return grant_list(read_rights(admin).owner, [sids[samba.reader.name]], sids[samba.writer.name])


def test_an_unknown_account_is_refused_before_anything_is_set(samba: Samba, folder: str) -> None:
    admin = samba.store(folder, samba.admin)
    before = read_rights(admin)
    with pytest.raises(ConfigError, match="no-such-account"):
        grant(admin, readers=["no-such-account"], writer=samba.writer.name)
    assert read_rights(admin) == before


def test_a_server_that_does_not_insist_on_encryption_is_red() -> None:
    with running_samba(encrypt="if_required") as server:
        name = server.new_folder()
        admin = server.store(name, server.admin)
        grant(admin, readers=[server.reader.name], writer=server.writer.name)
        assert protection_of(admin).encryption is Encryption.NOT_ASKED
        assert ids(server, name) == {"share-unencrypted", "share-unsigned"}
        server.store(name).put(KEY, b"x", ANY)  # ours are encrypted all the same
        wire = server.store(name).calls.fresh("ask", "it")
        assert wire.encrypts
        wire.close()


def test_a_server_that_lets_in_who_cannot_encrypt_is_a_warning() -> None:
    with running_samba(encrypt="desired") as server:
        name = server.new_folder()
        admin = server.store(name, server.admin)
        grant(admin, readers=[server.reader.name], writer=server.writer.name)
        assert protection_of(admin).encryption is Encryption.WHERE_POSSIBLE
        can = server.store(name).calls.fresh("ask", "it", encrypt=False)
        cannot = server.store(name).calls.fresh("ask", "it", offers=False)
        assert (can.encrypts, cannot.encrypts) == (True, False)
        can.close()
        cannot.close()
        found = check(server.store(name), server.store(name, server.reader))
        assert {f.id for f in found} == {"share-unencrypted", "share-unsigned"}
        assert {f.severity for f in found} == {Severity.WARNING}


def test_a_server_that_insists_on_encryption_refuses_who_cannot(samba: Samba, folder: str) -> None:
    assert protection_of(samba.store(folder)) == Protection(Encryption.DEMANDED, signing=True)
    with pytest.raises(StoreError):
        samba.store(folder).calls.fresh("ask", "it", offers=False)


def test_no_message_of_a_wrong_login_shows_its_password(samba: Samba, folder: str) -> None:
    wrong = samba.store(folder, Account(samba.writer.name, "hunter2-canary"))
    for call in (lambda: check(wrong), lambda: maximal_access(wrong), lambda: read_rights(wrong)):
        with pytest.raises(StoreError) as caught:
            call()
        assert "hunter2-canary" not in f"{caught.value!r} {caught.value.hint}"


def test_the_command_line_grants_and_checks(
    samba: Samba, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    from certshelf.cli.main import run

    name = samba.new_folder()
    home = ["--home", str(tmp_path / "home")]

    def login(credential: str, account: Account) -> None:
        file = tmp_path / credential
        file.write_text(account.password)
        arguments = ["credential", "set", credential, "--username", account.name]
        assert run([*home, *arguments, "--password-file", str(file)]) == 0

    for credential, account in (
        ("share-login", samba.writer), ("admin", samba.admin), ("reader", samba.reader)
    ):  # fmt: skip
        login(credential, account)
    assert (
        run([*home, "init", "--store", samba.url(name), "--store-credential", "share-login"]) == 0
    )
    assert run([*home, "share", "check", "--reader-login", "reader"]) == 1
    assert "share-everyone" in capsys.readouterr().out
    accounts = ["--reader", samba.reader.name, "--writer", samba.writer.name]
    assert run([*home, "share", "grant", *accounts, "--login", "admin"]) == 0
    assert run([*home, "share", "check", "--reader-login", "reader"]) == 0, capsys.readouterr().out
    out = capsys.readouterr()
    assert samba.admin.password not in out.out + out.err


def test_a_folder_of_this_machine_is_no_share(tmp_path: Path) -> None:
    from certshelf.shelf.access import on_share
    from certshelf.store.folder import FolderStore

    with pytest.raises(ConfigError, match="no smb: address"):
        on_share(FolderStore(tmp_path))
