"""The fp32 graph: the base's own logits, a KV cache, the same bytes everywhere, clear errors."""

import importlib
import importlib.util
import shutil
from collections.abc import Callable
from importlib import metadata
from pathlib import Path

import numpy as np
import onnx
import onnxruntime_genai
import pytest
from onnx import TensorProto, helper

from scripts.backends.float_gate import disagreement
from scripts.backends.onnx import builder_families, export
from scripts.backends.onnx.export import OnnxGraph
from scripts.backends.onnx.graph import embedding, head, linears, open_graph
from scripts.backends.onnx.mapped_builder import BUILDER
from scripts.base.make_base import Base
from scripts.errors import QuantmakeError
from scripts.exec import run_stage
from scripts.token_windows import read_windows
from tests.families import make_family
from tests.onnx_models import cached_logits, digests, operators, torch_logits, write_other_base

pytestmark = pytest.mark.slow  # each export is a process


@pytest.fixture(scope="module")
def tokens(tiny_calibration: Path) -> np.ndarray:
    return read_windows(tiny_calibration)[0, :40]


@pytest.fixture(scope="module")
def gpt2(tiny_base: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_other_base("gpt2", tmp_path_factory.mktemp("gpt2") / "base", tiny_base)


def test_prefill_and_decode_steps_give_the_logits_of_torch(
    tiny_base: Path, tiny_graph: Path, tokens: np.ndarray
) -> None:
    wanted = torch_logits(tiny_base, tokens)[23:]
    np.testing.assert_allclose(cached_logits(tiny_graph, tokens, 24), wanted, atol=1e-3)


def test_attention_is_fused_and_the_tied_weight_is_stored_once(tiny_graph: Path) -> None:
    assert operators(tiny_graph).count("GroupQueryAttention") == 3
    model = open_graph(tiny_graph)
    found, last = embedding(model), head(model)
    assert found is not None
    assert last is not None
    assert found[1] is last.node.inputs[1]


def test_onnxruntime_genai_loads_it(tiny_graph: Path) -> None:
    onnxruntime_genai.Model(str(tiny_graph))


def test_another_folder_gives_the_same_bytes_and_no_path(
    tiny_base: Path, tiny_graph: Path, tmp_path: Path
) -> None:
    base = shutil.copytree(tiny_base, tmp_path / "elsewhere")
    run_stage(OnnxGraph(), {"base": base}, tmp_path / "deep/er/graph")
    assert digests(tmp_path / "deep/er/graph") == digests(tiny_graph)
    assert [path.name for path in (tmp_path / "deep/er").iterdir()] == ["graph"]
    for path in (tmp_path / "deep/er/graph").iterdir():
        assert str(tmp_path).encode() not in path.read_bytes()


def test_optimum_exports_what_the_builder_does_not_know(
    gpt2: Path, tokens: np.ndarray, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    run_stage(OnnxGraph(), {"base": gpt2}, tmp_path / "graph")
    said = capfd.readouterr().out
    for tool in ("onnxruntime-genai's builder", "its version 0.11.4"):
        assert f"{tool} can't export this model: " in said
    wanted = torch_logits(gpt2, tokens)[23:]
    np.testing.assert_allclose(cached_logits(tmp_path / "graph", tokens, 24), wanted, atol=1e-3)
    model = open_graph(tmp_path / "graph")
    assert len(linears(model)) == 2 * 4 + 1
    assert "Gemm" not in operators(tmp_path / "graph")
    found, last = embedding(model), head(model)
    assert found is not None
    assert last is not None
    assert found[1] is last.node.inputs[1]
    run_stage(OnnxGraph(), {"base": gpt2}, tmp_path / "other/graph")
    assert digests(tmp_path / "other/graph") == digests(tmp_path / "graph")


def test_unknown_architecture_is_named(tiny_base: Path, tmp_path: Path) -> None:
    base = write_other_base("mamba", tmp_path / "base", tiny_base)
    with pytest.raises(QuantmakeError) as caught:
        run_stage(OnnxGraph(), {"base": base}, tmp_path / "graph")
    text = str(caught.value)
    assert text.startswith(
        "neither onnxruntime-genai's builder, today's or 0.11.4, nor optimum could export the "
        "architecture "
        "MambaForCausalLM (base/config.json, model_type 'mamba'). Take the artefacts with format "
        "onnx out of the recipe.\n  onnxruntime-genai's builder: NotImplementedError: "
    )
    assert "\n  optimum: ValueError: " in text
    assert list((tmp_path / "graph").iterdir()) == []


def test_older_exporters_are_left_alone_where_none_is_needed(
    tiny_base: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(export, "interpreter", lambda: pytest.fail("nothing needs it"))
    run_stage(OnnxGraph(), {"base": tiny_base}, tmp_path / "graph")


def test_graph_names_the_builder_and_no_commit_of_a_folder(tiny_graph: Path) -> None:
    made = onnx.load(tiny_graph / "model.onnx", load_external_data=False)
    assert made.producer_version == metadata.version("onnxruntime-genai")


@pytest.mark.parametrize(
    ("family", "tool"),
    [
        *((one, export._build) for one in ("mistral-window", "smollm3", "gemma3", "gpt-oss")),
        *((one, export._build) for one in ("lfm2-moe", "qwen3.5", "ministral3")),
        *((one, export._trace) for one in ("olmo3", "starcoder2", "mixtral")),
    ],
)
def test_families_that_a_tool_exports_with_our_help_alone(
    family: str, tool: Callable[[Path, Path], str], tmp_path: Path
) -> None:
    make_family(family, tmp_path / "source")
    run_stage(Base(), {"source": tmp_path / "source"}, tmp_path / "base")
    log = tool(tmp_path / "base", tmp_path / "graph")
    assert (tmp_path / "graph/model.onnx").is_file(), log
    assert disagreement("onnx", tmp_path / "graph", tmp_path / "base") == ""


def test_every_expert_is_in_a_traced_graph(tmp_path: Path) -> None:
    """Of 64 experts, the few random tokens that optimum traces with miss some."""
    make_family("deepseek-v3", tmp_path / "source", n_routed_experts=64, moe_intermediate_size=16)
    run_stage(Base(), {"source": tmp_path / "source"}, tmp_path / "base")
    log = export._trace(tmp_path / "base", tmp_path / "graph")
    assert (tmp_path / "graph/model.onnx").is_file(), log
    assert disagreement("onnx", tmp_path / "graph", tmp_path / "base") == ""


@pytest.mark.parametrize(
    ("module", "text", "what"),
    [
        ("base", '"past_sequence_length", "kv_cache_dim"]', "the width of heads in shapes"),
        ("base", '["git", "rev-parse", "HEAD"]', "the commit in shapes"),
        ("base", 'self.input_names["position_ids"]),', "layers without rotary positions in turn"),
        ("base", "assert 0 < low < high < d_half - 1", "YaRN in frequencies_of"),
        ("gemma", "config.rope_local_base_freq", "Gemma 3's words in _tell_rotary_positions"),
        ("base", 'else ["full_attention"] * self.num_layers', "windows in _tell_windows"),
    ],
)
def test_the_builder_still_has_its_faults(module: str, text: str, what: str) -> None:
    """Where one is gone, what mends it in mapped_builder.py and builder_families.py can go."""
    importlib.import_module("onnxruntime_genai.models")
    source = Path(str(importlib.import_module(f"builders.{module}").__file__)).read_text()
    assert text in source, what


def test_the_builder_still_knows_some_families_by_other_names_alone() -> None:
    source = Path(str(importlib.util.find_spec(BUILDER).origin)).read_text()
    for ours, known in builder_families._KNOWN_AS.items():
        assert f'"{ours}"' not in source
        assert f'"{known}"' in source


def test_graph_without_a_cache_is_refused(tmp_path: Path) -> None:
    ids = helper.make_tensor_value_info("input_ids", TensorProto.INT64, ["n"])
    logits = helper.make_tensor_value_info("logits", TensorProto.FLOAT, ["n"])
    cast = helper.make_node("Cast", ["input_ids"], ["logits"], to=TensorProto.FLOAT)
    graph = helper.make_graph([cast], "plain", [ids], [logits])
    onnx.save(helper.make_model(graph, ir_version=10), tmp_path / "model.onnx")
    with pytest.raises(QuantmakeError) as caught:
        OnnxGraph().check({}, tmp_path)
    assert str(caught.value) == (
        "the exported graph lacks attention_mask, past_key_values.0.key; it has no KV cache that "
        "the formats understand"
    )
