"""The model without its weights: which tensors its architecture has, and of what shape."""

import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import nn

from scripts.base.config_json import read_json
from scripts.base.published import Converted, published_modules, published_shapes
from scripts.errors import QuantmakeError

# Older checkpoints store constants: rotary frequencies and causal masks.
_BUFFERS = (r"rotary_emb\.inv_freq$", r"\.(attn|attention)\.(masked_)?bias$")
_EXPERT = re.compile(r"\.\d+\.(gate|up|down)_proj$")
_WIDE = 32  # a stack of matrices has at least so many rows and columns; a convolution's are fewer


@dataclass(frozen=True)
class Skeleton:
    """The stored tensors of an architecture: a tied head is not among them."""

    model: Any
    shapes: dict[str, tuple[int, ...]]  # by the names of files
    tied: frozenset[str]
    ignored: tuple[str, ...]

    def linears(self) -> dict[str, tuple[int, int]]:
        """The shapes [rows, columns] of linear layers by the names of files, experts one by one
        where files have them so. Those of routers are none: see `routers`."""
        known = self._published()
        own = [name for name, one in self.model.named_modules() if isinstance(one, nn.Linear)]
        experts = [name for name in known if _EXPERT.search(name)]
        names = [known.get(name, name) for name in (*own, *experts)]
        shapes = {name: self.shapes[f"{name}.weight"] for name in names if self.has(name)}
        order = {name: place for place, name in enumerate(self.shapes)}
        placed = sorted(shapes, key=lambda name: order[f"{name}.weight"])
        return {name: (shapes[name][0], shapes[name][1]) for name in placed}

    def has(self, name: str) -> bool:
        """Whether files hold a weight of the module."""
        return f"{name}.weight" in self.shapes

    def routers(self) -> set[str]:
        """What chooses among experts, by the names of files: linears that stand beside them."""
        known, names = self._published(), set()
        for name, module in self.model.named_modules():
            if isinstance(getattr(module, "experts", None), nn.Module):
                for child, one in module.named_children():
                    weight = getattr(one, "weight", None)
                    if isinstance(weight, nn.Parameter) and weight.dim() == 2:
                        names.add(known.get(f"{name}.{child}", f"{name}.{child}"))
        return names

    def stacked(self) -> list[str]:
        """The model's own tensors that hold the experts of a layer."""
        own = {name: tuple(one.shape) for name, one in self.model.named_parameters()}
        return _stacks(own)

    def stacked_in_files(self) -> list[str]:
        """Those that files have as well."""
        return _stacks(self.shapes)

    def published(self, module: str) -> str:
        """What files call one of the model's own modules."""
        return self._published().get(module, module)

    def _published(self) -> dict[str, str]:
        outlines = {n: torch.empty(one, device="meta") for n, one in self.shapes.items()}
        return published_modules(Converted(self.model, outlines))

    def name_of(self, stored: str) -> str:
        """The architecture's name of a stored tensor; some files leave the first part out."""
        prefixed = f"{self.model.base_model_prefix}.{stored}"
        return prefixed if prefixed in self.shapes and stored not in self.shapes else stored

    def leaves_out(self, name: str) -> bool:
        """True for a tensor that the architecture does not read: a tied head, a buffer."""
        return name in self.tied or any(re.search(pattern, name) for pattern in self.ignored)

    def compare(self, shapes: Mapping[str, tuple[int, ...]], what: str) -> None:
        """Raise QuantmakeError that names every missing, unknown and mis-shaped tensor."""
        both = sorted(self.shapes.keys() & shapes.keys())
        problems = [f"missing: {name}" for name in sorted(self.shapes.keys() - shapes.keys())]
        problems += [f"unknown: {name}" for name in sorted(shapes.keys() - self.shapes.keys())]
        problems += [
            f"{name} is {list(shapes[name])} and should be {list(self.shapes[name])}"
            for name in both
            if tuple(shapes[name]) != self.shapes[name]
        ]
        if problems:
            raise QuantmakeError(
                f"the tensors of {what} are not those that config.json describes "
                f"({len(problems)} differences): {'; '.join(problems)}. The configuration "
                "belongs to another model, or the weights are incomplete."
            )


def _stacks(shapes: Mapping[str, tuple[int, ...]]) -> list[str]:
    return [n for n, shape in shapes.items() if len(shape) == 3 and min(shape[1:]) >= _WIDE]


def _refuse_odd_heads(folder: Path) -> None:
    """Raise QuantmakeError where heads can't be turned: rotary positions turn pairs of values."""
    config = read_json(folder / "config.json")
    config = config.get("text_config") or config
    rope = config.get("rope_parameters") or {}
    heads, hidden = (config.get(name) for name in ("num_attention_heads", "hidden_size"))
    width = config.get("head_dim") or (hidden // heads if heads and hidden else 0)
    share = config.get("partial_rotary_factor") or rope.get("partial_rotary_factor")
    is_turned = "rope_theta" in config or bool(rope)
    if width % 2 and share in (None, 1.0) and is_turned:
        raise QuantmakeError(
            f"config.json: the heads are {width} wide (hidden_size {hidden}, num_attention_heads "
            f"{heads}), but rotary positions turn pairs of values, so that a head needs an even "
            "width; no runtime can run this model"
        )


def skeleton(folder: Path, *, trust: bool) -> Skeleton:
    """Build the model of `folder`/config.json on the meta device, which takes no memory."""
    from transformers import AutoConfig, AutoModelForCausalLM

    _refuse_odd_heads(folder)
    try:
        config = AutoConfig.from_pretrained(folder, trust_remote_code=trust)
        with torch.device("meta"):
            model = AutoModelForCausalLM.from_config(config, trust_remote_code=trust)
    except Exception as error:  # a configuration can be wrong in every way
        reason = " ".join(str(error).split())
        raise QuantmakeError(
            f"config.json describes no model that transformers can build: {reason}"
        ) from error
    is_tied = getattr(config.get_text_config(), "tie_word_embeddings", False)
    tied = frozenset(getattr(model, "_tied_weights_keys", None) or ()) if is_tied else frozenset()
    ignored = getattr(model, "_keys_to_ignore_on_load_unexpected", None) or ()
    return Skeleton(model, published_shapes(model, tied), tied, (*ignored, *_BUFFERS))
