"""llama.cpp's quantiser and loader, called through ctypes."""

from pathlib import Path

import pytest
from gguf import GGUFReader

from scripts.backends.gguf.llama import loading_error, quantise
from scripts.errors import MachineError, QuantmakeError


def test_bytes_do_not_depend_on_threads(tiny_f16: Path, tmp_path: Path) -> None:
    files = [tmp_path / f"{threads}.gguf" for threads in (1, 2, 5)]
    for threads, file in zip((1, 2, 5), files, strict=True):
        quantise(tiny_f16, file, "MOSTLY_Q4_K_M", threads=threads)
    assert len({file.read_bytes() for file in files}) == 1


def test_outcome_is_what_the_file_holds(
    tiny_f16: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "x.gguf"
    outcome = quantise(tiny_f16, out, "MOSTLY_Q4_K_M")
    types = {t.name: t.tensor_type.name.lower() for t in GGUFReader(out).tensors}
    matrices = {t.name: t for t in GGUFReader(tiny_f16).tensors if len(t.shape) == 2}
    assert outcome.converted == matrices.keys()
    narrow = {n: types[n] for n, t in matrices.items() if t.shape[0] % 256}
    assert narrow.pop("token_embd.weight") == "q8_0"  # the preset's own choice, no fallback
    assert outcome.fallbacks == narrow
    assert "converting to" in capsys.readouterr().out


def test_no_gguf_file(tmp_path: Path) -> None:
    broken, out = tmp_path / "broken.gguf", tmp_path / "x.gguf"
    broken.write_text("GGUF?")
    with pytest.raises(QuantmakeError, match=r"could not quantise .*broken\.gguf to MOSTLY_Q4_0: "):
        quantise(broken, out, "MOSTLY_Q4_0")
    assert not out.exists()


def test_full_disk(tiny_f16: Path, tmp_path: Path) -> None:
    out = tmp_path / "full.gguf"
    out.symlink_to("/dev/full")
    with pytest.raises(MachineError, match=r"could not write .*full\.gguf .*: the disk is full"):
        quantise(tiny_f16, out, "MOSTLY_Q4_0")
    assert Path("/dev/full").exists()


def test_loading_error_names_every_tensor_with_nan(tiny_f16: Path, tmp_path: Path) -> None:
    out = tmp_path / "x.gguf"
    quantise(tiny_f16, out, "MOSTLY_Q4_0")
    assert loading_error(out) is None
    for tensor in GGUFReader(out, "r+").tensors:
        if tensor.name in ("blk.0.attn_q.weight", "blk.2.ffn_up.weight"):
            tensor.data[0, :2] = (0, 0x7E)  # the first block's scale, FP16: NaN
    error = loading_error(out) or ""
    assert "tensor 'blk.0.attn_q.weight' has invalid data" in error
    assert "tensor 'blk.2.ffn_up.weight' has invalid data" in error
    assert "attn_k" not in error
