"""What stands in the place of decoder layers while the rest of a model runs."""

from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import torch
from torch import nn

from scripts.errors import QuantmakeError

Output = torch.Tensor | tuple[Any, ...]


class UnknownLayers(QuantmakeError):
    """A model in which it is not clear which modules are its decoder layers."""


@dataclass(frozen=True)
class Call:
    """What a layer is called with: its hidden states by position or by name, and the rest, which
    differs between layers: masks, rotary embeddings."""

    arguments: tuple[Any, ...]
    keywords: Mapping[str, Any]

    @property
    def hidden(self) -> torch.Tensor:
        """The hidden states [.., n, width]."""
        states: torch.Tensor = (
            self.arguments[0] if self.arguments else self.keywords["hidden_states"]
        )
        return states

    def rest(self) -> tuple[Any, ...]:
        """All but the hidden states."""
        named = {name: one for name, one in self.keywords.items() if name != "hidden_states"}
        return (*self.arguments[1:], named)

    def run(self, layer: nn.Module, hidden: torch.Tensor) -> Output:
        """The layer's own output, for other hidden states."""
        if self.arguments:
            output: Output = layer(hidden, *self.arguments[1:], **self.keywords)
            return output
        named: Output = layer(**{**self.keywords, "hidden_states": hidden})
        return named


def states_of(output: Output) -> torch.Tensor:
    """The hidden states among what a layer gives."""
    states: torch.Tensor = output[0] if isinstance(output, tuple) else output
    return states


class StandIn(nn.Module):
    """Has the attributes of a layer, and answers a `Call` by a function."""

    def __init__(self, layer: nn.Module, answer: Callable[[Call], Output]) -> None:
        super().__init__()
        self._layer, self._answer = (layer,), answer  # in a tuple: it is no part of this module

    def __getattr__(self, name: str) -> Any:
        """What the layer has: its kind of attention, its position."""
        try:
            return super().__getattr__(name)
        except AttributeError:
            return getattr(self._layer[0], name)

    def forward(self, *arguments: Any, **keywords: Any) -> Output:
        """Takes what a layer takes."""
        return self._answer(Call(arguments, keywords))


def stack_of(model: Any) -> tuple[str, nn.ModuleList]:
    """The name of the list of decoder layers, and the list; lists within layers, as of experts,
    do not count.

    Raises UnknownLayers where the model has not exactly one.
    """
    count = model.config.get_text_config().num_hidden_layers
    stacks = {
        name: module
        for name, module in model.named_modules()
        if isinstance(module, nn.ModuleList) and len(module) == count
    }
    outer = {
        name: module
        for name, module in stacks.items()
        if not any(name.startswith(f"{other}.") for other in stacks)
    }
    if len(outer) != 1:
        raise UnknownLayers(
            f"{type(model).__name__} has {len(outer)} stacks of {count} decoder layers where "
            "one was expected; methods that look at single layers do not know this architecture"
        )
    return next(iter(outer.items()))


@contextmanager
def in_place_of(
    model: Any, stack: str, layers: Iterable[nn.Module], answer: Callable[[int, Call], Output]
) -> Iterator[None]:
    """While it is open, `answer` is asked, with a layer's index, where the layers were."""
    owner, _, attribute = stack.rpartition(".")
    parent = model.get_submodule(owner)
    kept = getattr(parent, attribute)

    def asked(index: int) -> Callable[[Call], Output]:
        return lambda call: answer(index, call)

    stand_ins = [StandIn(layer, asked(index)) for index, layer in enumerate(layers)]
    setattr(parent, attribute, nn.ModuleList(stand_ins))
    try:
        yield
    finally:
        setattr(parent, attribute, kept)


@contextmanager
def answering(
    module: nn.Module | None, answer: Callable[[torch.Tensor], Any] | None
) -> Iterator[None]:
    """While it is open, `answer` is asked in the place of the module's own computation."""
    if module is None or answer is None:
        yield
        return
    module.forward = answer
    try:
        yield
    finally:
        del module.forward
