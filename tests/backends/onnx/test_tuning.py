"""Tuning an artefact of the tiny model: scales and norms change, and nothing else."""

import shutil
from pathlib import Path

import numpy as np
import onnx
import onnx_ir as ir
import pytest

from scripts.backends.onnx.formats.awq import OnnxAwq
from scripts.backends.onnx.formats.rtn import OnnxRtn
from scripts.backends.onnx.graph import open_graph, write_model
from scripts.backends.tune import Tune
from scripts.calibration.capture import Capture
from scripts.errors import QuantmakeError
from scripts.exec import run_stage

RTN = {"format": "onnx", "bits": 4, "method": "rtn"}
TUNE = Tune(tokens=4096, learning_rate=0.0002)


@pytest.fixture(scope="module")
def inputs(tiny_base: Path, tiny_graph: Path, tiny_calibration: Path) -> dict[str, Path]:
    return {"base": tiny_base, "graph": tiny_graph, "calibration": tiny_calibration}


def values(folder: Path) -> dict[str, np.ndarray]:
    """The initialisers by name."""
    graph = open_graph(folder).graph
    return {name: np.array(one.const_value.numpy()) for name, one in graph.initializers.items()}


@pytest.fixture(scope="module")
def pair(inputs: dict[str, Path], tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    """The artefact rounded to nearest, and the same one tuned."""
    folder = tmp_path_factory.mktemp("tune")
    run_stage(OnnxRtn(**RTN), inputs, folder / "plain")
    run_stage(OnnxRtn(**RTN, tune=TUNE), inputs, folder / "tuned")
    return folder / "plain", folder / "tuned"


def test_only_scales_and_norms_change(pair: tuple[Path, Path]) -> None:
    plain, tuned = map(values, pair)
    assert plain.keys() == tuned.keys()
    changed = {name for name in plain if not np.array_equal(plain[name], tuned[name])}
    assert all(name.endswith(("_scales", "norm.weight")) for name in changed)
    assert len(changed) == 3 * 5 + 3 * 2 + 1  # merged qkv, o, gate, up, down; two norms; the last
    assert all(plain[name].dtype == tuned[name].dtype for name in changed)
    sizes = [{p.name: p.stat().st_size for p in folder.iterdir()} for folder in pair]
    assert sizes[0].keys() == sizes[1].keys()
    assert sizes[0]["model.onnx.data"] == sizes[1]["model.onnx.data"]


def test_log_tells_what_was_gained(
    inputs: dict[str, Path], tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    run_stage(OnnxRtn(**RTN, tune=TUNE), inputs, tmp_path / "out")
    line = capfd.readouterr().out.splitlines()[-1]
    before, after = (float(part.split()[0]) for part in line.split(": ")[1].split(", "))
    assert after < 0.8 * before


def test_same_bytes_again(pair: tuple[Path, Path], inputs: dict[str, Path], tmp_path: Path) -> None:
    run_stage(OnnxRtn(**RTN, tune=TUNE), inputs, tmp_path / "out")
    for path in pair[1].iterdir():
        assert (tmp_path / "out" / path.name).read_bytes() == path.read_bytes()


def test_factors_in_the_norms_are_kept(
    inputs: dict[str, Path], tiny_calibration: Path, tmp_path: Path
) -> None:
    capture = tmp_path / "capture"
    run_stage(Capture(), inputs, capture)
    awq = OnnxAwq(format="onnx", bits=4, method="awq", tune=TUNE)
    run_stage(awq, {**inputs, "capture": capture}, tmp_path / "out")
    assert awq.needed() == ("graph", "capture", "base", "calibration")
    assert awq.label() == "INT4 AWQ tuned (ONNX)"


def test_tuning_that_does_not_help_changes_nothing(
    pair: tuple[Path, Path], inputs: dict[str, Path], tmp_path: Path
) -> None:
    wild = Tune(tokens=512, learning_rate=0.99)
    run_stage(OnnxRtn(**RTN, tune=wild), inputs, tmp_path / "out")
    for path in pair[0].iterdir():
        assert (tmp_path / "out" / path.name).read_bytes() == path.read_bytes()


def test_graph_that_computes_something_else_is_refused(
    pair: tuple[Path, Path], inputs: dict[str, Path], tmp_path: Path
) -> None:
    from scripts.backends.onnx.tuning import tune

    broken = tmp_path / "broken"
    shutil.copytree(pair[0], broken)
    model = open_graph(pair[0])
    scale = next(n for n in model.graph.initializers if n.endswith("o_proj.MatMul.weight_scales"))
    value = model.graph.initializers[scale]
    value.const_value = ir.tensor(np.array(value.const_value.numpy()) * -9, name=scale)
    norm = next(node for node in model.graph if node.op_type == "SimplifiedLayerNormalization")
    norm.name = "/unknown/Norm"
    weight = norm.inputs[1].const_value
    norm.inputs[1].const_value = ir.tensor(np.array(weight.numpy()) * 3, name=norm.inputs[1].name)
    shutil.rmtree(broken)
    broken.mkdir()
    write_model(model, broken)
    with pytest.raises(QuantmakeError, match="tune does not understand this artefact"):
        tune(broken, inputs["base"], inputs["calibration"], TUNE)


def test_node_without_a_counterpart_is_named(
    pair: tuple[Path, Path], inputs: dict[str, Path], tmp_path: Path
) -> None:
    from scripts.backends.onnx.tuning import tune

    strange = tmp_path / "strange"
    shutil.copytree(pair[0], strange)
    graph = onnx.load(strange / "model.onnx", load_external_data=False)
    node = next(one for one in graph.graph.node if one.op_type == "MatMulNBits")
    node.name = "/model/layers.0/conv/MatMul_Q4"
    onnx.save(graph, strange / "model.onnx")
    with pytest.raises(QuantmakeError, match=r"the base has no module model\.layers\.0\.conv"):
        tune(strange, inputs["base"], inputs["calibration"], TUNE)
