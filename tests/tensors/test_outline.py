"""The sizes of a model from headers alone, and what stages say that they need of them."""

from math import prod
from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file

from scripts.backends.bitsandbytes.format import Bitsandbytes4bit
from scripts.backends.format import Format, all_formats
from scripts.backends.gguf.format import GgufFile
from scripts.backends.onnx.formats.gptq import OnnxGptq
from scripts.base.make_base import Base
from scripts.benchmarks.seeded_model import SIZES
from scripts.calibration.capture import Capture
from scripts.calibration.gradients import Gradients
from scripts.evaluation.evaluate import Evaluate
from scripts.evaluation.reference import Reference
from scripts.forecast import Forecast
from scripts.sources.fetch import Fetch
from scripts.tensors.outline import Outline, outline_of

SHAPES = SIZES["3B"].tensors()
INPUTS = {"base": Forecast(0, 0, Outline.of(SHAPES))}
HERE = Path("quantized/x")


def test_outline_counts_values() -> None:
    outline = Outline.of(SHAPES)
    assert outline.values == sum(map(prod, SHAPES.values()))
    assert outline.layers == 28
    assert outline.layer * 28 == outline.layered == outline.values - 2 * 32000 * 3072 - 3072
    assert (outline.largest, outline.rows) == (32000 * 3072, 32000)
    assert (outline.narrow, outline.wide) == (3072, 8192)
    assert outline.hessians == 3 * 3072**2 + 8192**2


def test_outline_is_read_from_all_shards(tmp_path: Path) -> None:
    save_file({"model.embed_tokens.weight": torch.zeros(8, 4)}, tmp_path / "a.safetensors")
    save_file({"model.layers.0.mlp.up_proj.weight": torch.zeros(6, 4)}, tmp_path / "b.safetensors")
    outline = outline_of(tmp_path)
    assert outline is not None
    assert (outline.values, outline.layered, outline.layers) == (56, 24, 1)


@pytest.mark.parametrize("bytes_", [b"", b"12345678", b"\xff" * 64])
def test_what_can_not_be_read_has_no_outline(tmp_path: Path, bytes_: bytes) -> None:
    (tmp_path / "model.safetensors").write_bytes(bytes_)
    assert outline_of(tmp_path) is None
    assert outline_of(tmp_path / "nothing") is None


def test_source_on_this_machine_says_what_comes_after_it_before_it_is_fetched(
    tmp_path: Path,
) -> None:
    save_file(
        {"model.layers.0.up.weight": torch.zeros(6, 4).half()}, tmp_path / "model.safetensors"
    )
    fetch = Fetch(source=f"path:{tmp_path}", sha256="0" * 64)
    said = fetch.forecast({}, Path("cache/sources/none"))
    assert said is not None
    assert said.disk == (tmp_path / "model.safetensors").stat().st_size
    base = Base().forecast({"source": said}, HERE)
    assert base is not None
    assert base.disk == 48
    assert Fetch(source="hf:org/name@" + "0" * 40).forecast({}, HERE) is None
    assert Base().forecast({"source": None}, HERE) is None


@pytest.mark.parametrize("kind", all_formats())
def test_every_format_says_what_it_needs(kind: type[Format]) -> None:
    options = {"type": "q4_0"} if kind.__name__ == "GgufFile" else {}
    for selection in kind.selections():
        stage = kind.model_validate({**selection, **options})
        said = stage.forecast(INPUTS, HERE)
        assert said is not None
        assert 0.2e9 < said.memory < 20e9
        assert 0.2 < said.disk / (2 * Outline.of(SHAPES).values) < 0.7
        assert stage.forecast({}, HERE) is None


def test_methods_that_fit_are_named() -> None:
    gptq = OnnxGptq(format="onnx", bits=4, method="gptq")
    needed = gptq.forecast(INPUTS, HERE)
    assert needed is not None
    others = gptq.alternatives(INPUTS, HERE, needed.memory - 1)
    assert any(text.startswith("{format: onnx, bits: 4, method: rtn} needs") for text in others)
    assert not any("gptq" in text for text in others)
    assert gptq.alternatives(INPUTS, HERE, 1000) == []
    nf4 = Bitsandbytes4bit(format="bitsandbytes", method="gptq")
    assert nf4.alternatives(INPUTS, HERE, 1 << 30)[0].startswith("method: rtn needs")
    gguf = GgufFile(format="gguf", type="auto", like="q4_0", method="gptq")
    assert gguf.alternatives(INPUTS, HERE, 1 << 30)[0].startswith("type: q4_0 without method")


def test_stages_that_hold_the_whole_model_say_so() -> None:
    whole = 4 * Outline.of(SHAPES).values
    for stage in (Gradients(), Reference(lines=(0, 9))):
        said = stage.forecast(INPUTS, HERE)
        assert said is not None
        assert said.memory > whole
        assert len(stage.alternatives(INPUTS, HERE, 0)) == 1
    capture = Capture().forecast(INPUTS, HERE)
    assert capture is not None
    assert capture.memory < whole / 2
    row = Evaluate(artifact="x", backend="onnx")
    said = row.forecast({"artifact": Forecast(0, 10**10)}, HERE)
    assert said is not None
    assert said.memory > 10**10
