"""Configurations from anywhere: what is no document is a ConfigError, and costs little."""

from __future__ import annotations

import pytest

from certshelf.doctor.bindings import traefik
from certshelf.doctor.bindings.documents import load
from certshelf.errors import ConfigError

pytest.importorskip("yaml")


def bomb(last: str, first: str = "[x]", layer: str = "[{}]") -> str:
    lines = [f"l0: &l0 {first}"]
    for level in range(1, 12):
        aliases = ", ".join([f"*l{level - 1}"] * 10)
        lines.append(f"l{level}: &l{level} {layer.format(aliases)}")
    return "\n".join([*lines, last])


@pytest.mark.parametrize(
    "text",
    [
        "a: !!bool x",
        'a: !!int ""',
        'a: !!float ""',
        "a: !!timestamp x",
        "a: &a [*a]",
        "a: 1\n---\nb: 2",
        "{" * 5000,
    ],
)
def test_what_is_no_document_is_a_config_error(text: str) -> None:
    with pytest.raises(ConfigError):
        load(text, "x.yml")


def test_aliases_that_multiply_a_small_text_are_refused() -> None:
    with pytest.raises(ConfigError, match="too much"):
        traefik.read(bomb("http: {routers: {r: {rule: *l11, tls: {}}}}"))
    with pytest.raises(ConfigError, match="too much"):
        load(bomb("end: {}", "{a: 1}", "{{<<: [{}]}}"), "x.yml")


def test_aliases_and_merge_keys_are_read() -> None:
    text = "base: &base {a: 1}\nmore: {<<: *base, b: 2}\nsame: *base"
    read = load(text, "x.yml")
    assert (read["more"], read["same"]) == ({"a": 1, "b": 2}, {"a": 1})
    assert load("", "x.yml") is None
