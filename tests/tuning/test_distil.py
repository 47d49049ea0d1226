"""Distillation: it learns, and a run that was interrupted ends as one that was not."""

import copy
from collections.abc import Mapping
from pathlib import Path
from types import SimpleNamespace

import pytest
import torch
from torch import nn

from scripts.checkpoint import Checkpoints
from scripts.errors import QuantmakeError
from scripts.tuning import distil as module
from scripts.tuning.distil import (
    Schedule,
    distil,
    mean_divergence,
    order,
    rate,
    split,
)

VOCABULARY, CONTEXT = 17, 12
SCHEDULE = Schedule(tokens=CONTEXT * 2 * 8, learning_rate=0.05, batch=2)


class Toy(nn.Module):
    """Predicts the next token from the present one alone."""

    def __init__(self, seed: int) -> None:
        super().__init__()
        generator = torch.Generator().manual_seed(seed)
        self.table = nn.Parameter(torch.randn(VOCABULARY, VOCABULARY, generator=generator))

    def forward(self, tokens: torch.Tensor, use_cache: bool) -> SimpleNamespace:
        return SimpleNamespace(logits=self.table[tokens])


class Dying(Checkpoints):
    """Ends the run once a number of steps were saved."""

    def __init__(self, folder: Path, steps: int) -> None:
        super().__init__(folder)
        self._left = steps

    def save(self, name: str, tensors: Mapping[str, torch.Tensor]) -> None:
        super().save(name, tensors)
        self._left -= 1
        if not self._left:
            raise KeyboardInterrupt


@pytest.fixture
def windows() -> torch.Tensor:
    return torch.randint(VOCABULARY, (10, CONTEXT), generator=torch.Generator().manual_seed(2))


def test_windows_held_out_are_predicted_better(windows: torch.Tensor) -> None:
    teacher, student = Toy(0), Toy(1)
    outcome = distil(teacher, student, windows, SCHEDULE, Checkpoints(None))
    assert outcome.after < 0.9 * outcome.before
    _, held = split(windows)
    assert outcome.after == mean_divergence(teacher, student, held)


@pytest.mark.parametrize("steps", [1, 5])
def test_interrupted_run_ends_with_the_same_bits(
    windows: torch.Tensor, tmp_path: Path, steps: int
) -> None:
    teacher, start = Toy(0), Toy(1)
    straight, halted, resumed = (copy.deepcopy(start) for _ in range(3))
    distil(teacher, straight, windows, SCHEDULE, Checkpoints(None))
    with pytest.raises(KeyboardInterrupt):
        distil(teacher, halted, windows, SCHEDULE, Dying(tmp_path, steps))
    counted = Dying(tmp_path, 100)
    distil(teacher, resumed, windows, SCHEDULE, counted)
    assert torch.equal(resumed.table, straight.table)
    assert counted._left == 100 - (8 - steps)  # finished steps are not done again


def test_number_of_cores_does_not_matter(
    windows: torch.Tensor, monkeypatch: pytest.MonkeyPatch
) -> None:
    found = []
    for cores in (1, 3):
        monkeypatch.setattr(module, "available_cores", lambda cores=cores: cores)
        student = Toy(1)
        distil(Toy(0), student, windows, SCHEDULE, Checkpoints(None))
        found.append(student.table)
    assert torch.equal(*found)


def test_checkpoint_that_broke_off_is_not_believed(windows: torch.Tensor, tmp_path: Path) -> None:
    (tmp_path / "tune.safetensors").write_bytes(b"\x08\0\0")
    student, other = Toy(1), Toy(1)
    distil(Toy(0), student, windows, SCHEDULE, Checkpoints(tmp_path))
    distil(Toy(0), other, windows, SCHEDULE, Checkpoints(None))
    assert torch.equal(student.table, other.table)


def test_gradient_that_is_not_finite_is_named(windows: torch.Tensor) -> None:
    student = Toy(1)
    with torch.no_grad():
        student.table[3] = torch.nan
    with pytest.raises(QuantmakeError, match="gradient is not finite for table"):
        distil(Toy(0), student, windows, SCHEDULE, Checkpoints(None))


def test_one_window_is_too_few() -> None:
    with pytest.raises(QuantmakeError, match="raise `tokens` of the calibration"):
        split(torch.zeros(1, 8, dtype=torch.int64))


def test_every_window_comes_once_before_any_comes_twice() -> None:
    assert sorted(order(6, 12)[:6]) == sorted(order(6, 12)[6:]) == list(range(6))


def test_rate_rises_then_falls_to_nearly_nothing() -> None:
    rates = [rate(step, 20, 0.1) for step in range(20)]
    assert rates[0] == 0.05
    assert max(rates) == rates[1] == 0.1
    assert rates[-1] < 0.002
