"""The tensors of a GGUF file, read from its header alone, against gguf's own reader."""

from pathlib import Path

import pytest
from gguf import GGUFReader

from scripts.backends.gguf.llama import quantise
from scripts.errors import QuantmakeError
from scripts.tensors.gguf_header import bits_per_weight, tensors_of


def test_same_as_ggufs_reader(tiny_f16: Path, tmp_path: Path) -> None:
    quantise(tiny_f16, tmp_path / "q.gguf", "MOSTLY_Q4_K_M")
    for path in (tiny_f16, tmp_path / "q.gguf"):
        expected = [
            (one.name, tuple(one.shape.tolist()[::-1]), one.tensor_type.name)
            for one in GGUFReader(path).tensors
        ]
        assert [(n, one.shape, one.type) for n, one in tensors_of(path).items()] == expected


@pytest.mark.parametrize(
    ("preset", "bits"),
    [("f16", 16), ("q8_0", 8.5), ("q4_1", 5), ("iq4_xs", 4.25), ("tq1_0", 1.6875), ("mxfp4", 4.25)],
)
def test_bits_of_a_type_are_exact(preset: str, bits: float) -> None:
    assert bits_per_weight(preset) == bits


@pytest.mark.parametrize(("preset", "type_"), [("q4_k_m", "q4_k"), ("iq3_m", "iq3_s")])
def test_preset_of_several_types_takes_more_than_the_one_it_is_named_after(
    preset: str, type_: str
) -> None:
    assert 1.05 < bits_per_weight(preset) / bits_per_weight(type_) < 1.2


@pytest.mark.parametrize("kept", [0, 3, 4, 10, 30, 500, 5000])
def test_file_that_is_cut_short_in_its_header(tiny_f16: Path, tmp_path: Path, kept: int) -> None:
    (tmp_path / "x.gguf").write_bytes(tiny_f16.read_bytes()[:kept])
    with pytest.raises(QuantmakeError, match=r"x\.gguf is (no GGUF file|cut short)"):
        tensors_of(tmp_path / "x.gguf")


def test_file_whose_tensors_are_cut_short(tiny_f16: Path, tmp_path: Path) -> None:
    data = tiny_f16.read_bytes()
    (tmp_path / "x.gguf").write_bytes(data[: len(data) // 2])
    with pytest.raises(QuantmakeError, match=r"x\.gguf is cut short: it has [\d,]+ bytes, and its"):
        tensors_of(tmp_path / "x.gguf")


@pytest.mark.parametrize("changed", [b"GGUG", b"GGUF\x09\0\0\0", b"GGUF\3\0\0\0" + b"\xff" * 16])
def test_other_bytes(tiny_f16: Path, tmp_path: Path, changed: bytes) -> None:
    data = tiny_f16.read_bytes()
    (tmp_path / "x.gguf").write_bytes(changed + data[len(changed) :])
    with pytest.raises(QuantmakeError, match=r"x\.gguf is no GGUF file: "):
        tensors_of(tmp_path / "x.gguf")
