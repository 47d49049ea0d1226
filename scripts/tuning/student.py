"""The FP16 base in PyTorch as what an artefact makes of it, and what it learns."""

from collections.abc import Callable
from pathlib import Path

import torch
from torch import nn
from torch.nn.utils import parametrize

from scripts.backends.model import Scorer
from scripts.backends.tune import Tune
from scripts.checkpoint import Checkpoints
from scripts.errors import QuantmakeError
from scripts.token_windows import read_windows
from scripts.tuning.block_linear import BlockLinear, Scaled, Store
from scripts.tuning.distil import Schedule, distil

_SAME = 0.05  # nats: runtimes round activations, which PyTorch does not


def load_float(base: Path) -> nn.Module:
    """The base in float32, its parameters fixed."""
    from transformers import AutoModelForCausalLM

    model: nn.Module = AutoModelForCausalLM.from_pretrained(
        base, dtype=torch.float32, local_files_only=True
    ).eval()
    return model.requires_grad_(False)


def set_weight(student: nn.Module, module: nn.Module, weight: torch.Tensor) -> None:
    """Give a module of the student the artefact's weight; one that is tied to it has it too."""
    fixed, old = nn.Parameter(weight, requires_grad=False), module.weight
    for other in student.modules():
        if getattr(other, "weight", None) is old:
            other.weight = fixed


def set_norm(
    module: nn.Module, weight: torch.Tensor, *, shift: float = 0, store: Store | None = None
) -> None:
    """Give a norm a weight that is learnt from now on; see `Scaled`."""
    module.weight = nn.Parameter(torch.zeros_like(weight))
    scaled = Scaled(weight, shift, store)
    parametrize.register_parametrization(module, "weight", scaled, unsafe=True)


def norms_of(student: nn.Module) -> dict[str, torch.Tensor]:
    """The weights of the norms that can be learnt, by module: those without a bias."""
    weights = {name: getattr(one, "weight", None) for name, one in student.named_modules()}
    return {
        name: weight.detach().clone()
        for name, weight in weights.items()
        if isinstance(weight, torch.Tensor) and weight.dim() == 1
        if getattr(student.get_submodule(name), "bias", None) is None
    }


def learn(
    student: nn.Module,
    scorer: Callable[[int], Scorer],
    base: Path,
    calibration: Path,
    settings: Tune,
) -> bool:
    """Learn the student's scales and norms from the base, on the windows of the calibration.

    Returns whether the windows held out are predicted better afterwards. `scorer` loads the
    artefact for so many tokens. Raises QuantmakeError where the student and the artefact do not
    compute the same, where no scale can be learnt, and for a calibration of one window.
    """
    if not any(isinstance(module, BlockLinear) for module in student.modules()):
        raise QuantmakeError(
            "tune learns the scales of blocks, and the artefact has none that it knows; leave tune "
            "out of the recipe"
        )
    windows = torch.from_numpy(read_windows(calibration))
    _refuse_another(student, scorer(windows.shape[1]), windows[0])
    schedule = Schedule(settings.tokens, settings.learning_rate, settings.batch)
    outcome = distil(load_float(base), student, windows, schedule, Checkpoints.of_this_run())
    told = (
        f"KL divergence on held-out windows: {outcome.before:.3g} before, {outcome.after:.3g} after"
    )
    helps = outcome.after < outcome.before
    print(told if helps else f"{told}; tuning does not help, so the artefact stays as it was")
    return helps


def _refuse_another(student: nn.Module, artefact: Scorer, window: torch.Tensor) -> None:
    """Raise QuantmakeError where PyTorch and the artefact's runtime do not compute the same."""
    wanted = torch.log_softmax(torch.from_numpy(artefact.scores(window.numpy(), 0)), -1)
    with torch.no_grad():
        ours = torch.log_softmax(student(window[None], use_cache=False).logits[0], -1)
    apart = float((wanted.exp() * (wanted - ours)).sum(-1).mean())
    if not apart <= _SAME:
        raise QuantmakeError(
            "tune does not understand this artefact: what it would learn on predicts otherwise "
            f"than it does (KL divergence {apart:.3g} nats). Leave tune out of the recipe."
        )
