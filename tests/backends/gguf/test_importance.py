"""What the calibration says of a GGUF file's tensors."""

import json
from pathlib import Path

import numpy as np
import pytest
import torch
from gguf import GGUFReader
from safetensors.torch import save_file

from scripts.backends.gguf.imatrix import mean_squares
from scripts.backends.gguf.importance import importances
from scripts.backends.gguf.names import Matrix
from scripts.calibration.stored import (
    HESSIAN,
    STATISTICS,
    Captured,
    gradient_squares,
    write_gradient_squares,
)
from scripts.errors import QuantmakeError


def capture(folder: Path, **means: torch.Tensor) -> Path:
    """A folder with the statistics of a capture."""
    save_file({f"{name}.mean_square": mean for name, mean in means.items()}, folder / STATISTICS)
    shared = json.dumps({name: name for name in means})
    save_file({}, folder / HESSIAN, metadata={"shared": shared})
    return folder


def test_names_of_the_file_with_the_head_as_tied_embedding(tiny_f16: Path, tmp_path: Path) -> None:
    known = {
        "model.layers.1.mlp.down_proj": torch.arange(1.0, 257),
        "lm_head": torch.arange(1.0, 129),
        "vision.projector": torch.ones(7),
    }
    means = mean_squares(tiny_f16, capture(tmp_path, **known))
    assert {name: mean.tolist() for name, mean in means.items()} == {
        "blk.1.ffn_down.weight": list(range(1, 257)),
        "token_embd.weight": list(range(1, 129)),
    }


def test_of_another_model(tiny_f16: Path, tmp_path: Path) -> None:
    with pytest.raises(QuantmakeError, match="fits no tensor"):
        mean_squares(tiny_f16, capture(tmp_path, x=torch.ones(3)))


def test_every_matrix_once_the_embedding_last(
    tiny_f16: Path, tiny_capture: Path, tiny_gradients: Path
) -> None:
    measured = list(importances(tiny_f16, tiny_capture, tiny_gradients))
    matrices = [t.name for t in GGUFReader(tiny_f16).tensors if len(t.shape) == 2]
    assert sorted(matrix.tensor for one in measured for matrix in one.rows) == sorted(matrices)
    assert [*measured[-1].rows] == [Matrix("token_embd.weight")]
    assert len(measured) == 3 * 5 + 1  # value projections have their own Hessian
    read = torch.from_numpy(gradient_squares(tiny_gradients)["model.embed_tokens"]).diag()
    head = torch.from_numpy(Captured(tiny_capture).hessian("lm_head"))
    assert torch.equal(measured[-1].hessian, head + read)


def test_without_gradients_all_rows_count_alike(
    tiny_f16: Path, tiny_capture: Path, tiny_gradients: Path
) -> None:
    plain = list(importances(tiny_f16, tiny_capture, None))
    measured = list(importances(tiny_f16, tiny_capture, tiny_gradients))
    assert [{*one.rows} for one in plain] == [{*one.rows} for one in measured]
    assert all((rows == 1).all() for one in plain for rows in one.rows.values())
    for one, other in zip(plain[:-1], measured[:-1], strict=True):
        assert torch.equal(one.hessian, other.hessian)
    head = torch.from_numpy(Captured(tiny_capture).hessian("lm_head"))
    assert torch.equal(plain[-1].hessian, head)


def test_linear_of_another_shape(
    tiny_f16: Path, tiny_capture: Path, tiny_gradients: Path, tmp_path: Path
) -> None:
    squares = gradient_squares(tiny_gradients)
    squares["model.layers.0.mlp.down_proj"] = np.ones(5, np.float32)
    write_gradient_squares(tmp_path, squares)
    text = r"blk\.0\.ffn_down\.weight is \[128, 256\], but .* a linear of \[5, 256\]"
    with pytest.raises(QuantmakeError, match=text):
        list(importances(tiny_f16, tiny_capture, tmp_path))
