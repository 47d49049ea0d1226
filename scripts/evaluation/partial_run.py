"""A decoder that is run again from one of its layers on, from the stored input of that layer."""

from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import nn

from scripts.calibration.stand_ins import Call, Output, in_place_of, stack_of, states_of


class PartialRun:
    """The windows [n, tokens] run once through `model`; their second halves are scored."""

    def __init__(self, model: Any, windows: torch.Tensor) -> None:
        self._model, self._windows = model, windows
        self._keep = windows.shape[1] // 2
        self._name, self.layers = stack_of(model)
        self._calls: list[Call] = []
        hooks = [
            layer.register_forward_pre_hook(self._remember, with_kwargs=True)
            for layer in self.layers
        ]
        self._base = self._logprobs()
        for hook in hooks:
            hook.remove()

    def again_from(self, place: int) -> NDArray[np.float64]:
        """KL divergence in nats at each scored token, layers from `place` on run again."""
        output: Output = self._calls[place].hidden
        for layer, call in zip(self.layers[place:], self._calls[place:], strict=True):
            output = call.run(layer, states_of(output))
        with in_place_of(self._model, self._name, self.layers, lambda *_: output):
            return self._divergence()

    def whole(self) -> NDArray[np.float64]:
        """As `again_from`, the whole model run again."""
        return self._divergence()

    def _remember(self, _: nn.Module, arguments: tuple[Any, ...], keywords: Any) -> None:
        self._calls.append(Call(arguments, keywords))

    def _logprobs(self) -> torch.Tensor:
        """[scored tokens, vocabulary]."""
        output = self._model(self._windows, use_cache=False, logits_to_keep=self._keep)
        return torch.log_softmax(output.logits.flatten(0, 1), -1)

    def _divergence(self) -> NDArray[np.float64]:
        mine = self._logprobs()
        kld = (self._base - mine).mul_(self._base.exp()).sum(-1, dtype=torch.float64)
        divergence: NDArray[np.float64] = kld.numpy()
        return divergence
