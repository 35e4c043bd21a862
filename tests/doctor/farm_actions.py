"""What can go wrong on the farm, done for real: each action breaks one thing and mends it again.

An action is a context manager; farm_faults.yaml names it with its settings.
"""

from __future__ import annotations

import shutil
import signal
import socket
import sqlite3
import ssl
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager, suppress
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat
from cryptography.x509.oid import AuthorityInformationAccessOID, ExtendedKeyUsageOID

from certshelf.bundle.model import Bundle
from certshelf.farm import Kind, Member
from certshelf.manage.db.records import Records
from certshelf.manage.manager import open_manager
from certshelf.manage.model import Bucket, Task
from certshelf.names import HostName
from certshelf.secret import Secret
from certshelf.shelf.access import find_accounts
from certshelf.shelf.manifest import record_key
from certshelf.store.acl import FULL, MODIFY, READ, Ace
from certshelf.store.base import ANY, HIDDEN
from certshelf.store.smb_security import HISTORY, read_rights, set_rights
from tests.doctor.real_farm import MAIN, RealFarm
from tests.support import asn1
from tests.support.certificates import bundle
from tests.support.reader import PASSWORD

Action = Callable[..., AbstractContextManager[None]]
DAY = timedelta(days=1)
RIGHTS = {"read": READ, "modify": MODIFY, "full": FULL}


# --- the share


@contextmanager
def server_down(farm: RealFarm) -> Iterator[None]:
    farm.samba.stop()
    try:
        yield
    finally:
        farm.samba.start()


@contextmanager
def password_changed(farm: RealFarm, account: str) -> Iterator[None]:
    """Somebody changed an account's password on the file server."""
    changed = getattr(farm.samba, account)
    farm.samba.set_password(changed, "another")
    try:
        yield
    finally:
        farm.samba.set_password(changed, changed.password)


@contextmanager
def server_setting(farm: RealFarm, before: str, after: str) -> Iterator[None]:
    """A line of smb.conf is another, and the server was started again."""
    conf = farm.samba.folder / "smb.conf"
    text = conf.read_text()
    assert before in text
    conf.write_text(text.replace(before, after))
    farm.samba.restart()
    try:
        yield
    finally:
        conf.write_text(text)
        farm.samba.restart()


@contextmanager
def access(
    farm: RealFarm,
    who: str,
    right: str = "read",
    where: str = "",
    only: bool = False,
    protected: bool = True,
) -> Iterator[None]:
    """who (an account of the rig or a SID, "" for nobody) also has a right.

    only: instead of what it had. where: below the shelf's folder.
    """
    admin = farm.share(account=farm.samba.admin)
    key = {"history": HISTORY, "": ""}.get(where, where)
    before = read_rights(admin, key).aces
    assert before is not None
    sid = who
    if who and not who.startswith("S-"):
        name = getattr(farm.samba, who).name
        sid = find_accounts(admin, (name,))[name]
    kept = tuple(ace for ace in before if not (only and ace.sid == sid))
    more = (Ace(sid, RIGHTS[right]),) if right != "none" and sid else ()
    set_rights(admin, (*kept, *more), key, protected=protected)
    try:
        yield
    finally:
        set_rights(admin, before, key)


# --- files


def _made(name: str, **more: Any) -> Bundle:
    now = datetime.now(UTC)
    dates = {"not_before": now - DAY, "not_after": now + 30 * DAY}
    return bundle(name, **{**dates, **more})


def _pfx(what: Bundle, password: str = PASSWORD) -> bytes:
    return what.to_pfx(Secret(password), rounds=1000)


def _mismatch(name: str) -> bytes:
    key = _made(name).key.private_bytes(Encoding.DER, PrivateFormat.PKCS8, NoEncryption())
    stranger = _made(name, number=1).leaf.public_bytes(Encoding.DER)
    content = asn1.data([asn1.key_bag(key), asn1.cert_bag(stranger)])
    return asn1.pfx([content], PASSWORD.encode())


def _without_chain(name: str) -> bytes:
    """A leaf that says where its issuer is to be had, and no more."""
    key, now = ec.generate_private_key(ec.SECP256R1()), datetime.now(UTC)
    issuer = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, "Public CA")])
    where = x509.UniformResourceIdentifier("http://ca.farm.test/issuer.crt")
    access = x509.AccessDescription(AuthorityInformationAccessOID.CA_ISSUERS, where)
    leaf = (
        x509.CertificateBuilder(issuer, x509.Name([]), key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - DAY)
        .not_valid_after(now + 30 * DAY)
        .add_extension(x509.SubjectAlternativeName([x509.DNSName(name)]), critical=True)
        .add_extension(x509.AuthorityInformationAccess([access]), critical=False)
        .sign(key, hashes.SHA256())
    )
    return _pfx(Bundle(key, leaf))


def seed(kind: str, name: str) -> bytes:
    """The bytes of a file for a host, good or bad."""
    now = datetime.now(UTC)
    email = (ExtendedKeyUsageOID.EMAIL_PROTECTION,)
    makers: dict[str, Callable[[], bytes]] = {
        "good": lambda: _pfx(_made(name)),
        "truncated": lambda: _pfx(_made(name))[:700],
        "empty": lambda: b"",
        "html": lambda: b"<html><body>404</body></html>",
        "other-password": lambda: _pfx(_made(name), "of somebody else"),
        "expired": lambda: _pfx(_made(name, not_before=now - 90 * DAY, not_after=now - DAY)),
        "future": lambda: _pfx(_made(name, not_before=now + DAY)),
        "other-name": lambda: _pfx(_made("other.farm.test")),
        "email": lambda: _pfx(_made(name, usages=email)),
        "mismatch": lambda: _mismatch(name),
        "no-chain": lambda: _without_chain(name),
        "bomb": lambda: asn1.pfx([asn1.data([])], PASSWORD.encode(), claimed_rounds=2**31 - 1),
    }
    return makers[kind]()


@contextmanager
def file(farm: RealFarm, kind: str, name: str = "seed.farm.test") -> Iterator[None]:
    """Another tool puts a file on the shelf, or over one of ours."""
    store, key = farm.share(), f"{name}.pfx"
    before = store.get(key)
    store.put(key, seed(kind, name.replace("_.", "a.")), ANY)
    try:
        yield
    finally:
        if before is None:
            store.delete(key, ANY)
        else:
            store.put(key, before.data, ANY)


@contextmanager
def copied(farm: RealFarm, source: str, target: str) -> Iterator[None]:
    """A file is copied on the file server itself, where any name goes; its rights go with it."""
    folder = farm.samba.share / MAIN
    shutil.copy2(folder / source, folder / target)
    try:
        yield
    finally:
        (folder / target).unlink()


@contextmanager
def folder(farm: RealFarm, name: str) -> Iterator[None]:
    made = farm.samba.share / MAIN / name
    made.mkdir()
    try:
        yield
    finally:
        made.rmdir()


@contextmanager
def removed(farm: RealFarm, key: str) -> Iterator[None]:
    store = farm.share()
    before = store.get(key)
    assert before is not None
    store.delete(key, ANY)
    try:
        yield
    finally:
        store.put(key, before.data, ANY)


@contextmanager
def record_damaged(farm: RealFarm, name: str) -> Iterator[None]:
    store, key = farm.share(), record_key(name)
    before = store.get(key)
    assert before is not None and key.startswith(HIDDEN)
    store.put(key, before.data.replace(b'"generation"', b'"Generation"'), ANY)
    try:
        yield
    finally:
        store.put(key, before.data, ANY)


# --- bindings and members


@contextmanager
def site(farm: RealFarm, information: str, flags: int, server: str = "iis1") -> Iterator[None]:
    """Somebody adds a site to an IIS."""
    before = list(farm.sites[server])
    farm.sites[server].append(("Added", information, flags))
    farm.write_sites(server)
    try:
        yield
    finally:
        farm.sites[server] = before
        farm.write_sites(server)


@contextmanager
def site_and_file(farm: RealFarm, host: str, file: str) -> Iterator[None]:
    """A new site, and another tool's file for it."""
    with site(farm, f"*:443:{host}", 3), files(farm, file, host):
        yield


@contextmanager
def files(farm: RealFarm, key: str, host: str, number: int = 0) -> Iterator[None]:
    store = farm.share()
    store.put(key, _pfx(_made(HostName.parse(host).ascii, number=number)), ANY)
    try:
        yield
    finally:
        store.delete(key, ANY)


@contextmanager
def pair(farm: RealFarm, host: str) -> Iterator[None]:
    """Another tool's two files for an internationalised name; they are not one certificate."""
    plain, unicode = (name.removesuffix(".pfx") for name in HostName.parse(host).file_names())
    with files(farm, f"{plain}.pfx", plain), files(farm, f"{unicode}.pfx", plain, number=1):
        farm.wait_current()
        farm.age()
        yield


@contextmanager
def config_gone(farm: RealFarm, server: str) -> Iterator[None]:
    config = farm.work / f"{server}.config"
    config.rename(config.with_suffix(".away"))
    try:
        yield
    finally:
        config.with_suffix(".away").rename(config)


@contextmanager
def member(
    farm: RealFarm, windows: str = "", address: str = "", kind: str = "iis"
) -> Iterator[None]:
    """Another server is declared, by an import that knows nothing of profiles."""
    host, _, port = address.partition(":")
    config = str(farm.work / "iis1.config") if kind == "iis" else ""
    added = Member("added", Kind(kind), host, int(port or 0), windows, "", config)
    with open_manager(farm.cli.home) as manager, manager.database.write() as records:
        records.members.add(added)
    try:
        yield
    finally:
        with open_manager(farm.cli.home) as manager, manager.database.write() as records:
            records.members.remove("added")


@contextmanager
def published_to_edge(farm: RealFarm, host: str) -> Iterator[None]:
    """A certificate goes to the group's shelf, and none of its servers listens for it."""
    store = farm.share("edge")
    store.put(f"{host}.pfx", seed("good", host), ANY)
    try:
        yield
    finally:
        store.delete(f"{host}.pfx", ANY)


@contextmanager
def iis_says(farm: RealFarm, **changes: Any) -> Iterator[None]:
    """The check script says something else; the keys are paths, with __ for a dot."""
    before = farm.answer
    farm.answer = {**before, "provider": dict(before["provider"])}
    for path, value in changes.items():
        outer, _, inner = path.rpartition("__")
        (farm.answer[outer] if outer else farm.answer)[inner] = value
    try:
        yield
    finally:
        farm.answer = before


# --- what is served


@contextmanager
def member_down(farm: RealFarm, server: str) -> Iterator[None]:
    rig = farm.rigs[server]
    rig.stop()
    try:
        yield
    finally:
        rig.start(farm.hosts)


@contextmanager
def member_frozen(farm: RealFarm, server: str) -> Iterator[None]:
    """The kernel still accepts connections, and nobody answers them."""
    process = farm.rigs[server].process
    process.send(signal.SIGSTOP)
    try:
        yield
    finally:
        process.send(signal.SIGCONT)


@contextmanager
def reader_stopped_before_renewal(farm: RealFarm, server: str, name: str) -> Iterator[None]:
    """The reader died, the certificate was renewed, and an hour went by."""
    reader = farm.readers[server]
    reader.kill()
    farm.cli("cert", "renew", name, "--force")
    farm.wait_current(but=server)
    farm.age()
    try:
        yield
    finally:
        reader.start()


@contextmanager
def answers_with(
    farm: RealFarm, names: list[str], start: int = -1, end: int = 30
) -> Iterator[None]:
    """The Python server shows one certificate of its own for every name; days from now."""
    now = datetime.now(UTC)
    dates = {"not_before": now + start * DAY, "not_after": now + end * DAY}
    farm.age()
    farm.python.always(bundle(*names, **dates))
    try:
        yield
    finally:
        farm.python.answer = farm.python.shelf


@contextmanager
def talks(farm: RealFarm, how: str) -> Iterator[None]:
    """The Python server's port does something else than TLS with a certificate."""
    farm.age()
    farm.python.answer = {"http": _http, "hang-up": _hang_up, "refuse": _refuse}[how]
    try:
        yield
    finally:
        farm.python.answer = farm.python.shelf


def _http(connection: socket.socket) -> None:
    connection.recv(4096)
    connection.sendall(b"HTTP/1.1 400 Bad Request\r\nContent-Length: 0\r\n\r\n")


def _hang_up(connection: socket.socket) -> None:
    connection.recv(4096)


def _refuse(connection: socket.socket) -> None:
    """A server without any certificate, as after a mistake in its configuration."""
    with suppress(ssl.SSLError):
        ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER).wrap_socket(connection, server_side=True)


# --- renewal and CAs


@contextmanager
def _changed(
    farm: RealFarm, change: Callable[[Records], None], back: Callable[[Records], None]
) -> Iterator[None]:
    with open_manager(farm.cli.home) as manager, manager.database.write() as records:
        change(records)
    try:
        yield
    finally:
        with open_manager(farm.cli.home) as manager, manager.database.write() as records:
            back(records)


@contextmanager
def nobody_renewed(farm: RealFarm, name: str, days: int) -> Iterator[None]:
    """The manager was off when a renewal was due."""
    with open_manager(farm.cli.home) as manager, manager.database.read() as records:
        before = records.certificates.get(name)
    late = replace(before.status, renew_at=datetime.now(UTC) - days * DAY)
    with _changed(
        farm,
        lambda records: records.certificates.set_status(before.id, late),
        lambda records: records.certificates.set_status(before.id, before.status),
    ):
        yield


@contextmanager
def renewal_off(farm: RealFarm, name: str) -> Iterator[None]:
    with open_manager(farm.cli.home) as manager, manager.database.read() as records:
        before = records.certificates.get(name)
    with _changed(
        farm,
        lambda records: records.certificates.edit(replace(before, auto_renew=False)),
        lambda records: records.certificates.edit(before),
    ):
        yield


@contextmanager
def request_fails(farm: RealFarm, host: str) -> Iterator[None]:
    """A real request that the CA refuses: the name is none of those that it may sign."""
    farm.cli("issuer", "add-local", "narrow", "--permit", "elsewhere.test")
    farm.cli("cert", "add", host, "--name", "refused", "--issuer", "narrow")
    farm.cli("cert", "request", "refused", status=None)
    try:
        yield
    finally:
        farm.cli("cert", "rm", "refused")
        farm.cli("issuer", "rm", "narrow")


@contextmanager
def account_deactivated(farm: RealFarm) -> Iterator[None]:
    with open_manager(farm.cli.home) as manager, manager.database.read() as records:
        before = records.accounts.find("pebble")
    assert before is not None
    with _changed(
        farm,
        lambda records: records.accounts.put(replace(before, status="deactivated")),
        lambda records: records.accounts.put(before),
    ):
        yield


@contextmanager
def budget_spent(farm: RealFarm, tokens: float) -> Iterator[None]:
    now = datetime.now(UTC)
    with _changed(
        farm,
        lambda records: records.buckets.put(Bucket("pebble", "orders", tokens, now)),
        lambda records: records.buckets.put(Bucket("pebble", "orders", 300.0, now)),
    ):
        yield


@contextmanager
def dns(farm: RealFarm, host: str, set: str, clear: str, address: str) -> Iterator[None]:
    """The DNS of a name has an address more."""
    farm.ca.dns_set(set, host=f"{host}.", addresses=[address])
    try:
        yield
    finally:
        farm.ca.dns_set(clear, host=f"{host}.")


# --- the manager's machine


@contextmanager
def clock_went_back(farm: RealFarm, hours: float) -> Iterator[None]:
    """The log was written by a clock that was ahead of today's."""
    database = farm.cli.home / "certshelf.db"
    later = datetime.now(UTC) + timedelta(hours=hours)
    with _kept(database):
        with open_manager(farm.cli.home) as manager, manager.database.write() as records:
            records.events.append(later, "member.added", "seen before the clock went back")
        yield


@contextmanager
def database_damaged(farm: RealFarm) -> Iterator[None]:
    """A page of an index is overwritten, as by a bad disk."""
    database = farm.cli.home / "certshelf.db"
    with _kept(database):
        connection = sqlite3.connect(database)
        row = connection.execute(
            "select rootpage from sqlite_master where type='index' and tbl_name='task_run'"
            " and sql is not null"
        ).fetchone()
        size = connection.execute("pragma page_size").fetchone()[0]
        connection.close()
        with database.open("r+b") as stream:
            stream.seek((row[0] - 1) * size)
            stream.write(b"\xff" * 100)
        yield


@contextmanager
def _kept(database: Path) -> Iterator[None]:
    """The SQLite file is put back as it was."""
    connection = sqlite3.connect(database)
    connection.execute("pragma wal_checkpoint(truncate)")
    connection.close()
    data = database.read_bytes()
    try:
        yield
    finally:
        for more in ("-wal", "-shm"):
            database.with_name(database.name + more).unlink(missing_ok=True)
        database.write_bytes(data)


@contextmanager
def mode(farm: RealFarm, file: str, mode: int) -> Iterator[None]:
    path = farm.cli.home / file
    before = path.stat().st_mode
    path.chmod(mode)
    try:
        yield
    finally:
        path.chmod(before)


@contextmanager
def setting(farm: RealFarm, line: str) -> Iterator[None]:
    path = farm.cli.home / "certshelf.toml"
    before = path.read_text(encoding="utf-8")
    path.write_text(f"{before}\n{line}\n", encoding="utf-8")
    try:
        yield
    finally:
        path.write_text(before, encoding="utf-8")


@contextmanager
def task(farm: RealFarm, settings: dict[str, str]) -> Iterator[None]:
    with open_manager(farm.cli.home) as manager, manager.database.write() as records:
        owner = records.certificates.get("spare")
        made = records.tasks.add(Task(owner.id, "tell", "webhook", settings=settings))
    try:
        yield
    finally:
        with open_manager(farm.cli.home) as manager, manager.database.write() as records:
            records.tasks.remove(made.id)


ACTIONS: dict[str, Action] = {
    made.__name__: made
    for made in (
        server_down, password_changed, server_setting, access, file, copied, folder, removed,
        record_damaged, site, site_and_file, pair, config_gone, member, published_to_edge, iis_says,
        member_down, member_frozen, reader_stopped_before_renewal, answers_with, talks,
        nobody_renewed, renewal_off, request_fails, account_deactivated, budget_spent, dns,
        clock_went_back, database_damaged, mode, setting, task,
    )
}  # fmt: skip
