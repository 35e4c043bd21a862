"""Whatever bundle is written comes back; whatever bytes are read end in a bundle or an error."""

from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from certshelf.bundle import inspect
from certshelf.bundle.keys import KEY_TYPES
from certshelf.bundle.model import Bundle, PfxProfile
from certshelf.bundle.pfx import decode, encode
from certshelf.errors import BundleError
from certshelf.secret import Secret
from tests.support.certificates import bundle

GOLDEN = Path(__file__).parents[1] / "golden" / "pfx"
WHOLE = [(GOLDEN / f"{n}.pfx").read_bytes() for n in ("modern", "keytool", "ber-indefinite")]
_TEXT = st.text(st.characters(exclude_characters="\0", exclude_categories=["Cs"]), max_size=40)


@settings(deadline=None, max_examples=60)
@given(
    key_type=st.sampled_from([k for k in KEY_TYPES if k not in ("rsa-3072", "rsa-4096")]),
    profile=st.sampled_from(list(PfxProfile)),
    password=st.none() | _TEXT,
    friendly_name=st.text(
        st.characters(exclude_characters="\0", exclude_categories=["Cs"], max_codepoint=0xFFFF),
        max_size=40,
    ),
    rounds=st.integers(1, 3000),
    chain=st.integers(0, 2),
)
def test_every_bundle_comes_back(
    key_type: str,
    profile: PfxProfile,
    password: str | None,
    friendly_name: str,
    rounds: int,
    chain: int,
) -> None:
    base = bundle(key_type=key_type)
    made = Bundle(base.key, base.leaf, base.chain[:chain], friendly_name)
    secret = None if password is None else Secret(password)
    back = decode(encode(made, secret, profile, rounds), secret)
    assert (back, back.chain, back.friendly_name) == (made, made.chain, friendly_name)
    assert back.key.private_numbers() == made.key.private_numbers()


@pytest.mark.slow
@pytest.mark.parametrize("key_type", ["rsa-3072", "rsa-4096"])
def test_large_rsa_keys_come_back(key_type: str) -> None:
    made = bundle(key_type=key_type)
    assert decode(encode(made, Secret("p"), rounds=1), Secret("p")) == made


@settings(deadline=None, max_examples=300)
@given(st.binary(max_size=600))
def test_any_bytes_end_in_a_pfx_error(data: bytes) -> None:
    with pytest.raises(BundleError):
        decode(data, Secret("golden"))


@settings(deadline=None, max_examples=300)
@given(st.binary(max_size=300).map(lambda b: b"\x30\x80" + b))
def test_any_open_ended_bytes_end_in_a_pfx_error(data: bytes) -> None:
    with pytest.raises(BundleError):
        decode(data, Secret("golden"))


@settings(deadline=None, max_examples=400)
@given(
    st.sampled_from(WHOLE),
    st.lists(st.tuples(st.integers(0, 5000), st.integers(0, 255)), min_size=1, max_size=4),
)
def test_a_file_with_changed_bytes_ends_in_a_bundle_or_a_pfx_error(
    whole: bytes, changes: list[tuple[int, int]]
) -> None:
    data = bytearray(whole)
    for at, byte in changes:
        data[at % len(data)] = byte
    try:
        facts = inspect.guard(bytes(data))
        decode(bytes(data), Secret("golden"))
    except BundleError:
        return
    assert facts.rounds <= inspect.MAX_ROUNDS


@settings(deadline=None, max_examples=50)
@given(st.integers(0, 16), st.sampled_from([b"\x30\x80", b"\x24\x80", b"\x30\x84\x00\x0f\xff\xf0"]))
def test_deep_and_endless_nests_stay_within_the_budget(power: int, unit: bytes) -> None:
    with pytest.raises(BundleError):
        inspect.guard(unit * (1 << power))
