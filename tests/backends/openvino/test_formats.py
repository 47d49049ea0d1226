"""Every OpenVINO format on the tiny model: what it costs, what it holds, the same bytes again."""

import os
import subprocess
import sys
from collections.abc import Iterator
from functools import partial
from pathlib import Path

import numpy as np
import pytest
import torch

from scripts.backends import float_gate
from scripts.backends.unsupported import KEY
from scripts.environment import stage_environment
from scripts.errors import QuantmakeError
from scripts.evaluation.score import measure_size
from scripts.exec import run_stage
from scripts.token_windows import read_windows
from tests.cases import Case, choices
from tests.onnx_models import divergence, torch_logits, write_other_base

ov = pytest.importorskip("openvino", reason="the extra openvino is not installed")

case_of = partial(Case, "openvino")


INT8, INT4 = {"I8": 16}, {"U4": 15, "I8": 1}
CASES = [
    case_of("8-rtn", 4e-4, INT8),
    case_of("8-rtn", 4e-4, {"U8": 15, "I8": 1}, {"symmetric": False, "activation_bits": 32}),
    case_of("4-rtn", 5e-2, INT4),
    case_of("4-rtn", 1e-1, {"I4": 16}, {"symmetric": True, "block_size": 64, "head_bits": 4}),
    case_of("8-gptq", 4e-4, INT8),
    case_of("4-gptq", 1.5e-2, INT4),
    case_of("4-gptq", 6e-2, {"I4": 15, "I8": 1}, {"symmetric": True, "block_size": 64}),
    case_of("8-awq", 4e-4, INT8),
    case_of("4-awq", 3e-2, INT4),
]


@pytest.fixture(scope="module")
def inputs(tiny_base: Path, tiny_graph: Path, tiny_capture: Path) -> dict[str, Path]:
    return {"base": tiny_base, "graph": tiny_graph, "capture": tiny_capture}


@pytest.fixture(scope="module", autouse=True)
def agrees() -> Iterator[None]:
    """The comparison with the base takes a process of its own: it has a test of its own."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(float_gate, "disagreement", lambda *_: "")
        yield


@pytest.fixture(scope="module")
def built(inputs: dict[str, Path], tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """An artefact for each case, by its name."""
    root, made = tmp_path_factory.mktemp("openvino"), {}
    for case in CASES:
        made[str(case)] = root / str(case)
        run_stage(case.stage(), inputs, made[str(case)])
    return made


def logits(folder: Path, tokens: np.ndarray, cut: int) -> np.ndarray:
    """Logits [n - cut + 1, vocabulary] of the last positions: a prefill, then decode steps."""
    from scripts.backends.openvino.loader import OpenVinoModel

    model = OpenVinoModel(folder, 2, len(tokens))
    rows = [model.prefill(tokens[:cut])]
    return np.stack([*rows, *(model.decode(int(token)) for token in tokens[cut:])])


def test_every_format_is_among_the_cases() -> None:
    assert {case.name for case in CASES} == set(choices("openvino"))


@pytest.mark.parametrize("case", CASES, ids=str)
def test_predictions_stay_close_through_the_cache(
    case: Case, built: dict[str, Path], tiny_base: Path, tiny_calibration: Path
) -> None:
    tokens = read_windows(tiny_calibration)[3].astype(np.int64)
    wanted = torch_logits(tiny_base, tokens)[63:]
    assert divergence(wanted, logits(built[str(case)], tokens, 64)) < case.most


@pytest.mark.parametrize("case", CASES, ids=str)
def test_inventory_counts_what_is_stored(
    case: Case, built: dict[str, Path], tiny_base: Path
) -> None:
    folder = built[str(case)]
    size, notes = measure_size("openvino", folder, tiny_base)
    assert size.tensor_types == case.types
    assert notes == ()
    weights = sum((folder / f"openvino_model.{end}").stat().st_size for end in ("xml", "bin"))
    assert size.bits_per_weight == pytest.approx(8 * weights / size.parameters)


def test_settings_stand_in_the_artefact_and_stock_openvino_takes_them(
    built: dict[str, Path],
) -> None:
    for case in CASES:
        compiled = ov.Core().compile_model(built[str(case)] / "openvino_model.xml", "CPU")
        assert compiled.get_property("KV_CACHE_PRECISION") == ov.Type.f32
        group = 0 if case.options.get("activation_bits") == 32 else 32
        assert compiled.get_property("DYNAMIC_QUANTIZATION_GROUP_SIZE") == group
        assert {name for one in compiled.inputs for name in one.get_names()} == {
            *("input_ids", "attention_mask", "beam_idx")
        }


def test_rows_of_a_batch_do_not_see_each_other_s_padding(built: dict[str, Path]) -> None:
    from scripts.backends.openvino.settings import settings

    path = built["4-rtn"] / "openvino_model.xml"
    request = ov.Core().compile_model(path, "CPU", settings(1)).create_infer_request()
    short, long = np.arange(5, 15), np.arange(100, 120)

    def run(tokens: np.ndarray, mask: np.ndarray) -> np.ndarray:
        request.reset_state()
        feeds = {"input_ids": tokens, "attention_mask": mask}
        rows = np.arange(len(tokens), dtype=np.int32)
        return request.infer({**feeds, "beam_idx": rows})["logits"][:, -1].copy()

    alone = [run(one[None], np.ones((1, len(one)), np.int64))[0] for one in (short, long)]
    padded = np.concatenate([np.zeros(10, np.int64), short])
    mask = np.stack([np.repeat([0, 1], 10), np.ones(20, np.int64)])
    together = run(np.stack([padded, long]), mask)
    np.testing.assert_allclose(together, alone, atol=1e-3)


@pytest.mark.slow
@pytest.mark.parametrize("cores", ["0", "0,1"])
def test_same_bytes_in_another_process_on_one_and_two_cores(
    cores: str, inputs: dict[str, Path], built: dict[str, Path], tmp_path: Path
) -> None:
    if len(os.sched_getaffinity(0)) < len(cores.split(",")):
        pytest.skip("this machine has one core")
    case = next(one for one in CASES if one.name == "4-awq")
    code = (
        "import sys; from pathlib import Path; import openvino as ov\n"
        "from scripts.backends.openvino.formats.awq import OpenVinoAwq\n"
        "[ov.opset13.constant(1) for _ in range(99)]  # moves the counter that names nodes\n"
        "from scripts.backends import float_gate; float_gate.disagreement = lambda *_: ''\n"
        "names = ('base', 'graph', 'capture'); places = map(Path, sys.argv[1:])\n"
        "stage = OpenVinoAwq(format='openvino', bits=4, method='awq')\n"
        "*inputs, out = places; stage.run(dict(zip(names, inputs)), out)\n"
    )
    out = tmp_path / "out"
    out.mkdir()
    done = subprocess.run(
        ["taskset", "-c", cores, sys.executable, "-c", code, *map(str, inputs.values()), str(out)],
        env=stage_environment(os.environ, canonical=True),
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    once = built[str(case)]
    for name in ("openvino_model.xml", "openvino_model.bin"):
        assert (out / name).read_bytes() == (once / name).read_bytes(), name


def test_awq_computes_what_the_graph_computes_before_rounding(inputs: dict[str, Path]) -> None:
    """Factors are folded into norms, up_proj and v_proj: the function stays."""
    from scripts.backends.openvino.fold import fold, sites
    from scripts.backends.openvino.graph import open_model

    model = open_model(inputs["graph"])
    before = ov.Core().compile_model(model, "CPU", {"INFERENCE_PRECISION_HINT": "f32"})
    found = sites(model)
    assert len(found) == 3 * 4  # of each layer: two norms, up_proj, v_proj
    rng = np.random.default_rng(0)
    for site in found:
        fold(site, site.shared(np.exp(rng.normal(size=site.readers[0].columns)).astype(np.float32)))
    after = ov.Core().compile_model(model, "CPU", {"INFERENCE_PRECISION_HINT": "f32"})
    feeds = [np.arange(3, 43)[None], np.ones((1, 40), np.int64), np.zeros(1, np.int32)]
    np.testing.assert_allclose(after(feeds)["logits"], before(feeds)["logits"], atol=1e-3)


@pytest.mark.slow
def test_untied_embedding_is_compressed_by_itself(tiny_base: Path, tmp_path: Path) -> None:
    from scripts.backends.onnx.export import OnnxGraph
    from scripts.backends.openvino.formats.rtn import OpenVinoRtn

    base = write_other_base("untied", tmp_path / "base", tiny_base)
    nodes = {"base": base, "graph": tmp_path / "graph"}
    run_stage(OnnxGraph(), {"base": base}, nodes["graph"])
    run_stage(OpenVinoRtn(format="openvino", bits=8, method="rtn"), nodes, tmp_path / "out")
    assert measure_size("openvino", tmp_path / "out", base)[0].tensor_types["I8"] == 2 * 5 + 2
    tokens = np.arange(3, 40)
    wanted = torch_logits(base, tokens)[19:]
    assert divergence(wanted, logits(tmp_path / "out", tokens, 20)) < 2e-4


def test_width_that_no_block_divides_is_refused_or_left(
    tiny_graph: Path, tiny_base: Path, tmp_path: Path
) -> None:
    from scripts.backends.openvino.formats.rtn import OpenVinoRtn
    from scripts.backends.openvino.inventory import inventory

    options = {"format": "openvino", "bits": 4, "method": "rtn", "block_size": 256}
    inputs = {"base": tiny_base, "graph": tiny_graph}
    with pytest.raises(QuantmakeError, match="block_size 256 does not divide the input width of"):
        run_stage(OpenVinoRtn(**options), inputs, tmp_path / "one")
    run_stage(OpenVinoRtn(**options, on_unsupported="float"), inputs, tmp_path / "two")
    model = ov.Core().read_model(tmp_path / "two/openvino_model.xml")
    assert "block_size 256 does not divide its width" in model.get_rt_info([KEY]).astype(str)
    seen = inventory(tmp_path / "two")
    assert seen.types["F32"] == 12
    assert seen.notes[0].startswith("the method does not support 12 tensors; each stays in float")


def test_attention_that_openvino_does_not_compute_is_refused_by_name(
    tiny_graph: Path, tiny_base: Path, tmp_path: Path
) -> None:
    import onnx

    from scripts.backends.openvino.formats.rtn import OpenVinoRtn

    graph = tmp_path / "graph"
    graph.mkdir()
    model = onnx.load(tiny_graph / "model.onnx", load_external_data=False)
    node = next(one for one in model.graph.node if one.op_type == "GroupQueryAttention")
    kept = [one for one in node.attribute if one.name != "softcap"]
    del node.attribute[:]
    node.attribute.extend([*kept, onnx.helper.make_attribute("softcap", 50.0)])
    onnx.save(model, graph / "model.onnx")
    stage = OpenVinoRtn(format="openvino", bits=8, method="rtn")
    with pytest.raises(QuantmakeError) as caught:
        run_stage(stage, {"base": tiny_base, "graph": graph}, tmp_path / "out")
    assert str(caught.value) == (
        f"{node.name} caps its attention scores (softcap 50), which OpenVINO does not compute. "
        "Take the artefacts with format openvino out of the recipe."
    )


def test_operator_that_openvino_lacks_is_named(
    tiny_graph: Path, tiny_base: Path, tmp_path: Path
) -> None:
    import onnx

    from scripts.backends.openvino.formats.rtn import OpenVinoRtn

    graph = tmp_path / "graph"
    graph.mkdir()
    model = onnx.load(tiny_graph / "model.onnx")
    model.graph.node[5].op_type = "NoSuchOperator"
    onnx.save(model, graph / "model.onnx")
    stage = OpenVinoRtn(format="openvino", bits=8, method="rtn")
    with pytest.raises(QuantmakeError, match=r"OpenVINO can't read the graph .*NoSuchOperator"):
        run_stage(stage, {"base": tiny_base, "graph": graph}, tmp_path / "out")


def test_artefact_that_is_broken_is_not_committed(
    tiny_graph: Path, built: dict[str, Path], tmp_path: Path
) -> None:
    from scripts.backends.openvino.check import check_artifact, difference_of

    with pytest.raises(QuantmakeError, match=r"16 MatMuls should have been compressed, but of 16"):
        check_artifact(tiny_graph, tiny_graph, float_allowed=False)
    assert " tensors differ, first " in difference_of(built["4-rtn"], built["4-gptq"])
    assert difference_of(built["4-rtn"], built["4-rtn"]) == "the tensors are equal; nodes differ"


@pytest.mark.parametrize("symmetric", [False, True])
@pytest.mark.parametrize("bits", [4, 8])
@pytest.mark.parametrize("columns", [96, 160])
def test_compressed_weight_is_the_grid_s_in_float64(
    bits: int, symmetric: bool, columns: int
) -> None:
    from scripts.backends.conversion import to_blocks
    from scripts.backends.openvino.weights import compressed
    from scripts.methods.integer_grid import GridOptions
    from scripts.methods.rtn import rtn

    weight = torch.randn(7, columns, generator=torch.Generator().manual_seed(0))
    codes, grid = rtn(weight, GridOptions(bits, 32, symmetric))
    x = ov.opset13.parameter([-1, columns], ov.Type.f32, "x")
    stored = compressed(to_blocks((codes, grid), symmetric), "w")
    product = ov.opset13.matmul(x, stored, False, True)
    settings = {"INFERENCE_PRECISION_HINT": "f32", "DYNAMIC_QUANTIZATION_GROUP_SIZE": 0}
    compiled = ov.Core().compile_model(ov.Model([product], [x], "one"), "CPU", settings)
    rows = np.random.default_rng(1).normal(size=(5, columns)).astype(np.float32)
    wanted = rows.astype(np.float64) @ grid.dequantise(codes).numpy().T.astype(np.float64)
    np.testing.assert_allclose(compiled([rows])[0], wanted, atol=1e-4)


_AT_ONE_TIME = """
import os, sys, threading
from pathlib import Path
from scripts.backends.openvino.graph import open_model
sys.setswitchinterval(1e-6)
nodes = open_model(Path(sys.argv[1])).get_ops()
found = [one for one in nodes if one.get_type_name() == "Constant"]
begun = threading.Barrier(len(found))
def read(one):
    begun.wait()
    one.data
threads = [threading.Thread(target=read, args=(one,), daemon=True) for one in found]
for thread in threads: thread.start()
for thread in threads: thread.join()
"""


@pytest.mark.slow
def test_threads_that_read_weights_do_not_wait_for_one_another(
    inputs: dict[str, Path], tmp_path: Path
) -> None:
    """Without `_reach_numpy`, half of such processes hung."""
    run_stage(case_of("4-rtn", 1, INT4).stage(), inputs, tmp_path)
    for _ in range(3):
        subprocess.run([sys.executable, "-c", _AT_ONE_TIME, str(tmp_path)], check=True, timeout=60)
