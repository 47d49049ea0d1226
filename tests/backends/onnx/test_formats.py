"""Every ONNX format: close to the float graph, loadable, small, the same bytes everywhere."""

import shutil
from collections.abc import Callable
from functools import partial
from pathlib import Path

import numpy as np
import onnx
import onnx_ir as ir
import onnxruntime_genai
import pytest

from scripts.backends.onnx.export import OnnxGraph
from scripts.backends.onnx.graph import open_graph, write_model
from scripts.backends.onnx.loader import OrtModel
from scripts.errors import QuantmakeError
from scripts.evaluation.score import measure_size
from scripts.exec import run_stage
from scripts.token_windows import read_windows
from tests.cases import Case, choices
from tests.onnx_models import (
    TOKENIZER_FILES,
    cached_logits,
    digests,
    divergence,
    operators,
    write_other_base,
)

case_of = partial(Case, "onnx")


NBITS = {"MatMulNBits": 16, "GatherBlockQuantized": 1, "MatMul": 0}
DYNAMIC = {"DynamicQuantizeMatMul": 12, "MatMulNBits": 4, "GatherBlockQuantized": 1, "MatMul": 0}
MIXED = {"MatMul": 0, "GatherBlockQuantized": 1}
STATIC = {"MatMul": 12, "QuantizeLinear": 9, "MatMulNBits": 4, "GatherBlockQuantized": 1}
CASES = [
    case_of("8-rtn", 2e-4, NBITS),
    case_of("8-rtn", 4e-4, NBITS, {"block_size": 128, "accuracy_level": 0}),
    case_of("8-dynamic", 2e-2, DYNAMIC),
    case_of(
        "8-dynamic",
        2e-2,
        {**DYNAMIC, "MatMulNBits": 0, "DynamicQuantizeMatMul": 16},
        {"weight_only": []},
    ),
    case_of("8-dynamic", 2e-2, DYNAMIC, {"smooth": False}),
    case_of("8-dynamic", 2e-2, DYNAMIC, {"weights": "int8"}),
    case_of("8-static", 2e-2, STATIC),
    case_of("8-static", 2e-2, STATIC, {"weights": "int8"}),
    case_of("8-static", 2e-2, STATIC, {"smooth": False}),
    case_of("8-static", 5e-2, STATIC, {"per_channel": False, "percentile": 100, "windows": 2}),
    case_of("4-rtn", 5e-2, NBITS),
    case_of("4-rtn", 1e-1, NBITS, {"head_bits": 4, "block_size": 64}),
    case_of("8-gptq", 2e-4, NBITS),
    case_of("8-gptq", 2e-4, NBITS, {"symmetric": False, "block_size": 64, "rounds": 0}),
    case_of("4-gptq", 1.5e-2, NBITS),
    case_of("4-gptq", 6e-2, NBITS, {"symmetric": True, "block_size": 64, "head_bits": 4}),
    case_of("auto-gptq", 1.5e-2, MIXED),
    case_of("auto-gptq", 6e-4, MIXED, {"max_bytes": 700_000}),
    case_of("4-hqq", 3e-2, NBITS),
    case_of("4-hqq", 6e-2, NBITS, {"symmetric": True, "block_size": 64, "head_bits": 4}),
    case_of("8-hqq", 2e-4, NBITS),
    case_of("8-hqq", 2e-4, NBITS, {"symmetric": False, "block_size": 64}),
    case_of("8-awq", 2e-4, NBITS),
    case_of("8-awq", 2e-4, NBITS, {"symmetric": False, "block_size": 64}),
    case_of("4-awq", 3e-2, NBITS),
    case_of("4-awq", 6e-2, NBITS, {"symmetric": True, "block_size": 64, "head_bits": 4}),
]
DEFAULTS = [case for case in CASES if not case.options]


@pytest.fixture(scope="module")
def inputs(
    tiny_graph: Path, tiny_calibration: Path, tiny_capture: Path, tiny_gradients: Path
) -> dict[str, Path]:
    return {
        "graph": tiny_graph,
        "calibration": tiny_calibration,
        "capture": tiny_capture,
        "gradients": tiny_gradients,
    }


@pytest.fixture(scope="module")
def built(
    inputs: dict[str, Path], tmp_path_factory: pytest.TempPathFactory
) -> Callable[[Case], Path]:
    """Builds a case once."""
    made: dict[str, Path] = {}

    def build(case: Case) -> Path:
        if str(case) not in made:
            made[str(case)] = tmp_path_factory.mktemp("onnx") / "model"
            stage = case.stage()
            run_stage(stage, {name: inputs[name] for name in stage.needs}, made[str(case)])
        return made[str(case)]

    return build


@pytest.fixture(scope="module")
def tokens(tiny_calibration: Path) -> np.ndarray:
    """A window that calibration by 4 windows does not see."""
    return read_windows(tiny_calibration)[7]


def test_every_format_has_a_case() -> None:
    assert {case.name for case in DEFAULTS} == choices("onnx").keys()


@pytest.mark.parametrize("case", CASES, ids=str)
def test_logits_stay_close_to_the_float_graph(
    case: Case, built: Callable[[Case], Path], tiny_graph: Path, tokens: np.ndarray
) -> None:
    wanted, got = (cached_logits(folder, tokens, 40) for folder in (tiny_graph, built(case)))
    assert 0 < divergence(wanted, got) < case.most


@pytest.mark.parametrize("case", CASES, ids=str)
def test_every_weight_is_stored_as_intended(case: Case, built: Callable[[Case], Path]) -> None:
    found = operators(built(case))
    assert {kind: found.count(kind) for kind in case.types} == case.types
    large = [
        value.name
        for value in open_graph(built(case)).graph.initializers.values()
        if value.const_value is not None
        and value.const_value.dtype == ir.DataType.FLOAT
        and value.const_value.size >= 128 * 128
        and value.name not in ("cos_cache", "sin_cache")
    ]
    assert large == []


@pytest.mark.parametrize("case", DEFAULTS, ids=str)
def test_embedding_and_head_are_one_tensor(case: Case, built: Callable[[Case], Path]) -> None:
    graph = open_graph(built(case)).graph
    read = next(node for node in graph if node.op_type == "GatherBlockQuantized")
    product = next(node for node in graph if node.outputs[0].name == "logits")
    table = read.inputs[0]
    assert table is not None
    view = table.producer()
    assert view is not None
    assert view.inputs[0] is product.inputs[1]
    assert read.inputs[2] is product.inputs[2]
    vocabulary = [v for v in graph.initializers.values() if v.shape and v.shape[0] == 512]
    assert len(vocabulary) == 2


@pytest.mark.parametrize("case", DEFAULTS, ids=str)
def test_onnxruntime_genai_continues_as_onnxruntime_does(
    case: Case, built: Callable[[Case], Path], tokens: np.ndarray
) -> None:
    folder = built(case)
    for name in (*TOKENIZER_FILES, "config.json", "genai_config.json", "model.onnx.data"):
        assert (folder / name).is_file()
    model = OrtModel(folder, 2, 64)
    logits = model.prefill(tokens[:20])
    wanted = []
    for _ in range(8):
        wanted.append(int(logits.argmax()))
        logits = model.decode(wanted[-1])
    loaded = onnxruntime_genai.Model(str(folder))
    settings = onnxruntime_genai.GeneratorParams(loaded)
    settings.set_search_options(max_length=64, do_sample=False)
    generator = onnxruntime_genai.Generator(loaded, settings)
    generator.append_tokens(tokens[:20].astype(np.int32))
    for _ in wanted:
        generator.generate_next_token()
    assert generator.get_sequence(0)[20:].tolist() == wanted
    text = (folder / "tokenizer.json").read_bytes()
    assert onnxruntime_genai.Tokenizer(loaded).encode("the miller").size > 0, text[:40]


@pytest.mark.parametrize("case", DEFAULTS, ids=str)
def test_same_bytes_in_another_folder_with_other_threads(
    case: Case,
    built: Callable[[Case], Path],
    inputs: dict[str, Path],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("scripts.workers.available_cores", lambda: 1)
    stage = case.stage()
    moved = {name: shutil.copytree(inputs[name], tmp_path / name) for name in stage.needs}
    run_stage(stage, moved, tmp_path / "out")
    assert digests(tmp_path / "out") == digests(built(case))
    for path in (tmp_path / "out").iterdir():
        assert str(tmp_path).encode() not in path.read_bytes()


@pytest.mark.parametrize("head_bits", [4, 8])
def test_head_and_embedding_take_the_bits_of_the_head(
    head_bits: int, built: Callable[[Case], Path]
) -> None:
    folder = built(case_of("4-rtn", 1, {}, {"head_bits": head_bits}))
    bits = {
        node.name: node.attributes["bits"].as_int()
        for node in open_graph(folder).graph
        if node.op_type in ("MatMulNBits", "GatherBlockQuantized")
    }
    wide = {name for name, count in bits.items() if count == head_bits}
    last = {f"/lm_head/MatMul_Q{head_bits}", f"/model/embed_tokens/Gather_Q{head_bits}"}
    assert wide == (last if head_bits == 8 else bits.keys())
    assert set(bits.values()) <= {4, head_bits}


def test_untied_embedding_gets_blocks_of_its_own(tiny_base: Path, tmp_path: Path) -> None:
    base = write_other_base("untied", tmp_path / "base", tiny_base)
    run_stage(OnnxGraph(), {"base": base}, tmp_path / "graph")
    run_stage(DEFAULTS[0].stage(), {"graph": tmp_path / "graph"}, tmp_path / "out")
    graph = open_graph(tmp_path / "out").graph
    vocabulary = [v for v in graph.initializers.values() if v.shape and v.shape[0] == 512]
    assert len(vocabulary) == 4
    ids = np.arange(30, dtype=np.int64)
    wanted, got = (cached_logits(tmp_path / name, ids, 20) for name in ("graph", "out"))
    assert 0 < divergence(wanted, got) < 1e-4


@pytest.mark.parametrize("name", choices("onnx"))
def test_block_size_or_pattern_that_does_not_fit_writes_nothing(
    name: str, inputs: dict[str, Path], tmp_path: Path
) -> None:
    refused = {"block_size": 256, "weight_only": ["nowhere"], "max_bytes": 1000}
    known = choices("onnx")[name][0].model_fields
    options = dict([next(pair for pair in refused.items() if pair[0] in known)])
    stage = case_of(name, 1, {}, options).stage()
    said = "block_size 256 does not divide|'nowhere'|the smallest blocks"
    with pytest.raises(QuantmakeError, match=said):
        run_stage(stage, inputs, tmp_path / "out")
    assert list((tmp_path / "out").iterdir()) == []


@pytest.mark.parametrize(("on_unsupported", "floats"), [("rtn", 0), ("float", 12)])
@pytest.mark.parametrize("name", ["4-gptq", "4-awq", "4-hqq", "8-gptq", "8-awq", "8-hqq"])
def test_unsupported_matmuls_do_as_the_recipe_says(
    name: str,
    on_unsupported: str,
    floats: int,
    inputs: dict[str, Path],
    tiny_base: Path,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    stage = case_of(name, 1, {}, {"block_size": 256, "on_unsupported": on_unsupported}).stage()
    run_stage(stage, inputs, tmp_path / "out")
    assert operators(tmp_path / "out").count("MatMul") == floats
    said = capsys.readouterr().out
    doing = "stays in float" if on_unsupported == "float" else "is rounded to nearest"
    line = f"/model/layers.2/mlp/up_proj/MatMul {doing}: block_size 256 does not divide its width"
    assert line in said.splitlines()
    assert said.count(doing) == 12
    _, notes = measure_size("onnx", tmp_path / "out", tiny_base)
    assert [note.count("/MatMul") for note in notes] == [12]
    assert doing in notes[0]


def damage(folder: Path, change: Callable[[ir.Model], None]) -> None:
    """Rewrite a folder's graph after a change."""
    model = open_graph(folder)
    for value in model.graph.initializers.values():
        if value.const_value is not None:
            value.const_value = ir.tensor(value.const_value.numpy().copy(), name=value.name)
    change(model)
    write_model(model, folder)


@pytest.mark.parametrize("case", DEFAULTS, ids=str)
def test_check_names_scales_that_are_not_finite(
    case: Case, built: Callable[[Case], Path], inputs: dict[str, Path], tmp_path: Path
) -> None:
    out = shutil.copytree(built(case), tmp_path / "model")
    name = "lm_head.MatMul.weight_scales"

    def change(model: ir.Model) -> None:
        old = model.graph.initializers[name].const_value
        assert old is not None
        broken = old.numpy().copy()
        broken[0] = np.nan
        model.graph.initializers[name].const_value = ir.tensor(broken, name=name)

    damage(out, change)
    with pytest.raises(QuantmakeError) as caught:
        case.stage().check(inputs, out)
    assert str(caught.value) == f"model: scales that are not finite: {name}"


def test_check_counts_what_was_quantised(
    built: Callable[[Case], Path], inputs: dict[str, Path], tiny_graph: Path
) -> None:
    with pytest.raises(QuantmakeError) as caught:
        DEFAULTS[0].stage().check(inputs, tiny_graph)
    assert str(caught.value) == (
        f"{tiny_graph.name}: 16 MatMuls should have been quantised, but it holds 16 float"
    )


def test_check_refuses_what_does_not_load(
    built: Callable[[Case], Path], inputs: dict[str, Path], tmp_path: Path
) -> None:
    out = shutil.copytree(built(DEFAULTS[0]), tmp_path / "model")
    proto = onnx.load(out / "model.onnx", load_external_data=False)
    next(node for node in proto.graph.node if node.op_type == "Sigmoid").op_type = "NoSuch"
    onnx.save(proto, out / "model.onnx")
    with pytest.raises(QuantmakeError, match=r"model does not load \(onnx\): .*NoSuch"):
        DEFAULTS[0].stage().check(inputs, out)


def test_check_refuses_logits_that_are_not_finite(
    built: Callable[[Case], Path], inputs: dict[str, Path], tmp_path: Path
) -> None:
    out = shutil.copytree(built(DEFAULTS[0]), tmp_path / "model")
    name = "model.layers.1.post_attention_layernorm.weight"

    def change(model: ir.Model) -> None:
        broken = np.full(128, np.nan, np.float32)
        model.graph.initializers[name].const_value = ir.tensor(broken, name=name)

    damage(out, change)
    with pytest.raises(QuantmakeError, match="gives logits that are NaN or infinite"):
        DEFAULTS[0].stage().check(inputs, out)
