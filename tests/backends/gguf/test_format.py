"""Every GGUF type, compared with gguf-py's own dequantiser; fallbacks and broken files."""

import sys
from pathlib import Path
from typing import get_args

import llama_cpp
import numpy
import pytest
from gguf import GGMLQuantizationType, GGUFReader, dequantize

from scripts.backends.gguf.f16 import F16Gguf
from scripts.backends.gguf.format import GgufFile, GgufType
from scripts.errors import MachineError, QuantmakeError
from scripts.exec import load_stage, run_stage
from tests.tiny import make_tiny_base

# Greatest relative RMS error of a matrix of Gaussian values.
TOLERANCE = {
    "f16": 0.0, "bf16": 0.003, "q8_0": 0.01, "q6_k": 0.03, "q5_k_m": 0.05, "q5_k_s": 0.05,
    "q5_1": 0.05, "q5_0": 0.06, "q4_k_m": 0.09, "q4_k_s": 0.09, "iq4_nl": 0.09, "iq4_xs": 0.09,
    "q4_1": 0.1, "q4_0": 0.11, "iq3_m": 0.17, "iq3_s": 0.17, "q3_k_l": 0.2, "q3_k_m": 0.2,
    "q3_k_s": 0.2, "q2_k": 0.35,
}  # fmt: skip


def gguf_file(type_: str) -> GgufFile:
    return GgufFile.model_validate({"format": "gguf", "type": type_})


def made(folder: Path, hidden: int, toolchain: Path) -> Path:
    """The F16 file of an untrained Llama of this width; its MLP is twice as wide."""
    base = make_tiny_base(folder / "base", hidden=hidden, layers=2, steps=0)
    inputs = {"base": base, "toolchain": toolchain}
    F16Gguf(tokenizer_pre="smollm").run(inputs, folder / "f16.gguf")
    return folder / "f16.gguf"


@pytest.fixture(scope="module")
def wide_f16(toolchain: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Width 256, which every block divides."""
    return made(tmp_path_factory.mktemp("wide"), 256, toolchain)


@pytest.mark.parametrize("type_", get_args(GgufType))
def test_type_against_ggufs_own_dequantiser(type_: str, wide_f16: Path, tmp_path: Path) -> None:
    out = tmp_path / "model.gguf"
    run_stage(gguf_file(type_), {"f16": wide_f16}, out)
    original = {tensor.name: tensor.data for tensor in GGUFReader(wide_f16).tensors}
    types = set()
    for tensor in GGUFReader(out).tensors:
        types.add(tensor.tensor_type.name.lower())
        want = original[tensor.name].astype("float64")
        error = dequantize(tensor.data, tensor.tensor_type) - want
        relative = numpy.sqrt((error**2).mean() / (want**2).mean())
        assert relative <= TOLERANCE[type_], (tensor.name, tensor.tensor_type)
    assert type_.removesuffix("_m").removesuffix("_l").removesuffix("_s") in {
        name.removesuffix("_s") for name in types
    }
    assert hasattr(llama_cpp, f"LLAMA_FTYPE_MOSTLY_{type_.upper()}")


def test_same_bytes_twice(tiny_f16: Path, tmp_path: Path) -> None:
    for name in ("a.gguf", "b.gguf"):
        run_stage(gguf_file("iq4_nl"), {"f16": tiny_f16}, tmp_path / name)
    assert (tmp_path / "a.gguf").read_bytes() == (tmp_path / "b.gguf").read_bytes()
    assert str(tmp_path).encode() not in (tmp_path / "a.gguf").read_bytes()


def test_stock_llama_says_what_it_says_in_f16(tiny_f16: Path, tmp_path: Path) -> None:
    out = tmp_path / "model.gguf"
    run_stage(gguf_file("q8_0"), {"f16": tiny_f16}, out)
    said = []
    for path in (tiny_f16, out):
        model = llama_cpp.Llama(str(path), n_ctx=64, verbose=False)
        said.append(model("The ferryman", max_tokens=6, temperature=0)["choices"][0]["text"])
    assert said[0] == said[1]
    assert said[0].strip()


def test_fallbacks_are_said(
    tiny_f16: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    gguf_file("q4_k_s").run({"f16": tiny_f16}, tmp_path / "x.gguf")
    assert (
        "GGUF Q4_K_S: 18 of 22 matrices fell back to another type, since their width does not "
        "divide by the block: 15 to q5_0, 3 to q5_1\n"
    ) in capsys.readouterr().out


def test_type_that_no_matrix_can_have(toolchain: Path, tmp_path: Path) -> None:
    narrow, out = made(tmp_path, 64, toolchain), tmp_path / "x.gguf"
    with pytest.raises(QuantmakeError) as caught:
        gguf_file("q4_k_m").run({"f16": narrow}, out)
    assert str(caught.value).startswith(
        "type q4_k_m: no width of the layers' matrices (64, 128) divides by its block of 256 "
        "values, so that all would stay in another type. Choose a type with blocks of 32, such as "
        "q8_0, q5_0, q4_0 or iq4_nl, or f16."
    )
    assert not out.exists()
    run_stage(gguf_file("q4_0"), {"f16": narrow}, out)


def test_llama_cpp_cannot_be_imported(
    tiny_f16: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delitem(sys.modules, "scripts.backends.gguf.llama", raising=False)
    monkeypatch.setitem(sys.modules, "llama_cpp", None)
    with pytest.raises(MachineError, match=r"llama-cpp-python can't be imported .*C\+\+ compiler"):
        gguf_file("q4_0").run({"f16": tiny_f16}, tmp_path / "x.gguf")


def test_check_tensors_that_differ(tiny_f16: Path, wide_f16: Path) -> None:
    text = r"f16\.gguf and the F16 file differ in the tensors blk\.0\.attn_k\.weight, .*output_norm"
    with pytest.raises(QuantmakeError, match=text):
        gguf_file("q4_0").check({"f16": tiny_f16}, wide_f16)


def test_check_nothing_quantised(tiny_f16: Path) -> None:
    text = r"tiny\.gguf: no tensor is quantised, all are F\d\d, F\d\d"
    with pytest.raises(QuantmakeError, match=text):
        gguf_file("q4_0").check({"f16": tiny_f16}, tiny_f16)


def test_check_no_gguf_file(tiny_f16: Path, tmp_path: Path) -> None:
    (tmp_path / "x.gguf").write_bytes(bytes(100))
    with pytest.raises(
        QuantmakeError, match=r"x\.gguf is no GGUF file: it does not begin with GGUF"
    ):
        gguf_file("q4_0").check({"f16": tiny_f16}, tmp_path / "x.gguf")


def test_check_value_that_is_not_finite(tiny_f16: Path, tmp_path: Path) -> None:
    out = tmp_path / "x.gguf"
    gguf_file("q4_0").run({"f16": tiny_f16}, out)
    tensor = next(
        t for t in GGUFReader(out, "r+").tensors if t.tensor_type == GGMLQuantizationType.Q4_0
    )
    tensor.data[0, :2] = (0, 0x7E)
    text = rf"llama\.cpp can't load x\.gguf: tensor '{tensor.name}' has invalid data"
    with pytest.raises(QuantmakeError, match=text):
        gguf_file("q4_0").check({"f16": tiny_f16}, out)


def test_type_is_named_where_it_is_wrong() -> None:
    with pytest.raises(QuantmakeError, match="type: Input should be 'f16'"):
        load_stage("scripts.backends.gguf.format:GgufFile", {"format": "gguf", "type": "q4"})


def test_label() -> None:
    assert gguf_file("q4_k_m").label() == "GGUF Q4_K_M"
