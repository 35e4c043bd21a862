"""Files that another account planted where the reader looks, and servers that talk too much."""

from __future__ import annotations

import os
import socket
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest
from tests.support.small_ca import SmallCa

from certshelf.errors import ConfigError, DeployError
from certshelf.serve import path_secret, reader_settings
from certshelf.serve.haproxy_api import RuntimeApi
from certshelf.serve.mirror_files import MirrorFolder, Rights

pytestmark = pytest.mark.skipif(os.name != "posix", reason="pipes, owners and Unix sockets")
SECRET = "s" * 32


def test_a_pipe_in_the_mirror_does_not_stop_it(tmp_path: Path) -> None:
    folder = MirrorFolder(tmp_path / "mirror", Rights())
    folder.prepare()
    os.mkfifo(folder.path / "www.one.test.pem")
    assert folder.read("www.one.test.pem") is None
    assert folder.write("www.one.test.pem", b"pem")
    assert folder.read("www.one.test.pem") == b"pem"


def test_a_link_in_the_mirror_is_replaced_and_not_followed(tmp_path: Path) -> None:
    canary = tmp_path / "canary"
    canary.write_bytes(b"untouched")
    folder = MirrorFolder(tmp_path / "mirror", Rights())
    folder.prepare()
    (folder.path / "a.test.pem").symlink_to(canary)
    assert folder.write("a.test.pem", b"pem")
    assert canary.read_bytes() == b"untouched"
    assert not (folder.path / "a.test.pem").is_symlink()


def test_a_secret_path_in_a_pipe_is_refused_at_once(tmp_path: Path) -> None:
    path = tmp_path / "http-path"
    os.mkfifo(path, 0o600)
    with pytest.raises(ConfigError, match="is no file"):
        path_secret.read(path)


@pytest.mark.skipif(not hasattr(os, "geteuid") or os.geteuid() != 0, reason="gives a file away")
def test_a_secret_path_that_another_user_made_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "http-path"
    path.write_text(SECRET)
    path.chmod(0o600)
    os.chown(path, 65534, -1)
    with pytest.raises(ConfigError, match="belongs to another user"):
        path_secret.read(path)


def test_a_password_file_without_end_is_refused() -> None:
    if not Path("/dev/zero").exists():
        pytest.skip("no /dev/zero here")
    with pytest.raises(ConfigError, match="is no file"):
        reader_settings.read_password(Path("/dev/zero"))


def test_a_password_that_is_no_text_is_not_carried_by_its_error(tmp_path: Path) -> None:
    path = tmp_path / "password"
    path.write_bytes(b"canary\xff\n")
    with pytest.raises(ConfigError) as caught:
        reader_settings.read_password(path)
    assert caught.value.__cause__ is None


@pytest.fixture
def echoing_haproxy(tmp_path: Path) -> Iterator[RuntimeApi]:
    """Something that takes each line for a command and repeats it."""
    listener = socket.socket(socket.AF_UNIX)
    listener.bind(str(tmp_path / "h.sock"))
    listener.listen(4)

    def answer() -> None:
        while True:
            try:
                connection, _ = listener.accept()
            except OSError:
                return
            with connection:
                said = b""
                while part := connection.recv(65536):
                    said += part
                lines = said.splitlines()
                connection.sendall(b"".join(b"Unknown command: '%s'\n" % line for line in lines))

    thread = threading.Thread(target=answer, daemon=True)
    thread.start()
    yield RuntimeApi(tmp_path / "h.sock")
    listener.shutdown(socket.SHUT_RDWR)
    listener.close()
    thread.join(5)


def test_a_key_that_haproxy_repeats_is_in_no_error(echoing_haproxy: RuntimeApi) -> None:
    pem = SmallCa().issue("www.one.test").to_pem()
    with pytest.raises(DeployError) as caught:
        echoing_haproxy.load("www.one.test.pem", pem, is_new=False)
    said = f"{caught.value} {caught.value.output}"
    assert "Unknown command" in said
    assert not [line for line in pem.decode().splitlines() if line and line in said]
