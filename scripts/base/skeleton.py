"""The model without its weights: which tensors its architecture has, and of what shape."""

import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

from scripts.base.published import published_shapes
from scripts.errors import QuantmakeError

# Older checkpoints store constants: rotary frequencies and causal masks.
_BUFFERS = (r"rotary_emb\.inv_freq$", r"\.(attn|attention)\.(masked_)?bias$")


@dataclass(frozen=True)
class Skeleton:
    """The stored tensors of an architecture: a tied head is not among them."""

    model: Any
    shapes: dict[str, tuple[int, ...]]
    tied: frozenset[str]
    ignored: tuple[str, ...]

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


def _refuse_odd_heads(config: Any) -> None:
    """Raise QuantmakeError where heads can't be turned: rotary positions turn pairs of values."""
    heads, hidden = (getattr(config, n, None) for n in ("num_attention_heads", "hidden_size"))
    width = getattr(config, "head_dim", None) or (hidden // heads if heads and hidden else 0)
    turns_all = getattr(config, "partial_rotary_factor", None) in (None, 1.0)
    if width % 2 and turns_all and getattr(config, "rope_theta", None) is not None:
        raise QuantmakeError(
            f"config.json: the heads are {width} wide (hidden_size {hidden}, num_attention_heads "
            f"{heads}), but rotary positions turn pairs of values, so that a head needs an even "
            "width; no runtime can run this model"
        )


def skeleton(folder: Path, *, trust: bool) -> Skeleton:
    """Build the model of `folder`/config.json on the meta device, which takes no memory."""
    from transformers import AutoConfig, AutoModelForCausalLM

    try:
        config = AutoConfig.from_pretrained(folder, trust_remote_code=trust)
        with torch.device("meta"):
            model = AutoModelForCausalLM.from_config(config, trust_remote_code=trust)
    except Exception as error:  # a configuration can be wrong in every way
        reason = str(error).strip().partition("\n")[0]
        raise QuantmakeError(
            f"config.json describes no model that transformers can build: {reason}"
        ) from error
    _refuse_odd_heads(config.get_text_config())
    is_tied = getattr(config.get_text_config(), "tie_word_embeddings", False)
    tied = frozenset(getattr(model, "_tied_weights_keys", None) or ()) if is_tied else frozenset()
    ignored = getattr(model, "_keys_to_ignore_on_load_unexpected", None) or ()
    return Skeleton(model, published_shapes(model, tied), tied, (*ignored, *_BUFFERS))
