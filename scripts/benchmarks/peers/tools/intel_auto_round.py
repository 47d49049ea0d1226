"""AutoRound: rounding and scales learnt block by block by signed gradient descent."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from scripts.benchmarks.peer import CPU_TORCH, Inputs, Peer, Scheme


def quantise(inputs: Inputs, out: Path, options: Mapping[str, Any]) -> None:
    """`AutoRound(…).quantize_and_save` on the calibration's windows."""
    import numpy as np
    import torch
    from auto_round import AutoRound

    windows = torch.from_numpy(np.load(inputs["calibration"] / "tokens.npy").astype("int64"))
    tuned = AutoRound(
        str(inputs["base"]),
        dataset=[window[None] for window in windows],
        nsamples=len(windows),
        seqlen=windows.shape[1],
        device_map="cpu",
        **options,
    )
    tuned.quantize_and_save(str(out), format="auto_round")


_OURS = "{format: compressed-tensors, scheme: W4A16, group_size: 64, method: gptq}"
PEER = Peer(
    name="AutoRound",
    packages=(CPU_TORCH, "auto-round==0.16.1", "transformers==4.57.6"),
    quantise=quantise,
    runtime="scripts.benchmarks.peers.runtimes:transformers",
    schemes=(
        Scheme(
            name="W4A16, groups of 64, 50 iterations",
            call='AutoRound(scheme="W4A16", group_size=64, iters=50, lr=5e-3)',
            ours=_OURS,
            options={"scheme": "W4A16", "group_size": 64, "iters": 50, "lr": 5e-3},
            note="Its own `auto-round-light`; by default it takes 200 iterations.",
        ),
    ),
)
