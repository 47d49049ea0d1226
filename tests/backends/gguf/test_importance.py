"""What the calibration says of a GGUF file's tensors."""

from pathlib import Path

import pytest
import torch
from gguf import GGUFReader
from safetensors import safe_open
from safetensors.torch import save_file

from scripts.backends.gguf.importance import STATISTICS, importances, mean_squares
from scripts.calibration.gradients import FILE
from scripts.errors import QuantmakeError


def capture(folder: Path, **means: torch.Tensor) -> Path:
    """A folder with the statistics of a capture."""
    save_file({f"{name}.mean_square": mean for name, mean in means.items()}, folder / STATISTICS)
    return folder


def test_names_of_the_file_with_the_head_as_tied_embedding(tiny_f16: Path, tmp_path: Path) -> None:
    known = {
        "model.layers.1.mlp.down_proj": torch.arange(1.0, 257),
        "lm_head": torch.arange(1.0, 129),
        "vision.projector": torch.ones(7),
    }
    found = mean_squares(tiny_f16, capture(tmp_path, **known))
    assert {name: mean.tolist() for name, mean in found.items()} == {
        "blk.1.ffn_down.weight": list(range(1, 257)),
        "token_embd.weight": list(range(1, 129)),
    }


def test_all_zero_or_not_finite(tiny_f16: Path, tmp_path: Path) -> None:
    folder = capture(
        tmp_path,
        **{
            "model.layers.0.self_attn.q_proj": torch.zeros(128),
            "model.layers.1.self_attn.o_proj": torch.full((128,), torch.nan),
        },
    )
    text = r"zero or not finite for blk\.0\.attn_q\.weight, blk\.1\.attn_output\.weight"
    with pytest.raises(QuantmakeError, match=text):
        mean_squares(tiny_f16, folder)


def test_of_another_model(tiny_f16: Path, tmp_path: Path) -> None:
    with pytest.raises(QuantmakeError, match="fits no tensor"):
        mean_squares(tiny_f16, capture(tmp_path, x=torch.ones(3)))


def test_every_matrix_once_the_embedding_last(tiny_f16: Path, tiny_curvature: Path) -> None:
    found = list(importances(tiny_f16, tiny_curvature))
    matrices = [t.name for t in GGUFReader(tiny_f16).tensors if len(t.shape) == 2]
    assert sorted(name for one in found for name in one.rows) == sorted(matrices)
    assert [*found[-1].rows] == ["token_embd.weight"]
    assert len(found) == 3 * 4 + 1
    with safe_open(tiny_curvature / FILE, "pt") as file:
        read = file.get_tensor("embedding.gradient_square").diag()
        assert torch.equal(found[-1].hessian, file.get_tensor("head.hessian") + read)


def test_linear_of_another_shape(tiny_f16: Path, tiny_curvature: Path, tmp_path: Path) -> None:
    with safe_open(tiny_curvature / FILE, "pt") as file:
        tensors = {key: file.get_tensor(key) for key in file.keys()}  # noqa: SIM118
        metadata = file.metadata()
    tensors["model.layers.0.mlp.down_proj.gradient_square"] = torch.ones(5)
    save_file(tensors, tmp_path / FILE, metadata=metadata)
    text = r"blk\.0\.ffn_down\.weight is \[128, 256\], but .* a linear of \[5, 256\]"
    with pytest.raises(QuantmakeError, match=text):
        list(importances(tiny_f16, tmp_path))
