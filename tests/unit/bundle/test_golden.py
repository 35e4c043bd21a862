"""PFX files as others write them, and as nobody should: each opens or has its own reason."""

from __future__ import annotations

import signal
from dataclasses import replace
from pathlib import Path

import pytest
from cryptography.hazmat.primitives.serialization import Encoding
from tests.support.blind import blind_children

from certshelf import errors
from certshelf.bundle import inspect, pfx
from certshelf.bundle.guarded import decode_guarded
from certshelf.bundle.inspect import MAX_RC2_BYTES, read_facts
from certshelf.bundle.model import PfxProfile
from certshelf.bundle.pfx import decode
from certshelf.bundle.rc2 import decrypt_cbc
from certshelf.bundle.unseal import unseal
from certshelf.secret import Secret

GOLDEN = Path(__file__).parents[2] / "golden" / "pfx"
PASSWORD = Secret("golden")

OPENED: dict[str, tuple[PfxProfile | None, int]] = {
    "modern": (PfxProfile.MODERN, 2),
    "keytool": (PfxProfile.MODERN, 0),
    "windows-2016": (PfxProfile.WINDOWS_2016, 2),
    "rc2-40": (None, 2),
    "rc4-128": (None, 2),
    "aes-128-sha1-mac": (None, 2),
    "sha512-mac": (None, 2),
    "no-encryption": (None, 2),
    "no-mac": (None, 2),
    "nested-bags": (None, 1),
    "ber-indefinite": (PfxProfile.MODERN, 1),
    "pbmac1": (None, 1),
}
REFUSED: dict[str, tuple[type[errors.BundleError], str]] = {
    "empty": (errors.PfxUnreadable, "empty file"),
    "page": (errors.PfxUnreadable, "begins with b'<'"),
    "random": (errors.PfxUnreadable, "not a PFX"),
    "trailing-junk": (errors.PfxUnreadable, "4 bytes of something else at its end"),
    "flipped-byte": (errors.PfxPasswordWrong, "wrong password or damaged"),
    "no-key": (errors.PfxKeyMissing, "no private key"),
    "two-keys": (errors.PfxManyKeys, "2 private keys"),
    "mismatch": (errors.KeyMismatch, "none of its 1 certificates"),
    "no-certificate": (errors.KeyMismatch, "no certificate"),
    "scrypt": (errors.PfxUnsupported, "scrypt for its key"),
    "bomb-mac": (errors.PfxHostile, "2,147,483,647 rounds"),
    "bomb-pbmac1": (errors.PfxHostile, "2,147,483,647 rounds"),
    "bomb-key": (errors.PfxHostile, "2,147,483,647 rounds"),
    "bomb-content": (errors.PfxHostile, "2,147,483,647 rounds"),
    "bomb-nested": (errors.PfxHostile, "2,147,483,647 rounds"),
    "bomb-sum": (errors.PfxHostile, "1,020,000 rounds"),
    "bomb-inside": (errors.PfxHostile, "it asks for 2,147,4"),
    "bomb-beside": (errors.PfxHostile, "it asks for 2,147,4"),
    "key-beside": (errors.PfxManyKeys, "2 private keys"),
    "negative-rounds": (errors.PfxHostile, "-1 rounds"),
    "too-many-bags": (errors.PfxHostile, "more than 64"),
}


def _read(name: str) -> bytes:
    return (GOLDEN / f"{name}.pfx").read_bytes()


def test_every_golden_file_is_in_one_table() -> None:
    assert {f.stem for f in GOLDEN.glob("*.pfx")} == {*OPENED, *REFUSED}


@pytest.mark.parametrize("name", OPENED)
def test_what_other_programs_write_is_read(name: str) -> None:
    data = _read(name)
    profile, chain = OPENED[name]
    bundle = decode(data, PASSWORD)
    assert [str(n) for n in bundle.names] == ["golden.example.test"]
    assert len(bundle.chain) == chain
    assert read_facts(data).profile is profile


@pytest.mark.parametrize("name", REFUSED)
def test_what_cannot_be_served_is_refused_with_its_own_reason(name: str) -> None:
    kind, reason = REFUSED[name]
    with pytest.raises(errors.BundleError) as caught:
        decode(_read(name), PASSWORD)
    assert type(caught.value) is kind
    assert reason in str(caught.value)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("eighth", range(1, 8))
@pytest.mark.parametrize("name", ["modern", "windows-2016", "keytool", "ber-indefinite"])
def test_a_file_that_is_cut_off_is_told_apart_from_a_wrong_password(name: str, eighth: int) -> None:
    whole = _read(name)
    with pytest.raises(errors.PfxUnreadable):
        decode(whole[: len(whole) * eighth // 8], PASSWORD)
    with pytest.raises(errors.PfxUnreadable, match="truncated"):
        decode(whole[:-1], PASSWORD)


def test_a_file_beyond_a_mebibyte_is_refused_by_its_size() -> None:
    with pytest.raises(errors.PfxHostile, match="1,048,577 bytes"):
        decode(bytes(1 + (1 << 20)), PASSWORD)


def test_ber_is_recognised_and_read() -> None:
    assert read_facts(_read("ber-indefinite")).is_ber
    assert not read_facts(_read("modern")).is_ber


@pytest.mark.parametrize("name", OPENED)
def test_what_is_encrypted_is_opened_and_looked_at_first(name: str) -> None:
    data = _read(name)
    leaf = decode(data, PASSWORD).leaf.public_bytes(Encoding.DER)
    for sealed in read_facts(data).sealed:
        assert [leaf in plain for plain in unseal(sealed, b"golden")] == [True]
        assert unseal(sealed, b"other") == []


def test_what_a_wrong_password_makes_of_it_may_look_like_a_sequence(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    rubbish = bytes.fromhex("30 03 02 7f 00")
    monkeypatch.setattr(pfx, "unseal", lambda sealed, password: [rubbish])
    with pytest.raises(errors.PfxPasswordWrong):
        decode(_read("modern"), Secret("other"))


def test_rc2_opens_what_its_rfc_encrypted() -> None:
    """RFC 2268 section 5: those of its examples whose whole key counts."""
    for key, plain, cipher in (
        ("ffffffffffffffff", "ffffffffffffffff", "278b27e42e2f0d49"),
        ("88bca90e90875a7f0f79c384627bafb2", "0000000000000000", "2269552ab0f85ca6"),
    ):
        assert decrypt_cbc(bytes.fromhex(key), bytes(8), bytes.fromhex(cipher)).hex() == plain


def test_more_rc2_than_a_chain_needs_is_refused_also_in_many_pieces(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    facts = read_facts(_read("rc2-40"))
    (sealed,) = facts.sealed
    piece = replace(sealed, content=bytes(MAX_RC2_BYTES // 4 + 8))
    huge = replace(facts, sealed=(piece,) * 4)
    monkeypatch.setattr(inspect, "read_facts", lambda data: huge)
    with pytest.raises(errors.PfxHostile, match="65,568 bytes encrypted with RC2"):
        decode(_read("rc2-40"), PASSWORD)


@pytest.mark.slow
def test_rounds_that_nobody_saw_end_at_the_deadline(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    blind_children(monkeypatch, tmp_path)
    with pytest.raises(errors.PfxHostile, match="not read within 2 s:"):
        decode_guarded(_read("bomb-inside"), PASSWORD, timeout_s=2)


@pytest.mark.slow
def test_rounds_that_nobody_saw_end_at_the_limit_of_cpu(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    blind_children(monkeypatch, tmp_path)
    if not hasattr(signal, "SIGXCPU"):
        pytest.skip("this system limits no process's CPU")
    with pytest.raises(errors.PfxHostile, match="not read within 4 s of CPU"):
        decode_guarded(_read("bomb-inside"), PASSWORD, timeout_s=100)


@pytest.mark.slow
def test_a_child_gives_the_same_answer_as_the_process_itself() -> None:
    for name in ("modern", "rc2-40"):
        there, here = decode_guarded(_read(name), PASSWORD), decode(_read(name), PASSWORD)
        assert (there, there.chain, there.friendly_name) == (here, here.chain, here.friendly_name)
    with pytest.raises(errors.PfxPasswordWrong, match="wrong password or damaged") as caught:
        decode_guarded(_read("modern"), Secret("other"))
    assert "try the password" in caught.value.hint
    with pytest.raises(errors.KeyMismatch):
        decode_guarded(_read("mismatch"), None)
