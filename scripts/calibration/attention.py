"""How attention weighs the tokens whose values it adds up.

A head gives Σ a_s v_s over tokens s, so of an error dW of the value projection it gives
dW Σ a_s x_s: what counts is the Hessian of inputs as attention mixes them, not of the inputs alone
(Kim et al., Towards Next-Level Post-Training Quantization of Hyper-Scale Transformers, 2024,
arXiv:2402.08958, section 3). Heads that look at the first token nearly always make the difference:
it is one of hundreds of inputs, and most of the mixture.
"""

import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import torch
from torch import nn
from transformers.modeling_utils import ALL_ATTENTION_FUNCTIONS

from scripts.arithmetic.products import add_product, product

Tell = Callable[[nn.Module, Callable[[], torch.Tensor]], None]
"""Is told the value projection of an attention, and what gives its weights a of this call,
[batch, queries, heads, tokens]."""
EVERY = 4
"""Of so many tokens one is a query: what one sees, the next one sees nearly too."""
_COMPUTED_BY = "sdpa"  # of transformers' names, that which models have here by default
_OF_ITS_OWN = "eager"


@contextmanager
def watched(tell: Tell) -> Iterator[None]:
    """While it is open, every attention with a value projection of its own is told of. Families
    that compute attention in a way of their own are not."""
    attentions: dict[str, Any] = {
        _COMPUTED_BY: ALL_ATTENTION_FUNCTIONS[_COMPUTED_BY],
        _OF_ITS_OWN: _own_of_module,
    }
    for name, attend in attentions.items():
        ALL_ATTENTION_FUNCTIONS[name] = _watching(attend, tell)
    try:
        yield
    finally:
        for name in attentions:
            del ALL_ATTENTION_FUNCTIONS[name]


def _own_of_module(module: nn.Module, *given: Any, **keywords: Any) -> Any:
    """The function that a family's module computes attention by, where it takes no other: in those
    with a soft cap."""
    written_in = sys.modules[type(module).__module__]
    return written_in.eager_attention_forward(module, *given, **keywords)


def _watching(attend: Any, tell: Tell) -> Any:
    """`attend`, which tells of what it is asked."""

    def watching(
        module: nn.Module,
        query: torch.Tensor,
        key: torch.Tensor,
        value: torch.Tensor,
        attention_mask: torch.Tensor | None,
        **keywords: Any,
    ) -> Any:
        projection = getattr(module, "v_proj", None)
        if projection is not None:

            def weights() -> torch.Tensor:
                # With a value of its own for every token, the sum is the weights.
                tokens, device = key.shape[-2], key.device
                some = torch.arange((tokens - 1) % EVERY, tokens, EVERY, device=device)
                mask = attention_mask
                if mask is None:  # each token sees those up to itself
                    mask = (torch.arange(tokens, device=device) <= some[:, None])[None, None]
                else:
                    mask = mask[..., some, :]
                values = torch.eye(tokens, dtype=value.dtype, device=device)
                values = values.expand(*key.shape[:2], tokens, tokens)
                asked = query[..., some, :]
                given: torch.Tensor = attend(module, asked, key, values, mask, **keywords)[0]
                return given

            tell(projection, weights)
        return attend(module, query, key, value, attention_mask, **keywords)

    return watching


def mixed(inputs: torch.Tensor, weights: torch.Tensor) -> torch.Tensor:
    """Y [tokens, columns] for inputs X [tokens, columns], so that XᵀY is the mean over heads of
    MᵀM, M [queries, columns] being what a head's `weights` [queries, heads, tokens] make of X."""
    flat = weights.flatten(0, 1)
    if inputs.device.type != "cpu":
        return flat.T @ flat / weights.shape[1] @ inputs
    # Products of tokens: they are fewer than all rows of M, and often than the columns.
    pairs = torch.zeros(len(inputs), len(inputs))
    add_product(pairs.numpy(), flat.numpy().T, flat.numpy(), 1 / weights.shape[1])
    return torch.from_numpy(product(pairs.numpy(), inputs.numpy()))
