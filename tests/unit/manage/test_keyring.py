from __future__ import annotations

import json
import os
import stat
from pathlib import Path

import pytest

from certshelf.errors import CredentialError
from certshelf.manage.keyring import KeyRing, key_id_of, place
from certshelf.secret import Secret

HERE = place("credential", "web", "sealed")
posix = pytest.mark.skipif(os.name != "posix", reason="POSIX rights")


def _ring(tmp_path: Path) -> KeyRing:
    ring = KeyRing(tmp_path / "keys.json")
    assert ring.create()
    return ring


def test_what_was_sealed_opens_at_its_place_only(tmp_path: Path) -> None:
    ring = _ring(tmp_path)
    envelope = ring.seal(Secret("pässword"), HERE)
    assert envelope.split(".")[:2] == ["v1", ring.current]
    assert "pässword" not in envelope
    assert ring.open(envelope, HERE).reveal() == "pässword"
    with pytest.raises(CredentialError, match="belongs to another row"):
        ring.open(envelope, place("credential", "other", "sealed"))


def test_two_envelopes_of_one_secret_differ(tmp_path: Path) -> None:
    ring = _ring(tmp_path)
    assert ring.seal(Secret("x"), HERE) != ring.seal(Secret("x"), HERE)


@pytest.mark.parametrize("envelope", ["", "v1.a.b", "v1.k.!.x", "v2.k.AAAA.AAAA", "hunter2"])
def test_what_is_no_envelope_is_refused_without_showing_it(tmp_path: Path, envelope: str) -> None:
    with pytest.raises(CredentialError) as caught:
        _ring(tmp_path).open(envelope, HERE)
    assert "hunter2" not in str(caught.value)


def test_a_flipped_bit_is_refused(tmp_path: Path) -> None:
    ring = _ring(tmp_path)
    envelope = ring.seal(Secret("secret"), HERE)
    head, _, tail = envelope.rpartition(".")
    flipped = ("B" if tail[0] == "A" else "A") + tail[1:]
    with pytest.raises(CredentialError, match="damaged"):
        ring.open(f"{head}.{flipped}", HERE)


@posix
def test_the_key_file_is_ours_alone(tmp_path: Path) -> None:
    ring = _ring(tmp_path)
    assert stat.S_IMODE(ring.path.stat().st_mode) == 0o600
    assert list(tmp_path.iterdir()) == [ring.path]


@posix
@pytest.mark.parametrize("mode", [0o640, 0o604, 0o620, 0o666])
def test_a_wider_key_file_is_refused(tmp_path: Path, mode: int) -> None:
    ring = _ring(tmp_path)
    ring.path.chmod(mode)
    with pytest.raises(CredentialError, match="may be used by others") as caught:
        ring.seal(Secret("x"), HERE)
    assert caught.value.hint == f"chmod 600 {ring.path}"


@posix
def test_a_systemd_credential_may_show_its_acl_mask_and_is_not_rotated(tmp_path: Path) -> None:
    _ring(tmp_path).path.chmod(0o440)
    given = KeyRing(tmp_path / "keys.json", given=True)
    assert given.open(given.seal(Secret("x"), HERE), HERE) == Secret("x")
    with pytest.raises(CredentialError, match="read-only"):
        given.add_key()


def test_an_existing_key_file_is_kept(tmp_path: Path) -> None:
    ring = _ring(tmp_path)
    before = ring.path.read_bytes()
    assert not KeyRing(ring.path).create()
    assert ring.path.read_bytes() == before


@pytest.mark.parametrize(
    "text",
    [
        "",
        "[]",
        '{"keys": {}}',
        '{"current": "a", "keys": {}}',
        '{"current": "a", "keys": {"a": "c2hvcnQ="}}',
        '{"current": ["a"], "keys": {"a": 1}}',
    ],
)
def test_a_damaged_key_file_is_refused_and_kept(tmp_path: Path, text: str) -> None:
    path = tmp_path / "keys.json"
    path.write_text(text)
    path.chmod(0o600)
    with pytest.raises(CredentialError, match=r"cannot be used|belongs"):
        KeyRing(path).create()
    assert path.read_text() == text


def test_a_lost_key_is_named(tmp_path: Path) -> None:
    ring = _ring(tmp_path)
    envelope = ring.seal(Secret("x"), HERE)
    ring.path.unlink()
    ring.create()
    with pytest.raises(CredentialError, match=f"the key {key_id_of(envelope)} of {HERE}"):
        ring.open(envelope, HERE)


def test_a_process_that_started_before_a_rotation_seals_with_the_new_key(tmp_path: Path) -> None:
    ring = _ring(tmp_path)
    ring.seal(Secret("x"), HERE)
    new = KeyRing(ring.path).add_key()
    assert key_id_of(ring.seal(Secret("x"), HERE)) == new


def test_the_current_key_is_never_dropped(tmp_path: Path) -> None:
    ring = _ring(tmp_path)
    old = ring.current
    new = ring.add_key()
    ring.drop_keys({old, new})
    assert set(json.loads(ring.path.read_text())["keys"]) == {new}


def test_a_secret_that_is_no_text_is_not_carried_by_its_error(tmp_path: Path) -> None:
    class Binary(Secret):
        def reveal_bytes(self) -> bytes:
            return b"canary\xff"

    ring = _ring(tmp_path)
    with pytest.raises(CredentialError) as caught:
        ring.open(ring.seal(Binary(""), HERE), HERE)
    assert caught.value.__cause__ is None
