"""Squared gradients at the outputs of linear layers, and the log-likelihood that they are of."""

import threading
from collections.abc import Callable, Mapping
from typing import Any, TypeVar

import torch
from torch import nn

Terms = dict[str, torch.Tensor]
"""Sums of squared gradients [outputs] over tokens, by the names of linear layers."""
Result = TypeVar("Result")


class Noted:
    """Hooks on linears that note the gradients at their outputs, apart for each thread."""

    def __init__(self, linears: Mapping[str, nn.Module]) -> None:
        self._local = threading.local()
        for name, linear in linears.items():
            linear.register_forward_hook(self._note(name))

    def during(self, work: Callable[[], Result]) -> tuple[Result, Terms]:
        """What `work` returns, and what was noted meanwhile in this thread."""
        self._local.terms = terms = Terms()
        return work(), terms

    def _note(self, name: str) -> Any:
        # At the tensor, not at the module: some families add to what a linear gave in its place.
        def hook(_: Any, __: Any, given: Any) -> None:
            # A router gives its scores first, and then what it chose by them.
            output: torch.Tensor = given[0] if isinstance(given, tuple) else given
            terms = getattr(self._local, "terms", None)
            if terms is None or not output.requires_grad:
                return
            # The way back through a GPU is in a thread of torch's.

            def note(gradient: torch.Tensor) -> None:
                squares = gradient.flatten(0, -2).square().sum(0)
                terms[name] = terms[name] + squares if name in terms else squares

            output.register_hook(note)  # type: ignore[no-untyped-call]

        return hook


def add(sums: Terms, terms: Terms) -> None:
    """Add what one window gave; not every window reaches every expert."""
    for name, term in terms.items():
        sums[name] = sums[name] + term if name in sums else term


def noise(size: tuple[int, int], generator: torch.Generator) -> torch.Tensor:
    """What decides the drawn tokens of a window: [context, vocabulary]."""
    return torch.empty(size).exponential_(generator=generator)


def likelihood(logits: torch.Tensor, noise: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    """The log-likelihood of tokens that `noise` draws from the model itself, and the squared
    gradients that one expects at the head's outputs; all [n, vocabulary], but the first.

    Raises NotFinite where the model gives no probabilities.
    """
    chances = logits.detach().softmax(-1)
    if not bool(torch.isfinite(chances).all()):
        raise NotFinite
    # The first of exponential clocks with these rates is a draw, as torch.multinomial does it.
    drawn = (chances / noise).argmax(-1, keepdim=True)
    # At the head the expectation over the drawn token is known: p (1 - p).
    return logits.log_softmax(-1).gather(1, drawn).sum(), chances * (1 - chances)


class NotFinite(Exception):
    """The model predicts values that are NaN or infinite."""
