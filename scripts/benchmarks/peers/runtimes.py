"""What scores artefacts that no backend of quantmake loads, in the peers' own environments.

Each takes an artefact, windows [n, context] of token ids and the first position that is scored, and
yields float32 logits [context - first, vocabulary] window by window. All compute in float32.
"""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray


def transformers(
    artifact: Path, windows: NDArray[np.int64], first: int
) -> Iterator[NDArray[np.float32]]:
    """Stock transformers, with the quantiser that the folder's config.json names."""
    import torch
    from transformers import AutoModelForCausalLM

    model = AutoModelForCausalLM.from_pretrained(
        artifact, dtype=torch.float32, local_files_only=True, device_map="cpu"
    ).eval()
    yield from _scored(model, windows, first)


def mlx(artifact: Path, windows: NDArray[np.int64], first: int) -> Iterator[NDArray[np.float32]]:
    """The weights as MLX itself reads them, in transformers' model: MLX's build for CPUs multiplies
    matrices a hundred times as slowly, and its schemes round weights alone."""
    import mlx.core as mx
    import torch
    from mlx_lm import load
    from transformers import AutoConfig, AutoModelForCausalLM

    widened = {}
    for name, module in load(str(artifact))[0].named_modules():
        if "weight" not in module:
            continue
        weight = module.weight
        if "scales" in module:
            parts = (weight, module.scales, module.get("biases"))
            weight = mx.dequantize(
                *parts, group_size=module.group_size, bits=module.bits, mode=module.mode
            )
        widened[f"{name}.weight"] = torch.from_numpy(np.array(weight.astype(mx.float32)))
    config = AutoConfig.from_pretrained(artifact, local_files_only=True)
    config.quantization_config = None
    model = AutoModelForCausalLM.from_config(config, dtype=torch.float32).eval()
    absent, strange = model.load_state_dict(widened, strict=False)
    if strange or set(absent) - {"lm_head.weight"}:
        raise ValueError(f"MLX has no {sorted(absent)}, transformers no {sorted(strange)}")
    yield from _scored(model, windows, first)


def _scored(model: Any, windows: NDArray[np.int64], first: int) -> Iterator[NDArray[np.float32]]:
    import torch

    with torch.inference_mode():
        for tokens in windows:
            ids, keep = torch.from_numpy(tokens)[None], len(tokens) - first
            logits = model(ids, use_cache=False, logits_to_keep=keep).logits[0]
            yield logits.float().numpy()
