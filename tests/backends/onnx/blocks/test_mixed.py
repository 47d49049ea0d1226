"""`bits: auto`: which linears get which blocks, and what is refused."""

import re
from collections.abc import Mapping
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray

from scripts.backends.onnx.blocks.parts import split
from scripts.backends.onnx.export import OnnxGraph
from scripts.backends.onnx.formats.gptq import OnnxGptq
from scripts.backends.onnx.formats.mixed import OnnxMixed
from scripts.backends.onnx.graph import linears, open_graph, save_graph
from scripts.calibration.capture import Capture
from scripts.calibration.gradients import Gradients
from scripts.calibration.stored import gradient_squares, write_gradient_squares
from scripts.errors import QuantmakeError, RecipeError
from scripts.exec import run_stage
from scripts.forecast import Forecast, Outline
from scripts.token_windows import read_windows
from tests.onnx_models import cached_logits, divergence, write_other_base

QKV = ("q_proj", "k_proj", "v_proj")


def mixed(**options: object) -> OnnxMixed:
    return OnnxMixed.model_validate({"format": "onnx", "bits": "auto", "method": "gptq", **options})


def size_of(folder: Path) -> int:
    return sum(path.stat().st_size for path in folder.iterdir())


def beside(graph: Path) -> int:
    """What the artefact has of a graph beside its weights and nodes: the tokenizer."""
    return sum(one.stat().st_size for one in graph.iterdir() if "model.onnx" not in one.name)


def blocks_of(folder: Path) -> dict[str, tuple[int, int]]:
    """Bits and size of block of each MatMulNBits."""
    nodes = (node for node in open_graph(folder).graph if node.op_type == "MatMulNBits")
    return {
        str(node.name): (node.attributes["bits"].as_int(), node.attributes["block_size"].as_int())
        for node in nodes
    }


@pytest.fixture
def inputs(tiny_graph: Path, tiny_capture: Path, tiny_gradients: Path) -> dict[str, Path]:
    return {"graph": tiny_graph, "capture": tiny_capture, "gradients": tiny_gradients}


def raised(inputs: Mapping[str, Path], folder: Path, loud: str) -> dict[str, Path]:
    """The inputs, with gradients in which errors at the outputs of some linears count more."""
    squares: dict[str, NDArray[np.float32]] = gradient_squares(inputs["gradients"])
    folder.mkdir()
    louder = {name: value * (1e4 if loud in name else 1) for name, value in squares.items()}
    write_gradient_squares(folder, louder)
    return {**inputs, "gradients": folder}


def test_more_bytes_lose_less_and_none_is_exceeded(
    inputs: dict[str, Path], tiny_calibration: Path, tmp_path: Path
) -> None:
    tokens = read_windows(tiny_calibration)[7]
    wanted = cached_logits(inputs["graph"], tokens, 60)
    losses = []
    for weights in (445_000, 520_000, 700_000):
        out, size = tmp_path / str(weights), weights + beside(inputs["graph"])
        run_stage(mixed(max_bytes=size, accuracy_level=0), inputs, out)
        assert 0.97 * size < size_of(out) <= size
        losses.append(divergence(wanted, cached_logits(out, tokens, 60)))
    assert max(losses[1:]) < 0.8 * losses[0]  # the others lose what 8 bits lose


def test_without_a_size_it_is_that_of_4_bits(inputs: dict[str, Path], tmp_path: Path) -> None:
    run_stage(mixed(), inputs, tmp_path / "auto")
    even = OnnxGptq(format="onnx", bits=4, method="gptq")
    run_stage(even, {name: inputs[name] for name in ("graph", "capture")}, tmp_path / "even")
    apart = len(blocks_of(tmp_path / "auto")) - len(blocks_of(tmp_path / "even"))
    weights = size_of(tmp_path / "auto") - 1500 * apart
    assert 0.97 * size_of(tmp_path / "even") < weights <= size_of(tmp_path / "even")


def test_a_linear_that_counts_gets_more_bits_than_those_it_is_merged_with(
    inputs: dict[str, Path], tmp_path: Path
) -> None:
    run_stage(
        mixed(), raised(inputs, tmp_path / "loud", "layers.1.self_attn.v_proj"), tmp_path / "o"
    )
    blocks = blocks_of(tmp_path / "o")
    assert blocks["/model/layers.1/attn/v_proj/MatMul_Q8"][0] == 8
    of_layer = [name for name in blocks if name.startswith("/model/layers.1/attn/")]
    assert "/model/layers.1/attn/qkv_proj/MatMul_Q4" not in of_layer
    assert any(bits == 4 for name, (bits, _) in blocks.items() if name in of_layer)


def test_parts_compute_what_the_whole_did(
    tiny_graph: Path, tiny_calibration: Path, tmp_path: Path
) -> None:
    model = open_graph(tiny_graph)
    merged = next(one for one in linears(model) if one.name.endswith("qkv_proj/MatMul"))
    weight = merged.weight().copy()
    rows = [slice(0, 128), slice(128, 192), slice(192, merged.rows)]
    made = split(model, merged, list(zip(QKV, rows, strict=True)))
    assert [one.name for one in made] == list(QKV)
    for one, columns in zip(made, rows, strict=True):
        np.testing.assert_array_equal(one.weight(), weight[:, columns])
        assert (one.rows, one.columns) == (columns.stop - columns.start, 128)
    (tmp_path / "out").mkdir()
    save_graph(model, tiny_graph, tmp_path / "out")
    tokens = read_windows(tiny_calibration)[7]
    wanted, got = (cached_logits(folder, tokens, 40) for folder in (tiny_graph, tmp_path / "out"))
    np.testing.assert_allclose(got, wanted, atol=1e-4)


def test_an_embedding_of_its_own_has_its_own_blocks(
    tiny_base: Path, tiny_calibration: Path, tmp_path: Path
) -> None:
    base = write_other_base("untied", tmp_path / "base", tiny_base)
    measured = {"base": base, "calibration": tiny_calibration}
    run_stage(OnnxGraph(), {"base": base}, tmp_path / "graph")
    run_stage(Capture(), measured, tmp_path / "capture")
    run_stage(Gradients(), measured, tmp_path / "gradients")
    names = ("graph", "capture", "gradients")
    stage, inputs = mixed(), {name: tmp_path / name for name in names}
    run_stage(stage, inputs, tmp_path / "out")
    graph = open_graph(tmp_path / "out").graph
    vocabulary = [v for v in graph.initializers.values() if v.shape and v.shape[0] == 512]
    assert {str(v.name).rpartition("_")[0] for v in vocabulary} >= {
        "lm_head.MatMul.weight",
        "model.embed_tokens.weight_embedding",
    }
    ids = np.arange(30, dtype=np.int64)
    wanted, got = (cached_logits(tmp_path / name, ids, 20) for name in ("graph", "out"))
    assert 0 < divergence(wanted, got) < 1e-2


def test_scales_of_parts_can_be_tuned(
    inputs: dict[str, Path], tiny_base: Path, tiny_calibration: Path, tmp_path: Path
) -> None:
    loud = raised(inputs, tmp_path / "loud", "v_proj")
    size = 460_000 + beside(inputs["graph"])
    run_stage(mixed(max_bytes=size), loud, tmp_path / "before")
    learnt = {**loud, "base": tiny_base, "calibration": tiny_calibration}
    tuned = mixed(max_bytes=size, tune={"tokens": 4096})
    run_stage(tuned, learnt, tmp_path / "after")
    before, after = (
        {
            name: v.const_value.numpy()
            for name, v in open_graph(tmp_path / one).graph.initializers.items()
            if v.const_value is not None
        }
        for one in ("before", "after")
    )
    changed = {name for name in before if not np.array_equal(before[name], after[name])}
    assert any("v_proj" in name and name.endswith("_scales") for name in changed)
    assert not any(name.endswith(("_Q4", "_Q8", "_zero_points")) for name in changed)


def test_a_size_that_can_not_be_names_the_smallest(inputs: dict[str, Path], tmp_path: Path) -> None:
    with pytest.raises(RecipeError) as caught:
        run_stage(mixed(max_bytes=300_000), inputs, tmp_path / "out")
    found = re.fullmatch(
        r"bits auto: the smallest blocks make a file of ([\d,]+) bytes \(0\.5 MB\), and 300,000 "
        r"\(0\.3 MB\) are asked for\. Write `max_bytes: (\d+)` \(0\.5 MB\) or more\.",
        str(caught.value),
    )
    assert found
    run_stage(mixed(max_bytes=int(found[2])), inputs, tmp_path / "out")


def test_a_size_that_can_not_be_is_refused_by_the_shapes_alone() -> None:
    about = {"graph": Forecast(0, 0, Outline.of({"model.layers.0.x.weight": (4096, 4096)}))}
    assert mixed(max_bytes=8_000_000).refusal(about) == (
        "bits auto: in the smallest blocks that there are (4.16 bits) the weights alone take "
        "8,716,288 bytes (8.7 MB), and `max_bytes: 8000000` is less (8.0 MB). Write `max_bytes: "
        "9000000` (9.0 MB) or more."
    )
    assert mixed(max_bytes=9_000_000).refusal(about) == ""
    assert mixed().refusal(about) == ""


def test_gradients_of_another_model_are_refused(inputs: dict[str, Path], tmp_path: Path) -> None:
    squares = gradient_squares(inputs["gradients"])
    (tmp_path / "other").mkdir()
    name = "model.layers.0.self_attn.v_proj"
    write_gradient_squares(tmp_path / "other", {**squares, name: squares[name][:-1].copy()})
    with pytest.raises(QuantmakeError) as caught:
        run_stage(mixed(), {**inputs, "gradients": tmp_path / "other"}, tmp_path / "out")
    listed = ", ".join(f"model.layers.0.self_attn.{one}" for one in QKV)
    assert str(caught.value) == (
        f"/model/layers.0/attn/qkv_proj/MatMul has 256 outputs, and the gradients know 255 of "
        f"{listed}: the graph computes otherwise than the model there, so `bits: auto` can't be "
        "used. Choose `bits: 4`."
    )
