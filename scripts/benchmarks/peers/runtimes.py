"""What scores artefacts that no backend of quantmake loads, in the peers' own environments.

Each takes an artefact, windows [n, context] of token ids and the first position that is scored, and
yields float32 logits [context - first, vocabulary] window by window. All compute in float32.
"""

from collections.abc import Iterator
from pathlib import Path

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
    keep = windows.shape[1] - first
    with torch.inference_mode():
        for tokens in windows:
            ids = torch.from_numpy(tokens)[None]
            logits = model(ids, use_cache=False, logits_to_keep=keep).logits[0]
            yield logits.float().numpy()


def mlx(artifact: Path, windows: NDArray[np.int64], first: int) -> Iterator[NDArray[np.float32]]:
    """mlx-lm, with what is no integer in float32."""
    import mlx.core as mx
    from mlx.utils import tree_map
    from mlx_lm import load

    model, _ = load(str(artifact))

    def widened(value: mx.array) -> mx.array:
        return value.astype(mx.float32) if mx.issubdtype(value.dtype, mx.floating) else value

    model.update(tree_map(widened, model.parameters()))
    for tokens in windows:
        logits = model(mx.array(tokens)[None])[0, first:]
        yield np.array(logits.astype(mx.float32))
