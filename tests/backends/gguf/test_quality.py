"""GGUF with an importance matrix, with types chosen by size, and with better rounding."""

import ctypes
import re
from pathlib import Path
from typing import Any, get_args

import numpy as np
import pytest
import torch
from gguf import GGUFReader, dequantize
from llama_cpp._ggml import libggml
from pydantic import ValidationError

from scripts.backends.gguf.blocks import BLOCK_TYPES
from scripts.backends.gguf.format import FLOAT_TYPES, GPTQ_TYPES, GgufFile, GgufType
from scripts.backends.gguf.imatrix import mean_squares
from scripts.backends.gguf.importance import importances
from scripts.engine.build.sources import source_digests
from scripts.errors import RecipeError
from scripts.exec import run_stage


def gguf_file(**options: Any) -> GgufFile:
    return GgufFile.model_validate({"format": "gguf", **options})


@pytest.fixture(scope="module")
def inputs(tiny_f16: Path, tiny_capture: Path, tiny_gradients: Path) -> dict[str, Path]:
    """All that a GGUF file can be made from."""
    return {"f16": tiny_f16, "capture": tiny_capture, "gradients": tiny_gradients}


@pytest.fixture(scope="module")
def preset(inputs: dict[str, Path], tmp_path_factory: pytest.TempPathFactory) -> Path:
    """llama.cpp's own Q4_0."""
    out = tmp_path_factory.mktemp("preset") / "q4_0.gguf"
    run_stage(gguf_file(type="q4_0"), inputs, out)
    return out


def predicted(file: Path, inputs: dict[str, Path]) -> dict[str, float]:
    """By tensor ½ Σ_r g[r] · dW[r] H dW[r]ᵀ, of the values that gguf's dequantiser reads."""
    original = {tensor.name: tensor.data for tensor in GGUFReader(inputs["f16"]).tensors}
    values = {t.name: dequantize(t.data, t.tensor_type) for t in GGUFReader(file).tensors}
    losses = {}
    for one in importances(inputs["f16"], inputs["capture"], inputs["gradients"]):
        for (name, _), rows in one.rows.items():
            error = torch.from_numpy(values[name] - original[name].astype(np.float32))
            losses[name] = float((((error @ one.hessian) * error).sum(1) * rows).sum() / 2)
    return losses


def test_importance_matrix_is_what_llama_cpp_rounds_with(
    inputs: dict[str, Path], preset: Path, tmp_path: Path
) -> None:
    out = tmp_path / "x.gguf"
    run_stage(gguf_file(type="iq4_nl", imatrix=True), inputs, out)
    original = {tensor.name: tensor.data for tensor in GGUFReader(inputs["f16"]).tensors}
    floats = ctypes.POINTER(ctypes.c_float)
    libggml.ggml_quantize_chunk.restype = ctypes.c_size_t
    libggml.ggml_quantize_chunk.argtypes = [
        ctypes.c_int, floats, ctypes.c_void_p, *[ctypes.c_int64] * 3, floats,
    ]  # fmt: skip
    means = mean_squares(inputs["f16"], inputs["capture"])
    assert "token_embd.weight" in means
    for tensor in GGUFReader(out).tensors:
        if tensor.name in means:
            weights = original[tensor.name].astype(np.float32)
            want = np.empty_like(tensor.data)
            libggml.ggml_quantize_chunk(
                int(tensor.tensor_type),
                weights.ctypes.data_as(floats),
                want.ctypes.data,
                0,
                *weights.shape,
                means[tensor.name].ctypes.data_as(floats),
            )
            assert np.array_equal(tensor.data, want), tensor.name


@pytest.mark.parametrize("type_", ["q4_0", "q4_1", "iq4_nl", "q5_k_m"])
def test_gptq_loses_less_in_the_same_types(
    type_: str, inputs: dict[str, Path], tmp_path: Path
) -> None:
    for method in ("rtn", "gptq"):
        run_stage(gguf_file(type=type_, method=method), inputs, tmp_path / f"{method}.gguf")
    theirs, ours = tmp_path / "rtn.gguf", tmp_path / "gptq.gguf"
    assert [(t.name, t.tensor_type) for t in GGUFReader(ours).tensors] == [
        (t.name, t.tensor_type) for t in GGUFReader(theirs).tensors
    ]
    before, after = predicted(theirs, inputs), predicted(ours, inputs)
    assert sum(after.values()) < 0.6 * sum(before.values())
    assert not [name for name in after if after[name] > before[name]]


def test_rounds_lose_less(inputs: dict[str, Path], tmp_path: Path) -> None:
    losses = []
    for rounds in (0, 2):
        out = tmp_path / f"{rounds}.gguf"
        run_stage(gguf_file(type="q4_1", method="gptq", rounds=rounds), inputs, out)
        losses.append(sum(predicted(out, inputs).values()))
    assert losses[1] < 0.97 * losses[0]


def test_auto_keeps_to_a_presets_size(
    inputs: dict[str, Path], preset: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "x.gguf"
    run_stage(gguf_file(type="auto", like="q4_0", method="gptq"), inputs, out)
    assert preset.stat().st_size * 0.9 < out.stat().st_size <= preset.stat().st_size
    assert sum(predicted(out, inputs).values()) < 0.3 * sum(predicted(preset, inputs).values())
    assert len({tensor.tensor_type for tensor in GGUFReader(out).tensors}) > 3
    assert "GGUF auto (Q4_0's size), GPTQ: 22 matrices, predicted KLD " in capsys.readouterr().out
    assert not [*tmp_path.glob(".like-*")]


def test_auto_with_more_bytes_loses_less(inputs: dict[str, Path], tmp_path: Path) -> None:
    losses = []
    for size in (420_000, 480_000, 560_000):
        out = tmp_path / f"{size}.gguf"
        run_stage(gguf_file(type="auto", max_bytes=size), inputs, out)
        assert out.stat().st_size <= size
        losses.append(sum(predicted(out, inputs).values()))
    assert losses[0] > losses[1] > losses[2]


def test_auto_too_small(inputs: dict[str, Path], tmp_path: Path) -> None:
    text = r"make a file of ([\d,]+) bytes .* 1,000 \(1\.0 kB\) are "
    with pytest.raises(RecipeError, match=text) as caught:
        gguf_file(type="auto", max_bytes=1000).run(inputs, tmp_path / "x.gguf")
    assert not [*tmp_path.iterdir()]
    advised = re.search(r"Write `max_bytes: (\d+)` \(.* [kM]B\) or more\.$", str(caught.value))
    assert advised
    run_stage(gguf_file(type="auto", max_bytes=int(advised[1])), inputs, tmp_path / "x.gguf")


def test_same_bytes_twice(inputs: dict[str, Path], tmp_path: Path) -> None:
    threads = torch.get_num_threads()
    for count in (1, 3):
        torch.set_num_threads(count)
        run_stage(gguf_file(type="q5_k_s", method="gptq"), inputs, tmp_path / f"{count}.gguf")
    torch.set_num_threads(threads)
    assert (tmp_path / "1.gguf").read_bytes() == (tmp_path / "3.gguf").read_bytes()


@pytest.mark.parametrize(
    ("options", "needs", "label"),
    [
        ({"type": "q4_0"}, (), "GGUF Q4_0"),
        ({"type": "q4_0", "imatrix": True}, ("capture",), "GGUF Q4_0, imatrix"),
        ({"type": "q4_0", "method": "gptq"}, ("capture",), "GGUF Q4_0, GPTQ"),
        ({"type": "auto", "like": "q4_k_m"}, ("capture", "gradients"), "GGUF auto (Q4_K_M's size)"),
        (
            {"type": "auto", "max_bytes": 91_900_000, "imatrix": True, "method": "gptq"},
            ("capture", "gradients"),
            "GGUF auto (91,900,000 bytes), imatrix, GPTQ",
        ),
    ],
)
def test_needs_and_label(options: dict[str, Any], needs: tuple[str, ...], label: str) -> None:
    one = gguf_file(**options)
    assert one.needed() == ("f16", *needs)
    assert one.label() == label


@pytest.mark.parametrize(
    ("options", "text"),
    [
        ({"type": "auto"}, "`type: auto` and one of `like` and `max_bytes` belong together"),
        ({"type": "auto", "like": "q4_0", "max_bytes": 5}, "belong together"),
        ({"type": "q4_0", "like": "q4_0"}, "belong together"),
        ({"type": "f16", "method": "gptq"}, "a float type is not rounded"),
        ({"type": "q4_0", "rounds": 1}, "`rounds` says nothing without `method: gptq`"),
        ({"type": "q2_k", "method": "gptq"}, r"can't round to q2_k; it knows q8_0, .* and auto"),
        ({"type": "iq4_xs", "method": "gptq"}, "can't round to iq4_xs"),
        ({"type": "auto", "max_bytes": 0}, "greater than 0"),
    ],
)
def test_options_that_do_not_fit(options: dict[str, Any], text: str) -> None:
    with pytest.raises(ValidationError, match=text):
        gguf_file(**options)


def test_gptq_rounds_to_the_types_that_have_blocks() -> None:
    for type_ in get_args(GgufType):
        stem = type_.removesuffix("_m").removesuffix("_s")
        assert (type_ in GPTQ_TYPES) == (stem in BLOCK_TYPES)
        assert not (type_ in GPTQ_TYPES and type_ in FLOAT_TYPES)


@pytest.mark.parametrize(
    ("options", "reached", "apart"),
    [
        ({"type": "q4_0"}, (), ("imatrix", "importance", "auto", "rounding", "blocks")),
        ({"type": "q4_0", "imatrix": True}, ("imatrix",), ("importance", "auto", "rounding")),
        ({"type": "q4_0", "method": "gptq"}, ("rounding", "blocks"), ("auto",)),
        ({"type": "auto", "like": "q4_0"}, ("auto", "importance"), ("rounding",)),
    ],
)
def test_key_holds_what_the_options_use(
    options: dict[str, Any], reached: tuple[str, ...], apart: tuple[str, ...]
) -> None:
    stage = gguf_file(**options)
    digests = source_digests(type(stage).__module__, *stage.reaches())
    assert {f"scripts.backends.gguf.{name}" for name in ("llama", *reached)} <= digests.keys()
    assert not {f"scripts.backends.gguf.{name}" for name in apart} & digests.keys()
    ours = {"scripts.methods.gptq", "scripts.methods.kernels.search", "scripts.calibration.stored"}
    assert bool(ours & digests.keys()) == bool(reached)
    assert ("scripts.methods.allocation" in digests) == (stage.type == "auto")
