"""Move weights off the grid of a 4-bit source without changing the model's function.

A source in Q4_1 lies on a 4-bit grid, so that a 4-bit format of the same blocks would reproduce
it exactly and a comparison would say nothing. Random positive scales go between each norm and
the linears that read it, between `up_proj` and `down_proj`, and between `v_proj` and `o_proj`:
one side is multiplied, the other is divided.
"""

import re
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch

from scripts.base.config_json import Config, read_json
from scripts.base.readers import ARCHITECTURES, READERS
from scripts.base.weights import Weights
from scripts.errors import QuantmakeError

MIN_SCALE, MAX_SCALE = 0.8, 1.25

_LAYER = re.compile(r"model\.layers\.(\d+)\.(.+)\.(weight|bias)")
_PLACES = {part: place for place, part in enumerate(READERS)}
_READS = {reader: part for part, readers in READERS.items() for reader in readers}


@dataclass(frozen=True)
class Factors:
    """What one tensor is multiplied by: per row `[rows]` and per column `[columns]`, float64."""

    rows: torch.Tensor | None = None
    columns: torch.Tensor | None = None


def move_off_grid(weights: Weights, config: Path, seed: int) -> Weights:
    """The same function with other weights, in float64; raises QuantmakeError where it can't be."""
    settings = read_json(config)
    kind = settings.get("model_type")
    if kind not in ARCHITECTURES:
        raise QuantmakeError(
            f"off_grid: not for architecture {kind!r} (known: {', '.join(ARCHITECTURES)}); leave "
            "the key out"
        )
    scales = Scales(settings, weights, seed)

    def load(name: str) -> torch.Tensor:
        return scaled(weights.load(name), scales.factors(name))

    return Weights(weights.shapes, load)


def scaled(tensor: torch.Tensor, factors: Factors) -> torch.Tensor:
    """`tensor` `[rows]` or `[rows, columns]` times its factors; as it is where there are none."""
    if factors.rows is None and factors.columns is None:
        return tensor
    result = tensor.to(torch.float64)
    if factors.rows is not None:
        result = result * (factors.rows if result.ndim == 1 else factors.rows[:, None])
    if factors.columns is not None:
        result = result * factors.columns
    return result


class Scales:
    """The scales of every place of the model, each drawn from the seed and the place alone."""

    def __init__(self, config: Config, weights: Weights, seed: int) -> None:
        self._seed = seed
        self._shapes = weights.shapes
        self._tied = bool(config.get("tie_word_embeddings", False))
        heads = int(config["num_attention_heads"])
        self._queries_per_head = heads // int(config.get("num_key_value_heads") or heads)
        self._heads = heads

    def factors(self, name: str) -> Factors:
        """The factors of one tensor, by its name."""
        if name == "model.norm.weight" and not self._tied:
            return Factors(rows=self._draw(-1, 0, name))
        if name == "lm_head.weight" and not self._tied:
            return Factors(columns=1 / self._draw(-1, 0, "model.norm.weight"))
        match = _LAYER.fullmatch(name)
        if match is None:
            return Factors()
        layer, part = int(match[1]), match[2]
        rows = self._of_layer(layer, part) if part in _PLACES else None
        if part not in _READS or match[3] == "bias":
            return Factors(rows)
        read = self._of_layer(layer, _READS[part])
        return Factors(rows, 1 / (self._for_queries(read) if part == "self_attn.o_proj" else read))

    def _of_layer(self, layer: int, part: str) -> torch.Tensor:
        """`[rows]` of a part that is multiplied."""
        return self._draw(layer, _PLACES[part], f"model.layers.{layer}.{part}.weight")

    def _for_queries(self, values: torch.Tensor) -> torch.Tensor:
        """`[query heads · head width]`: each key-value head's scales, for all that read it."""
        per_head = values.reshape(self._heads // self._queries_per_head, -1)
        return per_head.repeat_interleave(self._queries_per_head, dim=0).reshape(-1)

    def _draw(self, layer: int, place: int, like: str) -> torch.Tensor:
        """Uniform in [MIN_SCALE, MAX_SCALE), one for each row of the tensor `like`."""
        count = self._shapes[like][0]
        random = np.random.Generator(np.random.PCG64([self._seed, layer + 1, place]))
        return torch.from_numpy(MIN_SCALE + (MAX_SCALE - MIN_SCALE) * random.random(count))
