from __future__ import annotations

import errno
import sys
from pathlib import Path
from types import SimpleNamespace

import pytest

from certshelf.errors import StoreError, StoreUnreachable
from certshelf.store import oserrors
from certshelf.store.locality import file_system_type, is_local
from certshelf.store.oserrors import store_error

MOUNTS = r"""
22 1 254:0 / / rw,relatime shared:1 - ext4 /dev/vda rw
23 22 0:5 / /proc rw - proc proc rw
40 22 0:50 / /srv/shelf rw,relatime shared:2 - nfs4 server:/shelf rw
41 22 0:51 / /mnt/my\040share rw - cifs //server/share rw
42 40 0:52 / /srv/shelf/local rw - tmpfs tmpfs rw
43 22 0:53 / /over rw - nfs a:/ rw
44 43 0:54 / /over rw - xfs /dev/vdb rw
45 22 0:55 / /home/u/s rw master:1 - fuse.sshfs u@h: rw
"""


@pytest.mark.parametrize(
    ("path", "kind"),
    [
        ("/srv", "ext4"), ("/srv/shelf", "nfs4"), ("/srv/shelf/x", "nfs4"),
        ("/srv/shelf2", "ext4"), ("/srv/shelf/local/x", "tmpfs"), ("/mnt/my share/x", "cifs"),
        ("/over/x", "xfs"), ("/home/u/s", "fuse.sshfs"), ("/", "ext4"),
    ],
)  # fmt: skip
def test_the_longest_and_latest_mount_decides(path: str, kind: str) -> None:
    assert file_system_type(path, MOUNTS) == kind


def test_without_a_table_no_type_is_known() -> None:
    assert file_system_type("/srv", "") == ""


@pytest.mark.skipif(sys.platform != "linux", reason="/proc is Linux")
def test_proc_counts_as_remote_and_a_disk_as_local(tmp_path: Path) -> None:
    assert is_local("/proc/self") is False
    assert is_local(str(tmp_path)) is True


@pytest.mark.skipif(sys.platform != "linux", reason="/proc is Linux")
@pytest.mark.parametrize(("device", "local"), [(254 << 8, True), (50, False)])
def test_a_chroot_that_is_no_mount_is_local_on_a_disk_only(
    monkeypatch: pytest.MonkeyPatch, device: int, local: bool
) -> None:
    table = "23 22 0:5 / /proc rw - proc proc rw\n"
    monkeypatch.setattr(Path, "read_text", lambda *_, **__: table)
    monkeypatch.setattr(Path, "stat", lambda *_: SimpleNamespace(st_dev=device))
    assert is_local("/srv/shelf") is local


def test_a_link_to_a_remote_folder_is_remote(tmp_path: Path) -> None:
    if not Path("/proc/self").exists():
        pytest.skip("/proc is Linux")
    (tmp_path / "link").symlink_to("/proc/self")
    assert is_local(str(tmp_path / "link")) is False


def test_every_code_of_the_table_has_a_kind_and_a_hint() -> None:
    for code in range(1, 200):
        error = store_error(OSError(code, "said"), "cannot read x")
        assert isinstance(error, StoreError)
        assert error.hint
        assert str(error).startswith("cannot read x: ")
    kinds = {kind for kind, _ in oserrors._BY_ERRNO.values()}
    assert kinds <= set(oserrors._HINTS)


def test_an_unknown_code_is_unreachable_so_that_nothing_is_dropped() -> None:
    error = store_error(OSError(9999, "strange"), "cannot read x")
    assert isinstance(error, StoreUnreachable)
    assert (str(error), error.code) == ("cannot read x: strange", "9999")


@pytest.mark.parametrize(
    ("code", "kind"), [(5, "denied"), (32, "busy"), (112, "full"), (53, "unreachable"),
                       (1326, "bad-credentials"), (67, "not-found"), (121, "timeout")],
)  # fmt: skip
def test_a_code_of_windows_is_more_precise_than_the_errno(code: int, kind: str) -> None:
    error = OSError(errno.EACCES, "said")
    error.winerror = code  # type: ignore[attr-defined]
    told = store_error(error, "cannot read x")
    assert (told.kind, told.code) == (kind, f"WinError {code}")
