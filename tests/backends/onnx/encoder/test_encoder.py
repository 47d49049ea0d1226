"""A tiny BERT as ONNX: the graph and its gate, INT8 in all its ways, stock loaders."""

import shutil
import subprocess
from functools import partial
from pathlib import Path

import numpy as np
import onnx
import pytest

from scripts.backends.encoder import Encoder, Floats, embed_all, load_encoder
from scripts.backends.encoder_parity import refuse_other_embeddings
from scripts.backends.format import Format, all_formats
from scripts.backends.onnx.check import kinds_of_matmul
from scripts.backends.onnx.encoder.export import EncoderGraph
from scripts.backends.onnx.exporters import interpreter
from scripts.base.encoder import EncoderBase
from scripts.calibration.encoder_capture import EncoderCapture
from scripts.calibration.encoder_sentences import EncoderCalibration
from scripts.errors import QuantmakeError
from scripts.exec import run_stage
from scripts.sentences import read_sentences
from scripts.texts import load_tokenizer
from tests.conftest import Once
from tests.encoders import LAYERS, OTHER_FAMILIES, make_encoder, make_tiny_bert

pytestmark = pytest.mark.slow  # the gate runs in a process of its own
LINEARS = 6 * LAYERS


@pytest.fixture(scope="module")
def base(once: Once) -> Path:
    """The base of the tiny BERT."""
    source = once("bert", make_tiny_bert)
    return once("bert-base", partial(run_stage, EncoderBase(), {"source": source}))


@pytest.fixture(scope="module")
def graph(base: Path, once: Once) -> Path:
    """Its FP32 graph."""
    return once("bert-graph", partial(run_stage, EncoderGraph(), {"base": base}))


@pytest.fixture(scope="module")
def calibration(base: Path, tiny_text: Path, once: Once) -> Path:
    """Sentences of the tiny text."""
    stage = EncoderCalibration(lines=(150, 300), sentences=32, evaluation_lines=(0, 1))
    inputs = {"base": base, "text": tiny_text, "evaluation_text": tiny_text}
    return once("bert-calibration", partial(run_stage, stage, inputs))


@pytest.fixture(scope="module")
def capture(base: Path, calibration: Path, once: Once) -> Path:
    """What they feed to the linears."""
    inputs = {"base": base, "calibration": calibration}
    return once("bert-capture", partial(run_stage, EncoderCapture(), inputs))


FORMATS: list[Format] = [
    kind.model_validate({**selection, **more})
    for kind in all_formats("encoder")
    for selection in kind.selections()
    if selection["format"] == "onnx"
    for more in ({}, *([{"weights": "int8"}] if "weights" in kind.model_fields else []))
]


def embeddings(encoder: Encoder, calibration: Path, size: int) -> Floats:
    return embed_all(encoder, read_sentences(calibration).all[:24], size)


@pytest.fixture(scope="module")
def wanted(base: Path, calibration: Path) -> Floats:
    """By the base, one by one."""
    return embeddings(load_encoder("pytorch", base, threads=1), calibration, 1)


def test_graph_has_the_names_that_loaders_expect(graph: Path) -> None:
    model = onnx.load(graph / "model.onnx", load_external_data=False).graph
    assert [one.name for one in model.input] == ["input_ids", "attention_mask", "token_type_ids"]
    assert [one.name for one in model.output] == ["last_hidden_state"]
    assert kinds_of_matmul(graph) == {"float": LINEARS}
    assert {"MultiHeadAttention", "SkipLayerNormalization"} < {one.op_type for one in model.node}


def test_graph_is_the_same_again(graph: Path, base: Path, tmp_path: Path) -> None:
    EncoderGraph().run({"base": base}, tmp_path)
    for path in graph.iterdir():
        if path.is_file():
            assert path.read_bytes() == (tmp_path / path.name).read_bytes(), path.name


@pytest.mark.parametrize(
    "format", FORMATS, ids=lambda one: f"{one.label().split()[1]}-{getattr(one, 'weights', '')}"
)
def test_int8_embeds_as_the_base_does(
    format: Format, graph: Path, capture: Path, calibration: Path, wanted: Floats, tmp_path: Path
) -> None:
    run_stage(format, {"graph": graph, "capture": capture}, tmp_path)
    encoder = load_encoder("onnx", tmp_path, threads=1)
    alone, together = (embeddings(encoder, calibration, size) for size in (1, 24))
    assert (alone * wanted).sum(1).mean() > 0.98
    of_batch = (alone * together).sum(1).min()
    assert of_batch > (0.97 if "dynamic" in format.label() else 0.9999)
    kinds = kinds_of_matmul(tmp_path)
    assert kinds["float"] == 0
    assert kinds["8"] == {"rtn": LINEARS, "dynamic": LAYERS, "static": 0}[format.label().split()[1]]
    assert (tmp_path / "1_Pooling/config.json").is_file()


def test_smoothing_takes_error_away(
    graph: Path, capture: Path, calibration: Path, wanted: Floats, tmp_path: Path
) -> None:
    (kind,) = (one for one in all_formats("encoder") if "Static" in one.__name__)
    lost = []
    for smooth in (True, False):
        made = kind.model_validate(
            {"format": "onnx", "bits": 8, "method": "static", "smooth": smooth}
        )
        run_stage(made, {"graph": graph, "capture": capture}, tmp_path / str(smooth))
        encoder = load_encoder("onnx", tmp_path / str(smooth), threads=1)
        lost.append(1 - (embeddings(encoder, calibration, 24) * wanted).sum(1).mean())
    assert lost[0] < lost[1]


_STOCK = """
import sys, torch
from optimum.onnxruntime import ORTModelForFeatureExtraction
model = ORTModelForFeatureExtraction.from_pretrained(sys.argv[1])
ids = torch.tensor([[int(one) for one in sys.argv[2].split(",")]])
states = model(input_ids=ids, attention_mask=torch.ones_like(ids)).last_hidden_state
print(",".join(map(str, states[0].mean(0).tolist())))
"""


def test_stock_loader_takes_the_folder(graph: Path, wanted: Floats, calibration: Path) -> None:
    ids = ",".join(map(str, read_sentences(calibration).all[0]))
    command = [str(interpreter()), "-c", _STOCK, str(graph), ids]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    mean = np.array([float(one) for one in done.stdout.split(",")])
    assert mean @ wanted[0] / np.linalg.norm(mean) == pytest.approx(1, abs=1e-5)


@pytest.mark.parametrize("family", OTHER_FAMILIES)
def test_other_families(family: str, tmp_path: Path) -> None:
    """Through base, graph and its gate, to INT8 in blocks."""
    for name in ("source", "base", "graph", "int8"):
        (tmp_path / name).mkdir()
    make_encoder(family, tmp_path / "source")
    run_stage(EncoderBase(), {"source": tmp_path / "source"}, tmp_path / "base")
    EncoderGraph().run({"base": tmp_path / "base"}, tmp_path / "graph")
    refuse_other_embeddings("onnx", tmp_path / "graph", tmp_path / "base")
    rtn = next(one for one in FORMATS if " rtn" in one.label())
    run_stage(rtn, {"graph": tmp_path / "graph"}, tmp_path / "int8")


def broken(graph: Path, out: Path, edit: str) -> Path:
    """A copy of the graph in which something is wrong."""
    shutil.copytree(graph, out)
    model = onnx.load(out / "model.onnx")
    if edit == "swapped":
        reads = {one.name: one.input[1] for one in model.graph.node if one.op_type == "MatMul"}
        query, key = (
            next(at for name, at in reads.items() if f"layer.0/attention/self/{part}" in name)
            for part in ("query", "value")
        )
        held = {one.name: one for one in model.graph.initializer}
        held[query].raw_data, held[key].raw_data = held[key].raw_data, held[query].raw_data
    else:
        for node in model.graph.node:
            if node.op_type == "MultiHeadAttention":
                node.input[4] = ""
    (out / "model.onnx.data").unlink()
    onnx.save(model, out / "model.onnx")
    return out


@pytest.mark.parametrize(
    ("edit", "said"),
    [
        ("swapped", "FP32 graph (ONNX) does not embed as the base does: the cosine is "),
        ("mask", "FP32 graph (ONNX) gives a sentence another embedding where longer ones are in"),
    ],
)
def test_gate_refuses(graph: Path, base: Path, tmp_path: Path, edit: str, said: str) -> None:
    refuse_other_embeddings("onnx", graph, base)
    with pytest.raises(QuantmakeError) as caught:
        refuse_other_embeddings("onnx", broken(graph, tmp_path / "broken", edit), base)
    assert str(caught.value).startswith(said)
    assert "so nothing is. Take the artefacts of this format out of the recipe" in str(caught.value)


def test_calibration_shares_no_sentence_with_the_evaluation(
    base: Path, tiny_text: Path, tmp_path: Path
) -> None:
    stage = EncoderCalibration(lines=(0, 60), sentences=8, evaluation_lines=(30, 60))
    inputs = {"base": base, "text": tiny_text, "evaluation_text": tiny_text}
    stage.run(inputs, tmp_path)
    chosen = load_tokenizer(base).batch_decode(
        read_sentences(tmp_path).all, skip_special_tokens=True
    )
    scored = " ".join(tiny_text.read_text().splitlines()[30:60]).lower().replace(" ", "")
    assert not [one for one in chosen if one.replace(" ", "") in scored]
    stage = EncoderCalibration(lines=(30, 60), sentences=8, evaluation_lines=(30, 60))
    with pytest.raises(
        QuantmakeError, match="the calibration's text is too short: its lines hold 0"
    ):
        stage.run(inputs, tmp_path)
