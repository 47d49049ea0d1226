"""Ranges of activations: exact percentiles in bounded memory, and what is refused."""

from pathlib import Path

import numpy as np
import onnx
import onnx_ir as ir
import pytest
from onnx import TensorProto, helper

from scripts.backends.onnx.evaluator import Evaluator
from scripts.backends.onnx.graph import linears, open_graph, write_model
from scripts.backends.onnx.integer.ranges import Range, activation_ranges, refuse_subgraphs
from scripts.errors import QuantmakeError
from scripts.token_windows import read_windows


@pytest.fixture
def names(tiny_graph: Path) -> list[str]:
    sources = [linear.node.inputs[0] for linear in linears(open_graph(tiny_graph))]
    return list(dict.fromkeys(str(source.name) for source in sources if source is not None))


@pytest.fixture
def windows(tiny_calibration: Path) -> np.ndarray:
    return read_windows(tiny_calibration)[:3]


def seen(graph: Path, names: list[str], windows: np.ndarray) -> dict[str, np.ndarray]:
    """All values of each activation, in one pass over each whole window."""
    found: dict[str, list[np.ndarray]] = {name: [] for name in names}
    evaluator = Evaluator(open_graph(graph))
    for tokens in windows:
        for name, values in evaluator.values(names, tokens):
            found[name].append(values.reshape(-1, values.shape[-1]))
    return {name: np.concatenate(values) for name, values in found.items()}


def test_edges_are_the_percentiles_of_all_values() -> None:
    values = np.random.default_rng(0).normal(size=(40, 50, 20)).astype(np.float32)
    found = Range(outside=1e-3)
    for part in values:
        found.add(part, rows=40 * 50)
    flat = np.sort(values.ravel())
    assert found.edges() == (flat[39], flat[-40])
    assert found._tails is not None
    assert all(len(tail._kept) == 40 for tail in found._tails)


def test_percentile_100_takes_the_least_and_the_greatest(
    tiny_graph: Path, names: list[str], windows: np.ndarray
) -> None:
    wanted = seen(tiny_graph, names, windows)
    got = activation_ranges(tiny_graph, names, windows, percentile=100, threads=1)
    assert got == {name: (values.min(), values.max()) for name, values in wanted.items()}


def test_factors_divide_the_columns_first(
    tiny_graph: Path, names: list[str], windows: np.ndarray
) -> None:
    values = seen(tiny_graph, names, windows)[names[0]]
    factors = np.linspace(0.1, 3, values.shape[-1]).astype(np.float32)
    got = activation_ranges(
        tiny_graph,
        names,
        windows,
        factors={names[0]: factors},
        percentile=100,
        threads=1,
    )
    assert got[names[0]] == ((values / factors).min(), (values / factors).max())


def test_ranges_do_not_depend_on_threads(
    tiny_graph: Path, names: list[str], windows: np.ndarray
) -> None:
    one, two = (
        activation_ranges(tiny_graph, names, windows, percentile=99.9, threads=threads)
        for threads in (1, 2)
    )
    assert one == two


def broken_graph(graph: Path, out: Path, weight: str, value: float) -> Path:
    """A copy of the graph in which one norm's weight is `value` throughout."""
    model = open_graph(graph)
    old = model.graph.initializers[weight]
    assert old.const_value is not None
    old.const_value = ir.tensor(np.full_like(old.const_value.numpy(), value), name=weight)
    out.mkdir()
    write_model(model, out)
    return out


@pytest.mark.parametrize("value", [0.0, np.nan])
def test_broken_activations_are_all_named(
    value: float, tiny_graph: Path, windows: np.ndarray, tmp_path: Path
) -> None:
    norm = "model.layers.1.post_attention_layernorm.weight"
    graph = broken_graph(tiny_graph, tmp_path / "graph", norm, value)
    names = [
        "/model/layers.1/post_attention_layernorm/output_0",
        "/model/layers.1/mlp/Mul/output_0",
    ]
    good = "/model/layers.0/mlp/Mul/output_0"
    with pytest.raises(QuantmakeError) as caught:
        activation_ranges(graph, [good, *names], windows, percentile=100, threads=1)
    assert str(caught.value) == (
        "these activations are all zero or not finite over the calibration's text: "
        f"{names[0]}, {names[1]}. The base model or the text is broken; no range can be taken."
    )


def test_one_value_that_is_not_finite_is_enough() -> None:
    found = Range(outside=0)
    found.add(np.ones((2, 4), np.float32), rows=6)
    found.add(np.array([[1, np.nan, 1, 1]], np.float32), rows=6)
    found.add(np.ones((3, 4), np.float32), rows=6)
    assert found.edges() is None


def test_graph_with_a_branch_is_refused(tmp_path: Path) -> None:
    value = helper.make_tensor_value_info("y", TensorProto.FLOAT, [1])
    one = helper.make_node("Constant", [], ["y"], value_floats=[1.0])
    branch = helper.make_graph([one], "branch", [], [value])
    node = helper.make_node("If", ["c"], ["y"], "/merged", then_branch=branch, else_branch=branch)
    condition = helper.make_tensor_value_info("c", TensorProto.BOOL, [])
    graph = helper.make_graph([node], "g", [condition], [value])
    onnx.save(helper.make_model(graph), tmp_path / "model.onnx")
    with pytest.raises(QuantmakeError) as caught:
        refuse_subgraphs(tmp_path)
    assert str(caught.value) == (
        "the graph has subgraphs (/merged), so it can't be quantised statically; use method: "
        "dynamic or rtn"
    )
