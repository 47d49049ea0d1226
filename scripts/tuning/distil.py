"""Distillation: a student learns to predict as its teacher does, token by token.

The loss is the KL divergence of the whole distribution (Hinton, Vinyals, Dean, 2015,
arXiv:1503.02531). That only the scales of a fixed grid are learnt, end to end, is the second phase
of EfficientQAT (Chen et al., 2024, arXiv:2407.11062), whose code needs a GPU.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import nn

from scripts.calibration.spread import left_out, spread
from scripts.checkpoint import Checkpoints
from scripts.errors import QuantmakeError
from scripts.progress import Progress
from scripts.workers import available_cores, single_core_workers

_NAME = "tune.safetensors"
_BETAS = (0.9, 0.95)
_EPSILON = 1e-12  # gradients of single scales are small
_WARM_UP = 0.1  # of all steps
_HELD_OUT = 0.1  # of all windows


@dataclass(frozen=True)
class Schedule:
    """How long and how fast; `tokens` counts what is learnt from, with repetition."""

    tokens: int
    learning_rate: float
    batch: int  # windows to a step


@dataclass(frozen=True)
class Outcome:
    """KL divergence in nats per token on the windows held out, before and after."""

    before: float
    after: float


def split(windows: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    """Windows [n, context] to learn from, and those held out, which are from all over."""
    held = max(1, round(len(windows) * _HELD_OUT))
    if len(windows) <= held:
        raise QuantmakeError(
            "the calibration has one window, and tune needs some to learn from and one to check "
            "with; raise `tokens` of the calibration"
        )
    arrays = left_out(windows.numpy(), held), spread(windows.numpy(), held)
    learnt, checked = map(torch.from_numpy, arrays)
    return learnt, checked


def divergence(
    teacher: nn.Module, student: nn.Module, window: torch.Tensor
) -> tuple[float, torch.Tensor, torch.Tensor]:
    """KL divergence of a window [context], the student's logits [context, vocabulary], and the
    gradient of the one by the other."""
    with torch.no_grad():
        wanted = torch.log_softmax(teacher(window[None], use_cache=False).logits[0].float(), -1)
    logits: torch.Tensor = student(window[None], use_cache=False).logits[0]
    with torch.no_grad():
        got = torch.log_softmax(logits.float(), -1)
        likely = wanted.exp()
        loss = float((likely * (wanted - got)).sum() / len(window))
        return loss, logits, got.exp_().sub_(likely).div_(len(window))


def mean_divergence(teacher: nn.Module, student: nn.Module, windows: torch.Tensor) -> float:
    """Over windows [n, context], on all cores."""
    with single_core_workers(available_cores()) as pool:

        def one(window: torch.Tensor) -> float:
            with torch.no_grad():
                return divergence(teacher, student, window)[0]

        return math.fsum(pool.map(one, windows)) / len(windows)


def rate(step: int, steps: int, peak: float) -> float:
    """The learning rate: up in a straight line, then down along a cosine."""
    warm = max(1, round(steps * _WARM_UP))
    if step < warm:
        return peak * (step + 1) / warm
    return peak * 0.5 * (1 + math.cos(math.pi * (step - warm) / max(1, steps - warm)))


def order(count: int, needed: int) -> list[int]:
    """Which of `count` windows come, `needed` in all: shuffled anew in each round, seeded."""
    generator = torch.Generator().manual_seed(0)
    places: list[int] = []
    while len(places) < needed:
        places += torch.randperm(count, generator=generator).tolist()
    return places[:needed]


def distil(
    teacher: nn.Module,
    student: nn.Module,
    windows: torch.Tensor,
    schedule: Schedule,
    checkpoints: Checkpoints,
) -> Outcome:
    """Learn the student's parameters that require gradients, from windows [n, context].

    Each window is computed on one core and the gradients are added in order, so the result does
    not depend on how many cores there are, nor on where a run was interrupted. Raises
    QuantmakeError where a gradient is not finite.
    """
    learnt, held = split(windows)
    named = {name: p for name, p in student.named_parameters() if p.requires_grad}
    parameters = list(named.values())
    optimiser = torch.optim.Adam(parameters, betas=_BETAS, eps=_EPSILON)
    steps = max(1, schedule.tokens // (schedule.batch * windows.shape[1]))
    chosen = order(len(learnt), steps * schedule.batch)
    before = mean_divergence(teacher, student, held)
    done = _restore(checkpoints, named, optimiser)
    bar = Progress("tuning", steps, "steps")
    bar.advance(done)

    def gradients(place: int) -> tuple[float, Sequence[torch.Tensor]]:
        loss, logits, by_logits = divergence(teacher, student, learnt[place])
        return loss, torch.autograd.grad(logits, parameters, by_logits)

    with single_core_workers(available_cores()) as pool:
        for step in range(done, steps):
            batch = chosen[step * schedule.batch : (step + 1) * schedule.batch]
            losses = []
            optimiser.zero_grad()
            for loss, by_parameter in pool.map(gradients, batch):
                losses.append(loss)
                for parameter, gradient in zip(parameters, by_parameter, strict=True):
                    parameter.grad = (
                        gradient if parameter.grad is None else parameter.grad + gradient
                    )
            _refuse_broken(named, losses)
            for group in optimiser.param_groups:
                group["lr"] = rate(step, steps, schedule.learning_rate)
            optimiser.step()
            print(f"step {step + 1} of {steps}: {math.fsum(losses) / len(losses):.4f}", flush=True)
            _save(checkpoints, named, optimiser, step + 1)
            bar.advance()
    return Outcome(before, mean_divergence(teacher, student, held))


def _refuse_broken(named: dict[str, nn.Parameter], losses: Sequence[float]) -> None:
    bad = [name for name, p in named.items() if p.grad is None or not p.grad.isfinite().all()]
    if bad or not all(map(math.isfinite, losses)):
        raise QuantmakeError(
            f"tune: the gradient is not finite for {', '.join(bad[:5]) or 'the loss'}; take a "
            "smaller learning_rate, or leave tune out"
        )


def _save(
    checkpoints: Checkpoints,
    named: dict[str, nn.Parameter],
    optimiser: torch.optim.Adam,
    step: int,
) -> None:
    tensors = {"step": torch.tensor(step)}
    for name, parameter in named.items():
        state = optimiser.state[parameter]
        tensors[f"{name}.value"] = parameter.detach()
        tensors |= {f"{name}.{key}": state[key] for key in ("step", "exp_avg", "exp_avg_sq")}
    checkpoints.save(_NAME, tensors)


def _restore(
    checkpoints: Checkpoints, named: dict[str, nn.Parameter], optimiser: torch.optim.Adam
) -> int:
    """The steps that an interrupted run has finished, its parameters and moments put back."""
    kept = checkpoints.load(_NAME)
    if kept is None:
        return 0
    with torch.no_grad():
        for name, parameter in named.items():
            parameter.copy_(kept[f"{name}.value"])
            optimiser.state[parameter] = {
                key: kept[f"{name}.{key}"] for key in ("step", "exp_avg", "exp_avg_sq")
            }
    return int(kept["step"])
