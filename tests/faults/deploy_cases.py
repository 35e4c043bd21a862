"""The table of what can go wrong when a certificate is deployed: how to break it, how to mend it.

Each case has one task on a real target. `holds` reads what the target has, past everything that is
broken; `copy` does what the incumbents do there: write the file over the old one, once.
"""

from __future__ import annotations

import asyncio
import json
import os
import shutil
import socket
import subprocess
import threading
import urllib.request
from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import asyncssh
import pytest
import smbclient

from certshelf.bundle.model import Bundle
from certshelf.clock import SYSTEM
from certshelf.deploy import deploy_to_shelf
from certshelf.deploy.formats import Format
from certshelf.errors import BundleError, StoreFull
from certshelf.manage.credentials import read_credential, remove_credential, set_credential
from certshelf.manage.manager import Manager
from certshelf.manage.model import Credential, CredentialKind, Task
from certshelf.manage.task_records import add_task
from certshelf.secret import Secret
from certshelf.store.base import Version
from certshelf.store.folder import FolderStore
from certshelf.store.smb_messages import OPEN, PLAIN, READ_DATA
from tests.support.bundles import make_bundle
from tests.support.receiver import Answer, Receiver
from tests.support.samba import Samba, running_samba
from tests.support.sftp import PASSWORD, USER, SftpServer, running_sftp
from tests.support.standins import StandIns

HOSTS = ("www.example.test", "*.example.test", "b.test", "c.test", "d.test", "e.test")
FIRST = "www.example.test"
HANGS = "it would not come back"
_OUR_CREDENTIALS = "others have no such credential to lose"


@dataclass
class Farm:
    """What a case works with: a manager, a folder, and whatever it starts."""

    manager: Manager
    folder: Path
    patch: pytest.MonkeyPatch
    stack: ExitStack

    def task(
        self, kind: str, settings: Mapping[str, Any], *, name: str = "case", **options: Any
    ) -> Task:
        task = Task(0, name, kind, settings=settings, **options)
        return add_task(self.manager, "web", task)

    def secret(self, name: str, secret: str, username: str = "") -> None:
        kind = CredentialKind.LOGIN if username else CredentialKind.PASSWORD
        set_credential(
            self.manager.database, Credential(name, kind, username), Secret(secret), SYSTEM
        )

    def opened(self, data: bytes) -> Bundle:
        """The bundle in a PFX of the shelf's password."""
        return Bundle.from_pfx(data, self.manager.shelf.passwords[0])

    def pfx(self, file: Path, passwords: tuple[Secret | None, ...] = ()) -> str:
        """SHA-256 of the leaf in a PFX of the shelf's password; why not, when there is none."""
        for password in passwords or self.manager.shelf.passwords:
            try:
                return Bundle.from_pfx(file.read_bytes(), password).sha256
            except OSError:
                return "missing"
            except BundleError:
                continue
        return "damaged"


@dataclass
class Case:
    """One failure. stale: what the run must name as old. copy: takes the new PFX, and forgets.

    not_compared: why there is no copy.
    """

    holds: Callable[[], str]
    break_: Callable[[], object]
    mend: Callable[[], object]
    stale: tuple[str, ...]
    copy: Callable[[bytes], object] | None = None
    others_are_new: bool = field(default=False)
    """Whether the files that are not broken hold the new one already after the failure."""
    not_compared: str = ""


def _pem(file: Path) -> str:
    try:
        return Bundle.from_pem(file.read_bytes()).sha256
    except OSError:
        return "missing"
    except BundleError:
        return "damaged"


# --- deploy-to-shelf on a folder


def _second_shelf(farm: Farm) -> Path:
    folder = farm.folder / "second"
    folder.mkdir()
    farm.task("deploy-to-shelf", {"store": str(folder)})
    return folder


def _on_folder(
    farm: Farm,
    break_: Callable[[Path], object],
    mend: Callable[[Path], object],
    *stale: str,
    others_are_new: bool = False,
) -> Case:
    folder = _second_shelf(farm)

    def holds() -> str:
        away = farm.folder / "away"
        return farm.pfx((away if away.exists() else folder) / f"{FIRST}.pfx")

    return Case(
        holds=holds,
        break_=lambda: break_(folder),
        mend=lambda: mend(folder),
        stale=stale or (f"{FIRST}.pfx on {folder}", f"_.example.test.pfx on {folder}"),
        copy=lambda data: (folder / f"{FIRST}.pfx").write_bytes(data),
        others_are_new=others_are_new,
    )


def folder_gone(farm: Farm) -> Case:
    away = farm.folder / "away"
    return _on_folder(farm, lambda f: f.rename(away), lambda f: away.rename(f))


def folder_is_a_file(farm: Farm) -> Case:
    away = farm.folder / "away"

    def break_(folder: Path) -> None:
        folder.rename(away)
        folder.write_text("no folder")

    def mend(folder: Path) -> None:
        folder.unlink()
        away.rename(folder)

    return _on_folder(farm, break_, mend)


def one_name_is_a_folder(farm: Farm) -> Case:
    def break_(folder: Path) -> None:
        (folder / f"{FIRST}.pfx").rename(folder / "kept")
        (folder / f"{FIRST}.pfx").mkdir()

    def mend(folder: Path) -> None:
        (folder / f"{FIRST}.pfx").rmdir()
        (folder / "kept").rename(folder / f"{FIRST}.pfx")

    case = _on_folder(farm, break_, mend, f"{FIRST}.pfx on ", others_are_new=True)
    folder = farm.folder / "second"
    whole = case.holds
    case.holds = lambda: farm.pfx(kept) if (kept := folder / "kept").exists() else whole()
    return case


def one_name_was_changed_by_others(farm: Farm) -> Case:
    foreign = make_bundle(FIRST).to_pfx(Secret("of somebody else"))
    kept: list[bytes] = []

    def break_(folder: Path) -> None:
        kept.append((folder / f"{FIRST}.pfx").read_bytes())
        (folder / f"{FIRST}.pfx").write_bytes(foreign)

    case = _on_folder(
        farm,
        break_,
        lambda f: (f / f"{FIRST}.pfx").write_bytes(kept[0]),
        f"{FIRST}.pfx on ",
        others_are_new=True,
    )
    case.holds = lambda: (
        "foreign"
        if (farm.folder / "second" / f"{FIRST}.pfx").read_bytes() == foreign
        else farm.pfx(farm.folder / "second" / f"{FIRST}.pfx")
    )
    return case


def a_record_is_torn(farm: Farm) -> Case:
    kept: list[bytes] = []

    def record(folder: Path) -> Path:
        return next(folder.glob(f".certshelf/records/{FIRST}.json"))

    def break_(folder: Path) -> None:
        kept.append(record(folder).read_bytes())
        record(folder).write_bytes(kept[0][:50])

    return _on_folder(
        farm,
        break_,
        lambda f: record(f).write_bytes(kept[0]),
        f"{FIRST}.pfx on ",
        others_are_new=True,
    )


def disk_full_after_the_third_file(farm: Farm) -> Case:
    """The fourth PFX and each after it meets a full disk."""
    left = [10**9]

    class Filling(FolderStore):
        def put(self, key: str, data: bytes, expect: Any) -> Version:
            if key.endswith(".pfx"):
                left[0] -= 1
                if left[0] < 0:
                    raise StoreFull(f"{key}: no space left", hint="free some space")
            return super().put(key, data, expect)

    farm.patch.setattr(deploy_to_shelf, "open_store", lambda url, **_: Filling(url))
    folder = farm.folder / "second"
    case = _on_folder(
        farm,
        lambda f: left.__setitem__(0, 3),
        lambda f: left.__setitem__(0, 10**9),
        *(f"{name}.pfx on {folder}" for name in ("c.test", "d.test", "e.test")),
    )
    case.holds = lambda: farm.pfx(folder / "e.test.pfx")
    case.copy, case.not_compared = None, "only our store is full; disk_full compares"
    return case


def disk_full(farm: Farm) -> Case:
    folder = farm.folder / "second"
    folder.mkdir()
    mount = ["mount", "-t", "tmpfs", "-o", "size=1m", "tmpfs", str(folder)]
    if os.name != "posix" or subprocess.run(mount, capture_output=True).returncode:
        pytest.skip("mount is not allowed here")
    farm.stack.callback(subprocess.run, ["umount", "-l", str(folder)], check=True)
    farm.task("deploy-to-shelf", {"store": str(folder)})

    def break_() -> None:
        with (folder / "filler").open("wb", buffering=0) as filler:
            try:
                while filler.write(bytes(4096)):
                    continue
            except OSError:
                return

    def copy(data: bytes) -> None:
        shutil.copyfile(new := farm.folder / "new.pfx", folder / f"{FIRST}.pfx")
        assert new.exists()

    return Case(
        holds=lambda: farm.pfx(folder / f"{FIRST}.pfx"),
        break_=break_,
        mend=lambda: (folder / "filler").unlink(),
        stale=(f"{FIRST}.pfx on {folder}",),
        copy=copy,
    )


def the_tasks_login_is_gone(farm: Farm) -> Case:
    folder = farm.folder / "second"
    folder.mkdir()
    farm.secret("login", "secret", "copier")
    farm.task("deploy-to-shelf", {"store": str(folder)}, credential="login")
    return Case(
        holds=lambda: farm.pfx(folder / f"{FIRST}.pfx"),
        break_=lambda: remove_credential(farm.manager.database, "login", SYSTEM),
        mend=lambda: farm.secret("login", "secret", "copier"),
        stale=(f"everything on {folder}",),
        not_compared=_OUR_CREDENTIALS,
    )


# --- deploy-to-shelf on a share


def _on_share(
    farm: Farm,
    break_: Callable[[Samba, str], object],
    mend: Callable[[Samba, str], object],
    *,
    timeout: float = 60.0,
    only_first: bool = False,
) -> Case:
    samba = farm.stack.enter_context(running_samba())
    folder = samba.new_folder()
    farm.secret("share", samba.writer.password, samba.writer.name)
    url = samba.url(folder)
    farm.task("deploy-to-shelf", {"store": url}, credential="share", timeout_s=timeout)

    def holds() -> str:
        away = samba.share / "away"
        return farm.pfx((away if away.exists() else samba.share / folder) / f"{FIRST}.pfx")

    def copy(data: bytes) -> None:
        """In place, as FileMode.Create and File.WriteAllBytes do, as the task's login."""
        cache: dict[str, Any] = {}
        options = {"port": samba.port, "connection_cache": cache}
        login = read_credential(farm.manager.home, farm.manager.settings, "share")
        options |= {"username": login.username, "password": login.secret.reveal()}
        path = rf"\\127.0.0.1\certs\{folder}\{FIRST}.pfx"
        try:
            with smbclient.open_file(path, mode="wb", **options) as file:
                file.write(data)
        finally:
            smbclient.reset_connection_cache(connection_cache=cache)

    return Case(
        holds=holds,
        break_=lambda: break_(samba, folder),
        mend=lambda: mend(samba, folder),
        stale=(f"{FIRST}.pfx on {url}",),
        copy=copy,
        others_are_new=only_first,
    )


def share_down(farm: Farm) -> Case:
    return _on_share(farm, lambda s, _: s.stop(), lambda s, _: s.start())


def share_hangs(farm: Farm) -> Case:
    case = _on_share(farm, lambda s, _: s.freeze(), lambda s, _: s.thaw(), timeout=6.0)
    case.copy, case.not_compared = None, "a plain copy would not come back for 20 minutes"
    return case


def share_refuses_the_password(farm: Farm) -> Case:
    def break_(samba: Samba, _: str) -> None:
        farm.secret("share", "certainly wrong", samba.writer.name)

    def mend(samba: Samba, _: str) -> None:
        farm.secret("share", samba.writer.password, samba.writer.name)

    return _on_share(farm, break_, mend)


def share_became_read_only(farm: Farm) -> Case:
    return _on_share(
        farm,
        lambda s, f: (s.share / f).chmod(0o555),
        lambda s, f: (s.share / f).chmod(0o777),
    )


def shares_folder_is_gone(farm: Farm) -> Case:
    return _on_share(
        farm,
        lambda s, f: (s.share / f).rename(s.share / "away"),
        lambda s, f: (s.share / "away").rename(s.share / f),
    )


def one_name_is_locked_by_a_reader(farm: Farm) -> Case:
    """Somebody has the file open and shares it with nobody."""
    held: list[Callable[[], object]] = []

    def break_(samba: Samba, folder: str) -> None:
        store = samba.store(folder)
        store.get(f"{FIRST}.pfx")
        wire = store.calls.wire
        assert wire is not None
        handle = wire._handle(store.calls.path((f"{FIRST}.pfx",)), READ_DATA, 0, OPEN, PLAIN)
        held.append(lambda: (wire.release(handle), store.close()))

    return _on_share(farm, break_, lambda s, _: held.pop()(), timeout=8.0, only_first=True)


# --- export


def _export(farm: Farm, **settings: Any) -> Path:
    folder = farm.folder / "pem"
    folder.mkdir()
    farm.task("export", {"to": str(folder), "name": "site", **settings})
    return folder


def export_folder_gone(farm: Farm) -> Case:
    folder, away = _export(farm), farm.folder / "away"
    return Case(
        holds=lambda: _pem(away / "site.pem") if away.exists() else _pem(folder / "site.pem"),
        break_=lambda: folder.rename(away),
        mend=lambda: away.rename(folder),
        stale=(f"site.pem on {folder}",),
        copy=lambda data: (folder / "site.pem").write_bytes(data),
    )


def exports_password_gone(farm: Farm) -> Case:
    farm.secret("pfx", "one for the mail server")
    folder = _export(farm, format="pfx", password="pfx")
    return Case(
        holds=lambda: farm.pfx(folder / "site.pfx", (Secret("one for the mail server"),)),
        break_=lambda: remove_credential(farm.manager.database, "pfx", SYSTEM),
        mend=lambda: farm.secret("pfx", "one for the mail server"),
        stale=(f"site.pfx on {folder}",),
        not_compared=_OUR_CREDENTIALS,
    )


def _on_sftp(
    farm: Farm,
    break_: Callable[[SftpServer], object],
    mend: Callable[[SftpServer], object],
    *,
    timeout: float = 20.0,
) -> Case:
    folder = farm.folder / "sftp" / "certs"
    folder.mkdir(parents=True)
    server = farm.stack.enter_context(running_sftp(folder))
    farm.secret("sftp", PASSWORD, USER)
    settings = {"to": server.url, "host_key": server.public_key, "name": "site"}
    settings["format"] = "fullchain"
    farm.task("export", settings, credential="sftp", timeout_s=timeout)

    def holds() -> str:
        both = (folder / "site.key.pem").read_bytes() + (folder / "site.fullchain.pem").read_bytes()
        try:
            return Bundle.from_pem(both).sha256
        except BundleError:
            return "damaged"

    return Case(
        holds=holds,
        break_=lambda: break_(server),
        mend=lambda: mend(server),
        stale=(f"site.fullchain.pem on {server.url}", f"site.key.pem on {server.url}"),
        copy=lambda data: asyncio.run(_upload(farm, server, data)),
    )


async def _upload(farm: Farm, server: SftpServer, data: bytes) -> None:
    """In place, one file after the other, as `sftp` and `scp` do, as the task's login."""
    login = read_credential(farm.manager.home, farm.manager.settings, "sftp")
    bundle = farm.opened(data)
    files = {file.name: file.data for file in Format("fullchain", "site").files(bundle, None)}
    async with (
        asyncssh.connect(
            "127.0.0.1",
            server.port,
            username=login.username,
            password=login.secret.reveal(),
            known_hosts=None,
            client_keys=None,
        ) as connection,
        connection.start_sftp_client() as sftp,
    ):
        for name, text in files.items():
            async with sftp.open(f"certs/{name}", "wb") as file:
                await file.write(text)


def _refusing(error: Exception, ending: str = "") -> Callable[[SftpServer], None]:
    def break_(server: SftpServer) -> None:
        def fail(path: str, flags: int) -> None:
            if flags & asyncssh.FXF_WRITE and ending in path:
                raise error

        server.fail = fail

    return break_


def _heal(server: SftpServer) -> None:
    server.fail = lambda path, flags: None


def sftp_full_at_the_second_file_of_two(farm: Farm) -> Case:
    return _on_sftp(farm, _refusing(asyncssh.SFTPNoSpaceOnFilesystem("full"), ".key.pem"), _heal)


def sftp_may_not_write(farm: Farm) -> Case:
    return _on_sftp(farm, _refusing(asyncssh.SFTPPermissionDenied("denied")), _heal)


def sftp_refuses_the_password(farm: Farm) -> Case:
    return _on_sftp(
        farm,
        lambda _: farm.secret("sftp", "wrong", USER),
        lambda _: farm.secret("sftp", PASSWORD, USER),
    )


def sftp_hangs(farm: Farm) -> Case:
    hold = threading.Event()
    farm.stack.callback(hold.set)

    def break_(server: SftpServer) -> None:
        server.fail = lambda path, flags: hold.wait(60) and None

    def mend(server: SftpServer) -> None:
        hold.set()
        _heal(server)

    case = _on_sftp(farm, break_, mend, timeout=3.0)
    case.copy, case.not_compared = None, HANGS
    return case


# --- programs

_TAKE = """\
import json, os, sys
here = os.path.dirname(os.path.abspath(__file__))
told = json.load(sys.stdin)
how = open(os.path.join(here, "how")).read()
if how == "fails":
    sys.exit("the appliance said no")
if how == "hangs":
    import time; time.sleep(600)
if how == "dies":
    os.kill(os.getpid(), 9)
with open(os.path.join(here, "taken"), "w") as file:
    file.write(told["thumbprint_sha256"])
"""


def _script(farm: Farm, how: str, *, timeout: float = 20.0) -> Case:
    if os.name != "posix":
        pytest.skip("the stand-ins are scripts of Unix")
    standins = StandIns(farm.folder / "bin", farm.patch)
    program = standins.program("take", _TAKE)
    farm.task("script", {"command": str(program)}, timeout_s=timeout)
    told = standins.folder / "how"
    told.write_text("works")

    def break_() -> None:
        if how == "missing":
            program.rename(program.with_name("away"))
        elif how == "not executable":
            program.chmod(0o600)
        else:
            told.write_text(how)

    def mend() -> None:
        if how == "missing":
            program.with_name("away").rename(program)
        program.chmod(0o755)
        told.write_text("works")

    def start(data: bytes) -> None:
        told = {"thumbprint_sha256": farm.opened(data).sha256}
        subprocess.run([str(program)], input=json.dumps(told).encode(), check=False)

    case = Case(
        holds=lambda: (standins.folder / "taken").read_text(),
        break_=break_,
        mend=mend,
        stale=(f"everything on {program}",),
        copy=start,
    )
    if how == "hangs":
        case.copy, case.not_compared = None, HANGS
    return case


def script_fails(farm: Farm) -> Case:
    return _script(farm, "fails")


def script_hangs(farm: Farm) -> Case:
    return _script(farm, "hangs", timeout=2.0)


def script_is_killed(farm: Farm) -> Case:
    return _script(farm, "dies")


def script_is_missing(farm: Farm) -> Case:
    return _script(farm, "missing")


def script_may_not_be_run(farm: Farm) -> Case:
    return _script(farm, "not executable")


def _service(farm: Farm, how: str, *, timeout: float = 20.0) -> Case:
    """A service that has loaded what lay on the shelf when it was restarted last."""
    if os.name != "posix":
        pytest.skip("the stand-ins are scripts of Unix")
    standins = StandIns(farm.folder / "bin", farm.patch)
    farm.stack.callback(standins.stop)
    unit = standins.unit("web", "starts")
    farm.task("service", {"name": "web", "action": "restart"}, timeout_s=timeout)
    loaded: list[str] = []
    restarts: list[str] = []

    def holds() -> str:
        pid = (unit / "pid").read_text()
        if not restarts or (restarts[-1] != pid and (unit / "how").read_text() == "starts"):
            restarts.append(pid)
            loaded.append(farm.pfx(farm.folder / "shelf" / f"{FIRST}.pfx"))
        return loaded[-1]

    def break_() -> None:
        if how == "not found":
            unit.rename(unit.with_name("away"))
        else:
            (unit / "how").write_text(how)

    def mend() -> None:
        if how == "not found":
            unit.with_name("away").rename(unit)
        (unit / "how").write_text("starts")

    def restart(_: bytes) -> None:
        command = ["systemctl", "--no-ask-password", "restart", "--", "web"]
        subprocess.run(command, capture_output=True, check=False)

    case = Case(holds, break_, mend, ("what it has loaded on service web",), restart)
    if how == "hangs":
        case.copy, case.not_compared = None, HANGS
    if how == "not found":
        case.holds = lambda: holds() if unit.exists() else loaded[-1]
    return case


def service_fails(farm: Farm) -> Case:
    return _service(farm, "fails")


def service_ends_at_once(farm: Farm) -> Case:
    return _service(farm, "dies")


def service_hangs(farm: Farm) -> Case:
    return _service(farm, "hangs", timeout=2.0)


def service_is_not_there(farm: Farm) -> Case:
    return _service(farm, "not found")


# --- webhook


def _webhook(
    farm: Farm,
    break_: Callable[[Receiver], object],
    mend: Callable[[Receiver], object] = lambda receiver: None,
    *,
    timeout: float = 20.0,
) -> Case:
    receiver = Receiver()
    farm.stack.callback(receiver.close)
    settings = {"allow_http": True, "allow": ["127.0.0.1/32"]}
    settings["url"] = f"http://127.0.0.1:{receiver.port}/"
    farm.task("webhook", settings, timeout_s=timeout)

    def taken() -> str:
        return str(json.loads(receiver.got[-1].body)["thumbprint_sha256"])

    known: list[str] = []

    def holds() -> str:
        if receiver.answer.status == 200 and receiver.answer.hold is None:
            known.append(taken())
        return known[-1]

    def heal() -> None:
        mend(receiver)
        if receiver.answer.hold is not None:
            receiver.answer.hold.set()
        receiver.answer = Answer()

    def post(data: bytes) -> None:
        told = {"thumbprint_sha256": farm.opened(data).sha256}
        request = urllib.request.Request(settings["url"], json.dumps(told).encode())
        urllib.request.urlopen(request, timeout=5).close()

    stale = (f"http://127.0.0.1:{receiver.port}",)
    return Case(holds, lambda: break_(receiver), heal, stale, post)


def webhook_says_500(farm: Farm) -> Case:
    return _webhook(farm, lambda r: setattr(r, "answer", Answer(500)))


def webhook_redirects(farm: Farm) -> Case:
    return _webhook(
        farm, lambda r: setattr(r, "answer", Answer(302, {"Location": "http://127.0.0.1:1/"}))
    )


def webhook_hangs(farm: Farm) -> Case:
    case = _webhook(
        farm, lambda r: setattr(r, "answer", Answer(hold=threading.Event())), timeout=2.0
    )
    case.copy, case.not_compared = None, HANGS
    return case


def webhook_moves_to_a_private_address(farm: Farm) -> Case:
    """Its name points to 10.0.0.1 from now on."""
    real = socket.getaddrinfo

    def private(host: str, port: Any, *args: Any, **options: Any) -> Any:
        if host == "127.0.0.1":
            return [(socket.AF_INET, socket.SOCK_STREAM, 6, "", ("10.0.0.1", port))]
        return real(host, port, *args, **options)

    case = _webhook(
        farm,
        lambda r: farm.patch.setattr(socket, "getaddrinfo", private),
        lambda r: farm.patch.setattr(socket, "getaddrinfo", real),
    )
    case.copy, case.not_compared = None, "others would ask whoever has that address"
    return case


CASES: tuple[Callable[[Farm], Case], ...] = (
    folder_gone,
    folder_is_a_file,
    one_name_is_a_folder,
    one_name_was_changed_by_others,
    a_record_is_torn,
    disk_full_after_the_third_file,
    disk_full,
    the_tasks_login_is_gone,
    share_down,
    share_hangs,
    share_refuses_the_password,
    share_became_read_only,
    shares_folder_is_gone,
    one_name_is_locked_by_a_reader,
    export_folder_gone,
    exports_password_gone,
    sftp_full_at_the_second_file_of_two,
    sftp_may_not_write,
    sftp_refuses_the_password,
    sftp_hangs,
    script_fails,
    script_hangs,
    script_is_killed,
    script_is_missing,
    script_may_not_be_run,
    service_fails,
    service_ends_at_once,
    service_hangs,
    service_is_not_there,
    webhook_says_500,
    webhook_redirects,
    webhook_hangs,
    webhook_moves_to_a_private_address,
)


@contextmanager
def farm_in(folder: Path, manager: Manager, patch: pytest.MonkeyPatch) -> Iterator[Farm]:
    with ExitStack() as stack:
        yield Farm(manager, folder, patch, stack)
