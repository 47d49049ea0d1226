"""Names and shapes of what a graph remembers."""

import pytest

from scripts.backends.onnx.cache import cache_after, empty_cache, is_cache


@pytest.mark.parametrize(
    ("name", "after", "shape", "empty"),
    [
        (
            *("past_key_values.3.key", "present.3.key"),
            *(["batch_size", 2, "past_sequence_length", 64], (1, 2, 0, 64)),
        ),
        ("past.0.conv", "present.0.conv", ["batch_size", 64, 2], (1, 64, 2)),
        ("past.1.recurrent", "present.1.recurrent", ["batch_size", 4, 16, 8], (1, 4, 16, 8)),
    ],
)
def test_caches(name: str, after: str, shape: list[int | str], empty: tuple[int, ...]) -> None:
    assert is_cache(name)
    assert cache_after(name) == after
    assert empty_cache(name, shape) == empty


def test_other_inputs_are_none() -> None:
    assert not any(map(is_cache, ("input_ids", "attention_mask", "position_ids")))
