"""NNCF on the float graph that quantmake's own OpenVINO artefacts are made from."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from scripts.benchmarks.peer import CPU_TORCH, Inputs, Peer, Scheme


def quantise(inputs: Inputs, out: Path, options: Mapping[str, Any]) -> None:
    """`nncf.compress_weights` with the calibration's windows."""
    import nncf
    import numpy as np
    import openvino as ov

    from scripts.backends.openvino.graph import MODEL, open_model

    model = open_model(inputs["graph"])
    names = {name for one in model.inputs for name in one.get_names()}

    def feeds(window: Any) -> dict[str, Any]:
        length = len(window)
        every = {
            "input_ids": window[None],
            "attention_mask": np.ones((1, length), np.int64),
            "position_ids": np.arange(length)[None],
            "beam_idx": np.zeros(1, np.int32),
        }
        return {name: every[name] for name in names & every.keys()}

    windows = np.load(inputs["calibration"] / "tokens.npy").astype(np.int64)
    given = {key: value for key, value in options.items() if key != "mode"}
    compressed = nncf.compress_weights(
        model,
        mode=nncf.CompressWeightsMode[options["mode"]],
        dataset=nncf.Dataset(list(windows), feeds),
        subset_size=len(windows),
        **given,
    )
    ov.save_model(compressed, out / MODEL, compress_to_fp16=False)


def _scheme(name: str, ours: str, **options: object) -> Scheme:
    said = ", ".join(f"{key}={value}" for key, value in options.items())
    return Scheme(
        name=name,
        call=f"nncf.compress_weights(model, {said}, dataset)",
        ours=ours,
        options=options,
    )


_INT4 = {"mode": "INT4_ASYM", "group_size": 64, "ratio": 1.0}
_OURS = "{format: openvino, bits: 4, method: gptq, block_size: 64}"
PEER = Peer(
    name="NNCF",
    packages=(
        *(CPU_TORCH, "nncf==3.4.0", "openvino==2026.4.1", "onnx==1.23.2"),
        "transformers==4.57.6",
    ),
    quantise=quantise,
    runtime="openvino",
    needs=("graph",),
    schemes=(
        _scheme(
            "INT4 AWQ, scale estimation, groups of 64",
            _OURS,
            **_INT4,
            awq=True,
            scale_estimation=True,
        ),
        _scheme("INT4 GPTQ, groups of 64", _OURS, **_INT4, gptq=True),
    ),
)
