"""PFX in and out: what is written is read, and each failure has its own kind."""

from __future__ import annotations

import pytest
from tests.support.certificates import authorities, bundle

from certshelf.bundle.inspect import read_facts
from certshelf.bundle.model import Bundle, PfxProfile
from certshelf.bundle.pfx import decode, encode, profile_of, rounds_for
from certshelf.errors import PfxError, PfxPasswordWrong
from certshelf.secret import Secret, generate_password

PASSWORD = generate_password()


@pytest.mark.parametrize("profile", PfxProfile)
def test_a_bundle_comes_back_whole_and_says_its_profile(profile: PfxProfile) -> None:
    made = bundle()
    named = Bundle(made.key, made.leaf, made.chain, "shelf: Bücher")
    data = encode(named, PASSWORD, profile)
    back = decode(data, PASSWORD)
    assert back == named
    assert back.chain == named.chain
    assert back.friendly_name == "shelf: Bücher"
    assert profile_of(data) is profile


@pytest.mark.parametrize("password", [None, Secret("")])
def test_without_a_password_the_file_is_not_encrypted(password: Secret | None) -> None:
    made = bundle()
    data = encode(made, password)
    assert decode(data, None) == decode(data, Secret("")) == made
    assert profile_of(data) is None


def test_the_chain_is_put_in_order_and_the_root_is_dropped() -> None:
    lower, upper, root = authorities()
    made = bundle()
    mixed = Bundle(made.key, made.leaf, (root, upper, bundle("other.test", number=7).leaf, lower))
    assert decode(encode(mixed, PASSWORD), PASSWORD).chain == (lower, upper)


def test_a_wrong_password_is_told_apart() -> None:
    with pytest.raises(PfxPasswordWrong, match="wrong password or damaged"):
        decode(encode(bundle(), PASSWORD), Secret("another"))


@pytest.mark.parametrize("text", ["with\0nul", "\ud800"])
def test_a_password_that_is_no_text_is_refused_before_the_library_sees_it(text: str) -> None:
    data = encode(bundle(), PASSWORD)
    with pytest.raises(PfxPasswordWrong):
        decode(data, Secret(text))
    with pytest.raises(PfxPasswordWrong):
        encode(bundle(), Secret(text))


def test_random_passwords_need_few_rounds_and_human_ones_many() -> None:
    assert rounds_for(generate_password()) == 2_048
    for human in ("hunter2", "correct horse battery staple and more", "a" * 40):
        assert rounds_for(Secret(human)) == 200_000


@pytest.mark.parametrize("rounds", [0, -1, 10_000_000])
def test_rounds_that_no_reader_accepts_are_not_written(rounds: int) -> None:
    with pytest.raises(PfxError):
        encode(bundle(), PASSWORD, rounds=rounds)


def test_chosen_rounds_are_written_for_key_and_content() -> None:
    facts = read_facts(encode(bundle(), PASSWORD, rounds=5_000))
    assert [a.rounds for a in facts.algorithms if a.purpose != "mac"] == [5_000, 5_000]


def test_a_friendly_name_that_a_bmp_string_cannot_hold_is_written_with_replacements() -> None:
    made = bundle()
    smiling = Bundle(made.key, made.leaf, made.chain, "web \U0001f600")
    assert decode(encode(smiling, PASSWORD), PASSWORD).friendly_name == "web \ufffd"
