"""Finding MatMuls and choosing among them."""

from pathlib import Path

import numpy as np
import pytest

from scripts.backends.onnx.graph import linears, open_graph, split
from scripts.errors import QuantmakeError
from tests.onnx_models import one_matmul


def test_patterns_are_parts_of_names_or_have_stars(tiny_graph: Path) -> None:
    found = linears(open_graph(tiny_graph))
    left, chosen = split(found, ["lm_head", "layers.1/*/o_proj"])
    assert [linear.name for linear in chosen] == [
        "/model/layers.1/attn/o_proj/MatMul",
        "/lm_head/MatMul",
    ]
    assert len(left) + 2 == len(found)
    assert split(found, []) == (found, [])


def test_pattern_that_matches_nothing_gets_the_names_that_there_are(tiny_graph: Path) -> None:
    with pytest.raises(QuantmakeError) as caught:
        split(linears(open_graph(tiny_graph)), ["lm_head", "dwon_proj", "wo"])
    kinds = ["attn/qkv_proj", "attn/o_proj", "mlp/gate_proj", "mlp/up_proj", "mlp/down_proj"]
    names = ", ".join(f"/model/layers.*/{kind}/MatMul" for kind in kinds)
    assert str(caught.value) == (
        "weight_only: no MatMul of the graph matches 'dwon_proj', 'wo'. The 16 that there are: "
        f"{names}, /lm_head/MatMul."
    )


def test_graph_without_constant_weights_is_refused() -> None:
    model = one_matmul(np.ones((4, 4), np.float32))
    model.graph.initializers["weight"].const_value = None
    with pytest.raises(QuantmakeError) as caught:
        linears(model)
    assert str(caught.value) == "the graph has no MatMul with a constant weight to quantise"
