"""Scaling the columns of activations without changing the function, on the base's tensors.

A linear's input may be divided by positive factors [K], column by column, where its weight's
columns are multiplied by them and what makes the input is divided: the norm before it, the rows of
`up_proj` before `down_proj`, or those of `v_proj` before `o_proj`.
"""

from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray

from scripts.base.config_json import read_json
from scripts.base.readers import ARCHITECTURES, READERS
from scripts.errors import QuantmakeError
from scripts.tensors.header import tensors_in
from scripts.tensors.mapped import mapped

Factors = NDArray[np.float32]


@dataclass(frozen=True)
class Site:
    """The linears of a layer that read one activation, and the part that makes it, by name.

    `repeats` says how many query heads share each value head, of `head` columns.
    """

    maker: str
    readers: tuple[str, ...]
    head: int = 1
    repeats: int = 1

    def shared(self, factors: Factors) -> Factors:
        """Factors [K] made equal where several columns are copies of one: their geometric mean."""
        if self.repeats == 1:
            return factors
        grouped = np.log(factors).reshape(-1, self.repeats, self.head).mean(1, keepdims=True)
        whole = np.broadcast_to(grouped, (grouped.shape[0], self.repeats, self.head))
        shared: Factors = np.exp(whole).reshape(-1).astype(np.float32)
        return shared

    def own(self, factors: torch.Tensor) -> torch.Tensor:
        """Of shared factors [K] those of each row of the maker."""
        return factors.reshape(-1, self.repeats, self.head)[:, 0].reshape(-1)

    def spread(self, factors: torch.Tensor) -> torch.Tensor:
        """The factors [K] of the rows of the maker."""
        each = factors.reshape(-1, 1, self.head)
        return each.expand(-1, self.repeats, self.head).reshape(-1)


@dataclass(frozen=True)
class Folding:
    """What tensors are multiplied by, by their names: `columns` [K], and `rows` [N]."""

    columns: Mapping[str, torch.Tensor] = field(default_factory=dict)
    rows: Mapping[str, torch.Tensor] = field(default_factory=dict)

    def folded(self, name: str, tensor: torch.Tensor) -> torch.Tensor:
        """The tensor [N, K] or [N] in float32, multiplied."""
        result = tensor.float()
        if name in self.rows:
            result = result * (self.rows[name] if result.ndim == 1 else self.rows[name][:, None])
        return result * self.columns[name] if name in self.columns else result

    def hessian(self, name: str, hessian: torch.Tensor) -> torch.Tensor:
        """H [K, K] of the inputs as they are divided."""
        if name not in self.columns:
            return hessian
        inverse = 1 / self.columns[name]
        return hessian * inverse * inverse[:, None]


def sites(base: Path, what: str) -> list[Site]:
    """Every activation that factors can be folded into, in the order of the layers.

    Raises QuantmakeError for a family of which it is not known; `what` wants it.
    """
    config = read_json(base / "config.json")
    kind = config.get("model_type")
    if kind not in ARCHITECTURES:
        raise QuantmakeError(
            f"{what} scales activations, and for the architecture {kind!r} it is not known where "
            f"(known: {', '.join(ARCHITECTURES)}). Choose method: gptq without it."
        )
    heads = int(config["num_attention_heads"])
    repeats = heads // int(config.get("num_key_value_heads") or heads)
    names = tensors_in(base)

    def of_layer(layer: str) -> Iterator[Site]:
        for maker, readers in READERS.items():
            own = tuple(f"{layer}.{one}.weight" for one in readers)
            if maker == "self_attn.v_proj":
                head = names[own[0]].shape[1] // heads
                yield Site(f"{layer}.{maker}", own, head, repeats)
            else:
                yield Site(f"{layer}.{maker}", own)

    layers = (f"model.layers.{number}" for number in range(int(config["num_hidden_layers"])))
    return [site for layer in layers for site in of_layer(layer)]


def fold(
    base: Path, places: Iterable[Site], choose: Callable[[Site, torch.Tensor], torch.Tensor]
) -> Folding:
    """Divide each activation by what `choose` makes of a site and its readers' weights [ΣN, K]."""
    tensors = mapped(tensors_in(base))
    columns: dict[str, torch.Tensor] = {}
    rows: dict[str, torch.Tensor] = {}
    for site in places:
        # Its readers may be makers of a later site, which comes after it: only rows change then.
        weight = torch.cat([tensors[name].float() for name in site.readers])
        factors = choose(site, weight)
        made = tensors[f"{site.maker}.weight"]
        own = site.own(factors)
        if made.ndim == 1:
            own = _as_stored(made, own)
        rows[f"{site.maker}.weight"] = 1 / own
        if (bias := f"{site.maker}.bias") in tensors:
            rows[bias] = 1 / own
        columns |= dict.fromkeys(site.readers, site.spread(own))
    return Folding(columns, rows)


def _as_stored(norm: torch.Tensor, factors: torch.Tensor) -> torch.Tensor:
    """The factors that a norm [K], divided by `factors` and rounded to its type, is divided by."""
    divided = (norm.float() / factors).to(norm.dtype).float()
    exact = norm.float() / divided
    return torch.where(torch.isfinite(exact) & (exact > 0), exact, factors)
