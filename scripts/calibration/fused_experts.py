"""Experts whose matrices lie in one tensor, as linear layers of their own.

transformers 5 multiplies by slices of stacked parameters, where no hook sees what an expert reads.
Here each slice is a module that holds no weights itself, so that loading and saving stay as they
are; names are those of published files with separate experts: `experts.3.gate_proj`.
"""

from collections.abc import Callable
from typing import Any

import torch
from torch import nn
from torch.nn import functional
from transformers.pytorch_utils import Conv1D

_WORDS = ("has_gate", "has_bias", "has_post_expert_norm", "is_transposed", "is_concatenated")
"""What transformers says of every stack of experts (`use_experts_implementation`)."""


class ExpertLinear(nn.Module):
    """Multiplies by the weight [outputs, columns] that `weight()` gives, and adds a bias."""

    def __init__(
        self, weight: Callable[[], torch.Tensor], bias: Callable[[], torch.Tensor] | None = None
    ) -> None:
        super().__init__()
        self._weight, self._bias = weight, bias

    def forward(self, states: torch.Tensor) -> torch.Tensor:
        """Of [n, columns] tokens [n, outputs]."""
        bias = None if self._bias is None else self._bias()
        return functional.linear(states, self._weight(), bias)


class _Expert(nn.Module):
    def __init__(self, gate: ExpertLinear, up: ExpertLinear, down: ExpertLinear) -> None:
        super().__init__()
        self.gate_proj, self.up_proj, self.down_proj = gate, up, down


def is_linear(module: nn.Module) -> bool:
    """Whether it multiplies its input by a weight: a router too, which does more after it."""
    if isinstance(module, nn.Linear | Conv1D | ExpertLinear):
        return True
    weight = getattr(module, "weight", None)
    is_matrix = isinstance(weight, nn.Parameter) and weight.dim() == 2
    return is_matrix and type(module).__name__.lower().endswith("router")


def open_experts(model: nn.Module) -> None:
    """Give every fused mixture of experts its linear layers, where each has a gate, and nothing
    comes after its last one."""
    for module in [*model.modules()]:
        if all(hasattr(module, word) for word in _WORDS):
            stack: Any = module
            if stack.has_gate and not stack.has_post_expert_norm:
                _open(stack)


def _open(module: Any) -> None:
    """gate_up_proj [experts, 2 · outputs, columns], or [experts, columns, 2 · outputs] where it
    `is_transposed`; gate before up, or by turns where it is not concatenated. down_proj likewise.
    """
    wide = module.gate_up_proj.shape[1 + module.is_transposed]
    if module.is_concatenated:
        gate, up = slice(0, wide // 2), slice(wide // 2, None)
    else:
        gate, up = slice(0, None, 2), slice(1, None, 2)

    def linear(expert: int, name: str, part: slice) -> ExpertLinear:
        def weight() -> torch.Tensor:
            matrix: torch.Tensor = getattr(module, name)[expert]
            return matrix[:, part].T if module.is_transposed else matrix[part]

        def bias() -> torch.Tensor:
            values: torch.Tensor = getattr(module, f"{name}_bias")[expert, part]
            return values

        return ExpertLinear(weight, bias if module.has_bias else None)

    experts = [
        _Expert(
            linear(number, "gate_up_proj", gate),
            linear(number, "gate_up_proj", up),
            linear(number, "down_proj", slice(None)),
        )
        for number in range(module.num_experts)
    ]

    def forward(
        hidden_states: torch.Tensor, chosen: torch.Tensor, shares: torch.Tensor
    ) -> torch.Tensor:
        """States [tokens, width]; of each token the experts `chosen` and their `shares`."""
        total = torch.zeros_like(hidden_states)
        for number, expert in enumerate(experts):
            tokens, places = torch.where(chosen == number)
            if not len(tokens):
                continue
            read = hidden_states[tokens]
            parts = expert.gate_proj(read), expert.up_proj(read)
            if module.is_concatenated:
                both = torch.cat(parts, -1)
            else:
                both = torch.stack(parts, -1).flatten(-2)
            made = expert.down_proj(module._apply_gate(both)) * shares[tokens, places, None]
            total = total.index_add(0, tokens, made.to(total.dtype))
        return total

    for number, expert in enumerate(experts):
        module.add_module(str(number), expert)
    module.forward = forward
