"""The families that mlx-lm knows, and where it has other names for their tensors than the hub.

mlx-lm renames tensors of published models as it loads them (`sanitize` of mlx_lm/models/*.py), but
codes, scales and biases by its own names alone: so these are what is written. Each family here is
one that a test loads.
"""

import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from scripts.base.config_json import read_json
from scripts.errors import QuantmakeError

_EXPERT = re.compile(r"(.*)\.experts\.\d+\.(\w+)")


@dataclass(frozen=True)
class Family:
    """`experts` are the names of the three linears of each expert in mlx-lm, which stacks those of
    all experts of a layer, by the hub's. All else has one name here and there."""

    experts: Mapping[str, str]

    def module(self, name: str) -> str:
        """What mlx-lm calls the linear or the embedding that the hub calls `name`."""
        if (expert := _EXPERT.fullmatch(name)) and expert[2] in self.experts:
            return f"{expert[1]}.switch_mlp.{self.experts[expert[2]]}"
        return name


_GATED = {name: name for name in ("gate_proj", "up_proj", "down_proj")}
FAMILIES: Mapping[str, Family] = {
    **dict.fromkeys(
        (
            *("cohere", "gemma2", "gemma3_text", "gemma4_text", "granite", "llama", "ministral3"),
            *(
                "mistral",
                "olmo2",
                "olmo3",
                "phi",
                "phi3",
                "qwen2",
                "qwen3",
                "smollm3",
                "stablelm",
                "starcoder2",
            ),
        ),
        Family({}),
    ),
    **dict.fromkeys(("olmoe", "qwen2_moe", "qwen3_moe"), Family(_GATED)),
    "mixtral": Family({"w1": "gate_proj", "w2": "down_proj", "w3": "up_proj"}),
}
"""By the `model_type` of config.json."""


def unknown(kind: str) -> str:
    """Why a model of this `model_type` is refused; empty where it is known."""
    if kind in FAMILIES:
        return ""
    return (
        f"config.json: of the model_type {kind!r} it is not known how mlx-lm names its tensors "
        f"(known: {', '.join(sorted(FAMILIES))}). Take the artefacts with `format: mlx` out of the "
        "recipe."
    )


def family_of(base: Path) -> Family:
    """That of a base. Raises QuantmakeError for one that is not known."""
    kind = str(read_json(base / "config.json").get("model_type"))
    if reason := unknown(kind):
        raise QuantmakeError(reason)
    return FAMILIES[kind]
