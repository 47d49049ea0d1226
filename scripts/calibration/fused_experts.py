"""Experts whose matrices lie in one tensor, as linear layers of their own.

Some families multiply by slices of a stacked parameter, where no hook sees what an expert reads.
Here each slice is a module that holds no weights itself, so that loading and saving stay as they
are; names are those of families with separate experts: `experts.3.gate_proj`.
"""

from collections.abc import Callable
from typing import Any

import torch
from torch import nn
from torch.nn import functional


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


def open_experts(model: nn.Module) -> None:
    """Give every fused mixture of experts of a known family its linear layers."""
    for module in [*model.modules()]:
        opener = _OPENERS.get(type(module).__name__)
        if opener is not None:
            opener(module)


def _open_gpt_oss(module: Any) -> None:
    """gate_up_proj [experts, columns, 2 · outputs], gate and up by turns; down_proj likewise."""

    def linear(expert: int, name: str, part: slice) -> ExpertLinear:
        return ExpertLinear(
            lambda: getattr(module, name)[expert, :, part].T,
            lambda: getattr(module, f"{name}_bias")[expert, part],
        )

    experts = [
        _Expert(
            linear(number, "gate_up_proj", slice(0, None, 2)),
            linear(number, "gate_up_proj", slice(1, None, 2)),
            linear(number, "down_proj", slice(None)),
        )
        for number in range(module.num_experts)
    ]

    def forward(
        hidden_states: torch.Tensor, router_indices: torch.Tensor, routing_weights: torch.Tensor
    ) -> torch.Tensor:
        flat = hidden_states.reshape(-1, module.hidden_size)
        total = torch.zeros_like(flat)
        for number, expert in enumerate(experts):
            (tokens,) = torch.where((router_indices == number).any(-1))
            if not len(tokens):
                continue
            read = flat[tokens]
            gate = expert.gate_proj(read).clamp(max=module.limit)
            up = expert.up_proj(read).clamp(min=-module.limit, max=module.limit)
            inner = (up + 1) * (gate * torch.sigmoid(gate * module.alpha))
            total.index_add_(
                0, tokens, expert.down_proj(inner) * routing_weights[tokens, number, None]
            )
        return total.view_as(hidden_states)

    for number, expert in enumerate(experts):
        module.add_module(str(number), expert)
    module.forward = forward


def _open_granite(module: Any) -> None:
    """input_linear.weight [experts, 2 · outputs, columns], gate before up; output_linear.weight."""
    inner = module.hidden_size

    def linear(expert: int, name: str, part: slice) -> ExpertLinear:
        return ExpertLinear(lambda: getattr(module, name).weight[expert, part])

    module.experts = nn.ModuleList(
        _Expert(
            linear(number, "input_linear", slice(0, inner)),
            linear(number, "input_linear", slice(inner, None)),
            linear(number, "output_linear", slice(None)),
        )
        for number in range(module.input_linear.num_experts)
    )

    def forward(layer_input: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        flat = layer_input.reshape(-1, module.input_size)
        _, tokens, gates, counts, logits = module.router(flat)
        total = torch.zeros_like(flat)
        parts = zip(module.experts, tokens.split(counts), gates.split(counts), strict=True)
        for expert, own, weights in parts:
            if not len(own):
                continue
            read = flat[own]
            made = module.activation(expert.gate_proj(read)) * expert.up_proj(read)
            total = total.index_add(0, own, expert.down_proj(made) * weights[:, None])
        return total.view_as(layer_input), logits

    module.forward = forward


_OPENERS: dict[str, Callable[[Any], None]] = {
    "GptOssExperts": _open_gpt_oss,
    "GraniteMoeMoE": _open_granite,
    "GraniteMoeSharedMoE": _open_granite,
}
