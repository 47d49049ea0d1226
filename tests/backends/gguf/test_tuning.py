"""Tuning a GGUF file of the tiny model: FP16 numbers and norms change, and nothing else."""

import shutil
from pathlib import Path

import numpy as np
import pytest
from gguf import GGUFReader
from pydantic import ValidationError

from scripts.backends.gguf.format import GgufFile
from scripts.backends.gguf.numbers import parts_of
from scripts.backends.gguf.tuning import tune
from scripts.backends.tune import Tune
from scripts.errors import QuantmakeError
from scripts.exec import run_stage

TUNE = Tune(tokens=4096, learning_rate=0.0002)
TYPE = "q4_1"


@pytest.fixture(scope="module")
def inputs(tiny_base: Path, tiny_f16: Path, tiny_calibration: Path) -> dict[str, Path]:
    return {"base": tiny_base, "f16": tiny_f16, "calibration": tiny_calibration}


@pytest.fixture(scope="module")
def pair(inputs: dict[str, Path], tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    """The file as llama.cpp rounds it, and the same one tuned."""
    folder = tmp_path_factory.mktemp("tune")
    run_stage(GgufFile(format="gguf", type=TYPE), inputs, folder / "plain.gguf")
    tuned = GgufFile(format="gguf", type=TYPE, tune=TUNE)
    run_stage(tuned, inputs, folder / "tuned.gguf")
    return folder / "plain.gguf", folder / "tuned.gguf"


def test_only_numbers_and_norms_change(pair: tuple[Path, Path]) -> None:
    plain, tuned = ({t.name: t for t in GGUFReader(path).tensors} for path in pair)
    changed = {name for name in plain if not np.array_equal(plain[name].data, tuned[name].data)}
    linears = {name for name in changed if plain[name].tensor_type.name == "Q4_1"}
    assert len(linears) == 3 * 7
    assert {plain[name].tensor_type.name for name in changed - linears} == {"F32"}
    assert len(changed - linears) == 3 * 2 + 1
    for name in linears:
        for one, other in zip(
            parts_of(plain[name].data, plain[name].tensor_type),
            parts_of(tuned[name].data, tuned[name].tensor_type),
            strict=True,
        ):
            assert (one.levels == other.levels).all()
            assert (one.scales != other.scales).any()


def test_log_tells_what_was_gained_and_llama_cpp_computes_it(
    pair: tuple[Path, Path], inputs: dict[str, Path], tmp_path: Path, capfd: pytest.CaptureFixture
) -> None:
    out = tmp_path / "again.gguf"
    shutil.copy(pair[0], out)
    tune(inputs, out, TUNE)
    line = capfd.readouterr().out.splitlines()[-1]
    before, after = (float(part.split()[0]) for part in line.split(": ")[1].split(", "))
    assert after < 0.8 * before
    assert out.read_bytes() == pair[1].read_bytes()


def test_tuning_that_does_not_help_changes_nothing(
    pair: tuple[Path, Path], inputs: dict[str, Path], tmp_path: Path
) -> None:
    out = tmp_path / "out.gguf"
    shutil.copy(pair[0], out)
    tune(inputs, out, Tune(tokens=512, learning_rate=0.99))
    assert out.read_bytes() == pair[0].read_bytes()


def test_file_of_another_model_is_refused(
    pair: tuple[Path, Path], inputs: dict[str, Path], tmp_path: Path
) -> None:
    f16 = tmp_path / "f16.gguf"
    shutil.copy(inputs["f16"], f16)
    other = next(t for t in GGUFReader(f16, "r+").tensors if t.name == "blk.1.ffn_up.weight")
    other.data[3] *= 2
    with pytest.raises(QuantmakeError, match=r"does not know blk\.1\.ffn_up\.weight"):
        tune({**inputs, "f16": f16}, pair[0], TUNE)


def test_file_that_computes_something_else_is_refused(
    pair: tuple[Path, Path], inputs: dict[str, Path], tmp_path: Path
) -> None:
    out = tmp_path / "out.gguf"
    shutil.copy(pair[0], out)
    for tensor in GGUFReader(out, "r+").tensors:
        if tensor.name == "output_norm.weight":
            tensor.data[...] = tensor.data[::-1].copy() * 3
    with pytest.raises(QuantmakeError, match="tune does not understand this artefact"):
        tune(inputs, out, TUNE)


def test_float_file_has_nothing_to_learn(inputs: dict[str, Path], tmp_path: Path) -> None:
    with pytest.raises(ValidationError, match="leave out `imatrix`, `method` and `tune`"):
        GgufFile(format="gguf", type="f16", tune=TUNE)


def test_label_and_inputs() -> None:
    stage = GgufFile(format="gguf", type="auto", like="q4_0", method="gptq", tune=TUNE)
    assert stage.label() == "GGUF auto (Q4_0's size), GPTQ tuned"
    assert {*stage.needed()} == {"f16", "capture", "gradients", "base", "calibration"}
    assert GgufFile(format="gguf", type="q4_0", tune=TUNE).label() == "GGUF Q4_0, tuned"
