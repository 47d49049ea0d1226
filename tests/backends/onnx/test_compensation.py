"""GPTQ for the MatMuls of a graph: each part of a merged one by the Hessian of its own inputs."""

from pathlib import Path

import torch

from scripts.backends.compensation import gptq_kernel
from scripts.backends.conversion import rows_of
from scripts.backends.onnx.graph import linears, open_graph
from scripts.calibration.stored import Captured
from scripts.methods.gptq import factor
from scripts.methods.integer_gptq import integer_gptq
from scripts.methods.integer_grid import GridOptions


def test_values_of_merged_projections_have_their_own_hessian(
    tiny_graph: Path, tiny_capture: Path
) -> None:
    captured, grid = Captured(tiny_capture), GridOptions(4, 32, symmetric=False)
    kernel = gptq_kernel(captured, grid, damping=0.01, rounds=1)
    merged = next(one for one in linears(open_graph(tiny_graph)) if "qkv_proj" in one.name)
    weight = rows_of(merged.weight())
    codes, found = kernel(merged, weight)
    rows = captured.mixed_rows("model.layers.0.self_attn.v_proj")
    assert 0 < rows < len(weight) / 2
    for name, part in (("q_proj", slice(-rows)), ("v_proj", slice(-rows, None))):
        hessian = torch.from_numpy(captured.hessian(f"model.layers.0.self_attn.{name}"))
        expected, its = integer_gptq(weight[part], factor(hessian, (32,), 0.01), grid, rounds=1)
        assert torch.equal(codes[part], expected)
        assert torch.equal(found.scales[part], its.scales)
        assert torch.equal(found.zeros[part], its.zeros)
