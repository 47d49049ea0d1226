"""An encoder as transformers builds it, without its pooler."""

from pathlib import Path
from typing import Any

import torch
from transformers import AutoConfig, AutoModel

from scripts.base.skeleton import Skeleton
from scripts.errors import QuantmakeError

_WITHOUT_POOLER = ("distilbert", "electra", "modernbert")
# Of heads and poolers, and a buffer of older versions.
_BESIDE = (r"^pooler\.", r"^(cls|lm_head|vocab_\w+|generator_\w+|head|decoder)\.", r"position_ids$")


def _arguments(config: Any) -> dict[str, bool]:
    """What leaves the pooler out, of the families that have one."""
    return {} if config.model_type in _WITHOUT_POOLER else {"add_pooling_layer": False}


def encoder_model(folder: Path, attention: str | None = None) -> torch.nn.Module:
    """The model in float32, ready to be run; `attention` is transformers' name of its kernel, where
    it is not to be what the family has."""
    config = AutoConfig.from_pretrained(folder, attn_implementation=attention)
    model: torch.nn.Module = AutoModel.from_pretrained(
        folder, config=config, dtype=torch.float32, local_files_only=True, **_arguments(config)
    )
    return model.eval()


class EncoderSkeleton(Skeleton):
    """Of a masked language model, the encoder's tensors have a prefix, such as `bert.`."""

    def name_of(self, stored: str) -> str:
        """The encoder's name of a stored tensor."""
        return stored.removeprefix(f"{self.model.base_model_prefix}.")


def encoder_skeleton(folder: Path) -> EncoderSkeleton:
    """The encoder of `folder`/config.json on the meta device, which takes no memory."""
    try:
        config = AutoConfig.from_pretrained(folder)
        with torch.device("meta"):
            model = AutoModel.from_config(config, **_arguments(config))
    except Exception as error:  # a configuration can be wrong in every way
        reason = str(error).strip().partition("\n")[0]
        raise QuantmakeError(
            f"config.json describes no model that transformers can build: {reason}"
        ) from error
    shapes = {name: tuple(tensor.shape) for name, tensor in model.state_dict().items()}
    return EncoderSkeleton(model, shapes, frozenset(), _BESIDE)
