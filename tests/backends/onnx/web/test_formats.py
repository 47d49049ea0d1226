"""Formats for browsers: the same model as their ONNX twins, by the names of transformers.js."""

import dataclasses
import json
import shutil
from collections.abc import Callable
from pathlib import Path

import numpy as np
import onnx
import onnxruntime_genai
import pytest

from scripts.backends.format import Format, all_formats
from scripts.backends.inventory import Inventory
from scripts.backends.onnx.export import OnnxGraph
from scripts.backends.onnx.loader import OrtModel
from scripts.backends.onnx.web import layout
from scripts.backends.onnx.web.fit import MOST_BYTES, refuse_misnamed
from scripts.backends.onnx.web.inventory import inventory
from scripts.backends.onnx.web.layout import layout_as_it_is, layout_of
from scripts.backends.site import Part
from scripts.errors import QuantmakeError
from scripts.exec import run_stage
from scripts.forecast import Forecast, Outline
from tests.onnx_models import cached_logits, digests, operators, write_other_base

WEB = {
    f"{one['bits']}-{one['method']}": (kind, one)
    for kind in all_formats()
    for one in kind.selections()
    if one["format"] == "onnx-web"
}
NAMES = {4: "model_q4.onnx", 8: "model_quantized.onnx"}
TOKENS = np.arange(5, 45, dtype=np.int64)


@pytest.fixture(scope="module")
def inputs(
    tiny_base: Path,
    tiny_graph: Path,
    tiny_calibration: Path,
    tiny_capture: Path,
    tiny_gradients: Path,
) -> dict[str, Path]:
    return {
        "base": tiny_base,
        "graph": tiny_graph,
        "calibration": tiny_calibration,
        "capture": tiny_capture,
        "gradients": tiny_gradients,
    }


Built = Callable[[str], Path]


@pytest.fixture(scope="module")
def built(inputs: dict[str, Path], tmp_path_factory: pytest.TempPathFactory) -> Built:
    """Builds the artefact of a name of WEB, or of its twin in ONNX as `NAME onnx`, once."""
    made: dict[str, Path] = {}

    def build(name: str) -> Path:
        if name not in made:
            made[name] = tmp_path_factory.mktemp("web") / "model"
            stage = stage_of(name)
            run_stage(stage, {one: inputs[one] for one in stage.needed()}, made[name])
        return made[name]

    return build


def stage_of(name: str) -> Format:
    """The format of a name of WEB, or its twin."""
    kind, selection = WEB[name.removesuffix(" onnx")]
    if name.endswith(" onnx"):
        (kind,) = (one for one in all_formats() if one is kind.__mro__[2])
        selection = {**selection, "format": "onnx"}
    return kind.model_validate(selection)


def test_every_onnx_format_has_a_twin() -> None:
    onnx_formats = {
        f"{one['bits']}-{one['method']}"
        for kind in all_formats()
        for one in kind.selections()
        if one["format"] == "onnx"
    }
    assert onnx_formats == WEB.keys()


@pytest.mark.slow
@pytest.mark.parametrize("name", WEB)
def test_it_computes_as_its_twin_does(name: str, built: Built) -> None:
    web, twin = (cached_logits(built(one), TOKENS, 30) for one in (name, f"{name} onnx"))
    np.testing.assert_array_equal(web, twin)


@pytest.mark.parametrize("name", WEB)
def test_files_have_the_names_of_transformers_js(name: str, built: Built) -> None:
    bits = 8 if name.startswith("8") else 4  # the narrowest, where they are mixed
    folder, graph = built(name), NAMES[bits]
    assert {path.name for path in (folder / "onnx").iterdir()} == {graph, f"{graph}_data"}
    config = json.loads((folder / "config.json").read_text())
    assert config["transformers.js_config"] == {
        "dtype": f"q{bits}",
        "use_external_data_format": {graph: 1},
    }
    assert config["model_type"] == "llama"
    assert not (folder / "model.onnx.data").exists()
    assert "GatherBlockQuantized" not in operators(folder)
    model = onnx.load(folder / "onnx" / graph)  # with its data, by the names in it
    assert all(tensor.HasField("raw_data") for tensor in model.graph.initializer)


def test_chat_template_is_where_transformers_js_reads_it(built: Built, tiny_base: Path) -> None:
    own = json.loads((tiny_base / "tokenizer_config.json").read_text())
    assert "chat_template" not in own
    written = json.loads((built("4-rtn") / "tokenizer_config.json").read_text())
    assert written == {**own, "chat_template": (tiny_base / "chat_template.jinja").read_text()}
    generation = (built("4-rtn") / "generation_config.json").read_bytes()
    assert generation == (tiny_base / "generation_config.json").read_bytes()


def test_onnxruntime_genai_loads_the_folder_too(built: Built) -> None:
    folder = built("4-rtn")
    model = OrtModel(folder, 1, 64)
    wanted = [int(model.prefill(TOKENS).argmax())]
    wanted += [int(model.decode(wanted[-1]).argmax()) for _ in range(1)]
    loaded = onnxruntime_genai.Model(str(folder))
    settings = onnxruntime_genai.GeneratorParams(loaded)
    settings.set_search_options(max_length=64, do_sample=False)
    generator = onnxruntime_genai.Generator(loaded, settings)
    generator.append_tokens(TOKENS.astype(np.int32))
    for _ in wanted:
        generator.generate_next_token()
    assert generator.get_sequence(0)[len(TOKENS) :].tolist() == wanted


def test_size_is_what_a_browser_downloads(built: Built) -> None:
    found: Inventory = inventory(built("4-rtn"))
    files = list((built("4-rtn") / "onnx").iterdir())
    assert found.weight_bytes == sum(path.stat().st_size for path in files)
    assert found.types["MatMulNBits 4-bit"] == 15


def test_same_bytes_again(built: Built, inputs: dict[str, Path], tmp_path: Path) -> None:
    stage = stage_of("4-rtn")
    run_stage(stage, {one: inputs[one] for one in stage.needed()}, tmp_path / "out")
    assert digests(tmp_path / "out") == digests(built("4-rtn"))


def test_an_onnx_folder_is_laid_out_without_a_copy(built: Built, tiny_base: Path) -> None:
    """What `doit demo` serves of an artefact in ONNX is what the format for browsers writes."""
    web, twin = built("4-rtn"), built("4-rtn onnx")
    made = layout_of(twin, tiny_base / "generation_config.json")
    written = layout_as_it_is(web)
    assert made.dtype == written.dtype == "q4"
    assert made.files.keys() == written.files.keys()
    for name, content in made.files.items():
        if isinstance(content, bytes):
            assert content == (web / name).read_bytes(), name
    data = made.files["onnx/model_q4.onnx_data"]
    assert data == Part(twin / "model.onnx.data", 0, (twin / "model.onnx.data").stat().st_size)


def test_the_float_graph_has_the_name_without_an_end(tiny_graph: Path) -> None:
    made = layout_of(tiny_graph)
    assert made.dtype == "fp32"
    assert {"onnx/model.onnx", "onnx/model.onnx_data"} <= made.files.keys()


def test_large_data_are_several_files(
    inputs: dict[str, Path], built: Built, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(layout, "LARGEST_FILE", 150_000)
    stage, out = stage_of("4-rtn"), tmp_path / "out"
    run_stage(stage, {one: inputs[one] for one in stage.needed()}, out)
    sizes = {path.name: path.stat().st_size for path in (out / "onnx").iterdir()}
    count = len(sizes) - 1
    assert count > 2
    assert sizes.keys() == {
        *("model_q4.onnx", "model_q4.onnx_data"),
        *(f"model_q4.onnx_data_{number}" for number in range(1, count)),
    }
    assert max(sizes.values()) <= 150_000
    config = json.loads((out / "config.json").read_text())["transformers.js_config"]
    assert config["use_external_data_format"] == {"model_q4.onnx": count}
    wanted, got = (cached_logits(one, TOKENS, 30) for one in (built("4-rtn"), out))
    np.testing.assert_array_equal(wanted, got)


@pytest.mark.parametrize(
    ("name", "said"),
    [
        ("onnx/model_q4.onnx_data", "would look for onnx/model_q4.onnx_data, which is not there"),
        ("onnx/model_q4.onnx", "would look for onnx/model_q4.onnx, which is not there"),
        ("tokenizer_config.json", "would look for tokenizer_config.json, which is not there"),
    ],
)
def test_a_wrong_name_is_refused(name: str, said: str, built: Built, tmp_path: Path) -> None:
    out = shutil.copytree(built("4-rtn"), tmp_path / "model")
    (out / name).rename(out / f"{name}.other")
    with pytest.raises(QuantmakeError) as caught:
        refuse_misnamed(out)
    assert str(caught.value) == f"model: transformers.js {said}"


def test_data_that_would_not_be_handed_over_are_refused(built: Built, tmp_path: Path) -> None:
    out = shutil.copytree(built("4-rtn"), tmp_path / "model")
    config = json.loads((out / "config.json").read_text())
    config["transformers.js_config"]["use_external_data_format"] = {}
    (out / "config.json").write_text(json.dumps(config))
    with pytest.raises(QuantmakeError) as caught:
        refuse_misnamed(out)
    assert str(caught.value) == (
        "model: onnx/model_q4.onnx reads model_q4.onnx_data, and transformers.js hands it none"
    )


def test_a_model_that_it_does_not_know_is_refused_before_work(
    inputs: dict[str, Path], tmp_path: Path
) -> None:
    graph = shutil.copytree(inputs["graph"], tmp_path / "graph")
    config = json.loads((graph / "config.json").read_text())
    (graph / "tokenizer.json").unlink()
    (graph / "config.json").write_text(json.dumps({**config, "model_type": "mamba"}))
    with pytest.raises(QuantmakeError) as caught:
        run_stage(stage_of("4-rtn"), {**inputs, "graph": graph}, tmp_path / "out")
    said = str(caught.value)
    assert said.startswith(
        "graph can't run in a browser with transformers.js: the model_type 'mamba' is none that it "
        "is known to run (cohere, falcon, "
    )
    assert said.endswith(
        "; it has no tokenizer.json. Artefacts with format onnx run in onnxruntime instead."
    )
    assert list((tmp_path / "out").iterdir()) == []
    (graph / "config.json").write_text(json.dumps({**config, "multi_query": True}))
    with pytest.raises(QuantmakeError, match=r"`multi_query` in config\.json, for which it asks"):
        layout_of(graph)
    (graph / "config.json").write_text(json.dumps({**config, "num_hidden_layers": 2}))
    with pytest.raises(QuantmakeError, match=r"asks for past_key_values\.2\.key, past_key_values"):
        layout_of(graph)
    (graph / "config.json").write_text(json.dumps({**config, "num_hidden_layers": 4}))
    with pytest.raises(QuantmakeError, match=r"lacks the inputs past_key_values\.3\.key"):
        layout_of(graph)


def test_more_than_webassembly_addresses_is_refused_before_anything_runs() -> None:
    shapes = {"model.layers.0.mlp.up_proj.weight": (1 << 16, 1 << 18)}
    said = Forecast(0, 0, Outline.of(shapes))
    refusal = stage_of("4-rtn").refusal({"graph": said, "base": said})
    assert MOST_BYTES == 1 << 32
    assert refusal.endswith(
        "GiB, and a browser's WebAssembly addresses 4 GiB in all; take a smaller model, or fewer "
        "bits"
    )
    small = dataclasses.replace(said, about=Outline.of({"model.layers.0.a.weight": (64, 64)}))
    assert stage_of("4-rtn").refusal({"graph": small, "base": small}) == ""


@pytest.mark.slow
@pytest.mark.parametrize("kind", ["untied", "gpt2"])
def test_other_families_are_laid_out_too(kind: str, tiny_base: Path, tmp_path: Path) -> None:
    """An embedding of its own; what optimum traced, whose config counts layers otherwise."""
    base = write_other_base(kind, tmp_path / "base", tiny_base)
    run_stage(OnnxGraph(), {"base": base}, tmp_path / "graph")
    nodes = {"base": base, "graph": tmp_path / "graph"}
    run_stage(stage_of("8-rtn"), nodes, tmp_path / "web")
    run_stage(stage_of("8-rtn onnx"), nodes, tmp_path / "onnx")
    web, twin = (cached_logits(tmp_path / one, TOKENS, 30) for one in ("web", "onnx"))
    np.testing.assert_array_equal(web, twin)
