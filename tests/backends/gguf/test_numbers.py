"""Levels and FP16 numbers of blocks against gguf's own dequantiser."""

import gguf
import numpy as np
import pytest
import torch
from gguf import GGML_QUANT_SIZES, GGMLQuantizationType

from scripts.backends.gguf.numbers import has_numbers, parts_of, put_numbers
from scripts.tuning.block_linear import dequantised

WIDTH = 512
KINDS = [kind for kind in GGMLQuantizationType if has_numbers(kind)]


def blocks(kind: GGMLQuantizationType) -> np.ndarray:
    """Five rows of random blocks whose FP16 numbers are ordinary ones."""
    columns, size = GGML_QUANT_SIZES[kind]
    rng = np.random.default_rng(0)
    data = rng.integers(0, 256, (5, WIDTH // columns, size), np.uint8)
    whole = data.reshape(5, -1)
    scales = [torch.from_numpy(rng.normal(size=data.shape[:2])).float() for _ in range(2)]
    put_numbers(whole, kind, scales[: len(parts_of(whole, kind))])
    return whole


@pytest.mark.parametrize("kind", KINDS, ids=lambda kind: kind.name)
def test_levels_times_numbers_are_the_values(kind: GGMLQuantizationType) -> None:
    data = blocks(kind)
    parts = parts_of(data, kind)
    values = dequantised([one.levels for one in parts], [one.scales for one in parts])
    assert np.allclose(values.numpy(), gguf.dequantize(data, kind), rtol=1e-5, atol=1e-4)


@pytest.mark.parametrize("kind", KINDS, ids=lambda kind: kind.name)
def test_only_the_numbers_change(kind: GGMLQuantizationType) -> None:
    data = blocks(kind)
    fresh = data.copy()
    parts = parts_of(data, kind)
    put_numbers(fresh, kind, [one.scales * 2 for one in parts])
    again = parts_of(fresh, kind)
    for before, after in zip(parts, again, strict=True):
        assert torch.equal(before.levels, after.levels)
        assert torch.equal(before.scales * 2, after.scales)
    changed = (fresh != data).reshape(5, -1, GGML_QUANT_SIZES[kind][1]).any((0, 1))
    assert changed.sum() == len(parts)  # doubling a half changes its upper byte


def test_type_whose_numbers_are_not_known() -> None:
    assert not has_numbers(GGMLQuantizationType.IQ3_S)
    assert not has_numbers(GGMLQuantizationType.F16)
