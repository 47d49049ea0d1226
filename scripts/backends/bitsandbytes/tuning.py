"""Tune a written folder of 4-bit weights: absmax of its blocks, as far as its frame holds others,
and its norms."""

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import torch
from bitsandbytes.functional import QuantState
from torch import nn

from scripts.backends.bitsandbytes.double_quantisation import Frame
from scripts.backends.bitsandbytes.plan import Plan
from scripts.backends.torch_model import TorchModel
from scripts.backends.tune import Tune
from scripts.tensors.header import Stored, tensors_in
from scripts.tensors.mapped import mapped
from scripts.tuning.block_linear import BlockLinear, Part, as_half
from scripts.tuning.student import learn, load_float, norms_of, set_norm
from scripts.workers import available_cores


class _Weight:
    """One quantised weight of the folder, by its tensors."""

    def __init__(self, tensors: Mapping[str, torch.Tensor], name: str) -> None:
        start = f"{name}."
        stored = {key: one.clone() for key, one in tensors.items() if key.startswith(start)}
        self._state = QuantState.from_dict(stored, device=torch.device("cpu"))
        nested = self._state.nested
        self.frame = Frame(self._state.offset, self._state.state2) if nested else None
        self._packed = tensors[name]

    def part(self) -> Part:
        """Levels of the type's table, and absmax."""
        codes = torch.stack([self._packed >> 4, self._packed & 15], -1).flatten().int()
        rows, columns = self._state.shape
        levels = self._state.code[codes].view(rows, -1, 1, self._state.blocksize)
        blocks = (rows, columns // self._state.blocksize)
        if self.frame is None:
            return Part(levels, self._state.absmax.view(blocks))
        absmax = self.frame.values(self._state.absmax).view(blocks)
        return Part(levels, absmax, self._held)

    def _held(self, absmax: torch.Tensor) -> torch.Tensor:
        assert self.frame is not None
        return self.frame.values(self.frame.codes(absmax))

    def absmax(self, linear: BlockLinear) -> torch.Tensor:
        """As the file has it: 8-bit codes where absmax is quantised too."""
        [scales] = linear.tuned()
        flat = scales.detach().reshape(-1)
        return flat if self.frame is None else self.frame.codes(flat)


def tune(inputs: Mapping[str, Path], out: Path, plan: Plan, settings: Tune) -> None:
    """Replace absmax and norms of the folder `out` in place by learnt ones of the same types.

    `inputs` are the base and the calibration. Where the windows held out are not predicted better,
    the folder stays as it was. Raises QuantmakeError as `learn`.
    """
    stored = tensors_in(out)
    tensors = mapped(stored)
    student: Any = load_float(inputs["base"])
    weights = {name: _Weight(tensors, name) for name in sorted(plan.weights)}
    linears = {name: _take_weight(student, name, one) for name, one in weights.items()}
    norms = dict(_take_norms(student, stored))

    def scorer(context: int) -> TorchModel:
        return TorchModel(out, available_cores(), context)

    if not learn(student, scorer, inputs["base"], inputs["calibration"], settings):
        return
    for name, weight in weights.items():
        _write(stored[f"{name}.absmax"], weight.absmax(linears[name]))
    for name, norm in norms.items():
        _write(stored[name], torch.as_tensor(norm.weight).detach().to(tensors[name].dtype))


def _take_weight(student: Any, name: str, weight: _Weight) -> BlockLinear:
    module = name.removesuffix(".weight")
    linear = BlockLinear([weight.part()], student.get_submodule(module).bias)
    student.set_submodule(module, linear)
    return linear


def _take_norms(student: Any, stored: Mapping[str, Stored]) -> Iterator[tuple[str, nn.Module]]:
    """Norms by tensor, as far as the type that the file has them in holds them."""
    for module, weight in norms_of(student).items():
        name, norm = f"{module}.weight", student.get_submodule(module)
        set_norm(norm, weight, store=as_half if stored[name].dtype == "F16" else None)
        yield name, norm


def _write(stored: Stored, tensor: torch.Tensor) -> None:
    """In the place of what the file has."""
    data = tensor.contiguous().view(torch.uint8).numpy().tobytes()
    assert len(data) == stored.size
    with stored.file.open("r+b") as file:
        file.seek(stored.start)
        file.write(data)
