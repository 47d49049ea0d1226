"""Tune a written ONNX artefact: its scales and its norms, against the FP16 base."""

from pathlib import Path
from typing import Protocol

import torch

from scripts.backends.onnx.graph import open_graph
from scripts.backends.onnx.loader import OrtModel
from scripts.backends.onnx.tuning.distil import Schedule, distil
from scripts.backends.onnx.tuning.onnx_student import load_float, put_back, student_of
from scripts.checkpoint import Checkpoints
from scripts.errors import QuantmakeError
from scripts.token_windows import read_windows
from scripts.workers import available_cores

_SAME = 0.05  # nats: onnxruntime rounds activations, which PyTorch does not


class Settings(Protocol):
    """What the recipe says."""

    @property
    def tokens(self) -> int: ...
    @property
    def learning_rate(self) -> float: ...
    @property
    def batch(self) -> int: ...


def tune(folder: Path, base: Path, calibration: Path, settings: Settings) -> None:
    """Replace the scales and norms of the artefact in `folder` by learnt ones of the same types.

    Where the windows held out are not predicted better, the artefact stays as it was. Raises
    QuantmakeError for a graph that is not understood, and for a calibration of one window.
    """
    windows = torch.from_numpy(read_windows(calibration))
    model = open_graph(folder)
    student, learnt = student_of(model, base)
    _refuse_another(student, folder, windows[0])
    schedule = Schedule(settings.tokens, settings.learning_rate, settings.batch)
    outcome = distil(load_float(base), student, windows, schedule, Checkpoints.of_this_run())
    told = (
        f"KL divergence on held-out windows: {outcome.before:.4f} before, {outcome.after:.4f} after"
    )
    if outcome.after >= outcome.before:
        print(f"{told}; tuning does not help, so the artefact stays as it was")
        return
    print(told)
    fresh = folder / ".tuned"
    fresh.mkdir()
    put_back(model, learnt, fresh)
    for path in fresh.iterdir():
        path.replace(folder / path.name)
    fresh.rmdir()


def _refuse_another(student: torch.nn.Module, folder: Path, window: torch.Tensor) -> None:
    """Raise QuantmakeError where PyTorch and onnxruntime do not compute the same."""
    artefact = OrtModel(folder, available_cores(), len(window))
    wanted = torch.log_softmax(torch.from_numpy(artefact.scores(window.numpy(), 0)), -1)
    with torch.no_grad():
        ours = torch.log_softmax(student(window[None], use_cache=False).logits[0], -1)
    apart = float((wanted.exp() * (wanted - ours)).sum(-1).mean())
    if not apart <= _SAME:
        raise QuantmakeError(
            f"tune does not understand this graph: what it would learn on predicts otherwise than "
            f"the artefact does (KL divergence {apart:.3g} nats). Leave tune out of the recipe."
        )
