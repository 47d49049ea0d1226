"""A model whose weights are read from disk part by part, and forgotten again."""

from collections.abc import Container, Mapping
from typing import Any

import torch
from torch import nn

from scripts.errors import QuantmakeError


class WeightsByPart:
    """Of a model that was made without values; parameters become float32 on `device`."""

    def __init__(
        self, model: Any, weights: Mapping[str, torch.Tensor], device: torch.device
    ) -> None:
        self._model, self._weights, self._device = model, weights, device

    def fill(self, module: nn.Module, prefix: str, left_out: Container[int] = ()) -> None:
        """Load what is still empty of the parameters and buffers below a module, whose names begin
        with `prefix`; parameters whose `id` is in `left_out` stay empty.

        Raises QuantmakeError that names what the base does not have.
        """
        named = dict(module.named_parameters(remove_duplicate=False))
        missing = {name for name, one in named.items() if one.is_meta and id(one) not in left_out}
        buffers = dict(module.named_buffers())  # such as what balances experts
        short = len(f"{self._model.base_model_prefix}.")
        state = {}
        for name in sorted({*missing, *buffers}):
            whole = prefix + name
            stored = next((one for one in (whole, whole[short:]) if one in self._weights), None)
            if stored is not None:
                dtype = buffers[name].dtype if name in buffers else torch.float32
                # A copy even of float32: whoever changes a weight changes no file's map.
                state[name] = self._weights[stored].to(self._device, dtype, copy=True)
        module.load_state_dict(state, strict=False, assign=True)
        if prefix == "":
            self._model.tie_weights()
        now = dict(module.named_parameters(remove_duplicate=False))
        left = [prefix + name for name in sorted(missing) if now[name].is_meta]
        if left:
            raise QuantmakeError(f"the base has no tensors {', '.join(left)}; build it again")


def empty(module: nn.Module) -> None:
    """Forget the values of its parameters. Buffers stay: some are in no file."""
    for part in module.modules():
        for name, one in part.named_parameters(recurse=False):
            meta = torch.empty_like(one, device="meta")
            part.register_parameter(name, nn.Parameter(meta, requires_grad=False))
