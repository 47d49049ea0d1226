"""What differs between two keys, in words that fit a line."""

from typing import Any

from scripts.engine.build.differences import changes


def said(old: Any, new: Any) -> list[str]:
    """The changes of an option."""
    return [str(one) for one in changes({"options": {"a": old}}, {"options": {"a": new}})]


def test_option_within_an_option_is_named() -> None:
    old, new = {"b": {"c": 1, "d": 2}}, {"b": {"c": 3, "d": 2}, "e": None}
    assert said(old, new) == ["option a.b.c: 1 → 3"]
    assert said({"b": 1}, {}) == ["option a.b: 1 → (none)"]
    assert said({"b": 1}, 7) == ["option a: {'b': 1} → 7"]


def test_many_values_within_an_option_are_counted() -> None:
    old = {str(name): name for name in range(90)}
    assert said(old, dict.fromkeys(old, "x")) == ["option a: 90 values → others"]
    assert len(said(old, {**old, "1": 0, "2": 0})) == 2
