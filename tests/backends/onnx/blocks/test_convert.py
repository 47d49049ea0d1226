"""A grid's codes and scales in the form that the operators store."""

import numpy as np
import pytest
import torch

from scripts.backends.conversion import to_blocks
from scripts.backends.onnx.blocks.nodes import place
from scripts.backends.onnx.graph import linears
from scripts.methods.integer_grid import GridOptions
from scripts.methods.rtn import rtn
from tests.onnx_models import compute, one_matmul


@pytest.mark.parametrize("symmetric", [False, True])
@pytest.mark.parametrize("bits", [4, 8])
def test_stored_blocks_compute_the_grids_values(bits: int, symmetric: bool) -> None:
    weight = torch.randn(12, 160, generator=torch.Generator().manual_seed(0))
    model = one_matmul(weight.T.numpy().copy())
    codes, grid = rtn(weight, GridOptions(bits, 32, symmetric))
    linear = linears(model)[0]
    blocks = to_blocks((codes, grid), symmetric)
    place(model, [(linear, blocks)], accuracy_level=1, embedding_blocks=None)
    x = np.random.default_rng(1).normal(size=(5, 160)).astype(np.float32)
    wanted = x @ grid.dequantise(codes).numpy().T
    np.testing.assert_allclose(compute(model, {"x": x}), wanted, atol=1e-3)
