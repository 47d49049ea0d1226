"""What stages say that they need, from the table and the sizes of a model."""

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
from scripts.engine.build.sources import source_digests
from scripts.evaluation.evaluate import Evaluate
from scripts.evaluation.reference import Reference
from scripts.evaluation.sensitivity import MeasureSensitivity
from scripts.footprints import FOOTPRINTS, Footprint, sum_of
from scripts.forecast import Forecast, Outline
from scripts.sources.fetch import Fetch
from scripts.stage import Stage

SHAPES = SIZES["3B"].tensors()
INPUTS = {"base": Forecast(0, 0, Outline.of(SHAPES))}
HERE = Path("quantized/x")


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
    assert nf4.alternatives(INPUTS, HERE, 1 << 30)[0].startswith(
        "{format: bitsandbytes, method: rtn} needs"
    )
    gguf = GgufFile(format="gguf", type="auto", like="q4_0", method="gptq")
    assert gguf.alternatives(INPUTS, HERE, 1 << 30)[0].startswith(
        "{format: gguf, type: q4_0} needs"
    )


def test_what_reads_the_model_holds_a_layer_of_it() -> None:
    """Not even half of it in float32; of 7 billion values, 6 GiB."""
    stages = [Capture(), Gradients(), Reference(lines=(0, 9)), MeasureSensitivity()]
    for stage in stages:
        said = stage.forecast(INPUTS, HERE)
        assert said is not None
        assert 1e9 < said.memory < 2 * Outline.of(SHAPES).values
        seven = stage.forecast({"base": Forecast(0, 0, Outline.of(SIZES["7B"].tensors()))}, HERE)
        assert seven is not None
        assert seven.memory < 6 * 2**30
    for stage in stages[1:]:
        assert len(stage.alternatives(INPUTS, HERE, 0)) == 1
    row = Evaluate(artifact="x", backend="onnx")
    said = row.forecast({"artifact": Forecast(0, 10**10)}, HERE)
    assert said is not None
    assert said.memory > 10**10


@pytest.mark.parametrize(("size", "times"), [("125M", 2.0), ("7B", 0.138)])
def test_base_is_evaluated_at_once_or_by_layer(size: str, times: float) -> None:
    outline = Outline.of(SIZES[size].tensors())
    disk = 2 * outline.values
    base = Evaluate(artifact="base", backend="pytorch")
    said = base.forecast({"artifact": Forecast(0, disk, outline)}, HERE)
    assert said is not None
    assert said.memory == pytest.approx(1.2e9 + times * disk, rel=0.1)
    assert base.forecast({"artifact": None}, HERE) is None


def test_gradients_of_a_small_model_are_computed_at_once() -> None:
    outline = Outline.of(SIZES["125M"].tensors())
    said = Gradients().forecast({"base": Forecast(0, 0, outline)}, HERE)
    assert said is not None
    assert said.memory > 4 * outline.values + 1.5e9
    assert said.disk == 0
    assert Gradients().forecast({"base": None}, HERE) is None


def memory(stage: Stage, *, experts: int) -> int:
    """What a stage needs for a layer with experts of 512 x 2048."""
    linears = {"gate_proj": (512, 2048), "up_proj": (512, 2048), "down_proj": (2048, 512)}
    shapes = {
        f"model.layers.0.mlp.experts.{expert}.{name}.weight": shape
        for expert in range(experts)
        for name, shape in linears.items()
    }
    said = stage.forecast({"base": Forecast(0, 0, Outline.of(shapes))}, HERE)
    assert said is not None
    return said.memory


def test_experts_do_not_take_part_in_one_weight_at_a_time() -> None:
    """Error compensation looks at one Hessian after the other; the capture has all of a layer."""
    gptq = Bitsandbytes4bit(format="bitsandbytes", method="gptq")
    assert memory(gptq, experts=64) == memory(gptq, experts=4)
    more = 60 * (4 * 3 * 512 * 2048 + 12 * (2048**2 + 512**2))
    assert memory(Capture(), experts=64) == memory(Capture(), experts=4) + more


def test_rows_add_up() -> None:
    both = sum_of("bitsandbytes", "bitsandbytes gptq")
    assert both.fixed == FOOTPRINTS["bitsandbytes"].fixed
    assert both.hessian == FOOTPRINTS["bitsandbytes gptq"].hessian
    assert sum_of() == Footprint()


def test_tuned_format_offers_the_same_without_tuning() -> None:
    tuned = OnnxGptq(format="onnx", bits=4, method="gptq", tune={})
    needed = tuned.forecast(INPUTS, HERE)
    assert needed is not None
    others = tuned.alternatives(INPUTS, HERE, needed.memory - 1)
    assert any(text.startswith("{format: onnx, bits: 4, method: gptq} needs") for text in others)


def test_table_is_in_no_key() -> None:
    assert not source_digests("scripts.footprints")
    assert not source_digests("scripts.tensors.outline")
