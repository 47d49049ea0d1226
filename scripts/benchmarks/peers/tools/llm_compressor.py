"""llm-compressor: compressed-tensors folders for vLLM."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from scripts.benchmarks.peer import CPU_TORCH, Inputs, Peer, Scheme

_IGNORED = ["lm_head"]


def quantise(inputs: Inputs, out: Path, options: Mapping[str, Any]) -> None:
    """`oneshot` on the calibration's windows, in their order.

    Computed in float32, which is many times as fast on a CPU as float16, and stored in float16.
    """
    import numpy as np
    import torch
    from datasets import Dataset
    from llmcompressor import oneshot
    from transformers import AutoTokenizer

    # AWQ pins what it keeps for a GPU, whether there is one or not.
    tensors: Any = torch.Tensor
    tensors.pin_memory = lambda tensor, *_: tensor
    windows = np.load(inputs["calibration"] / "tokens.npy").tolist()
    masks = [[1] * len(window) for window in windows]
    model = oneshot(
        model=str(inputs["base"]),
        tokenizer=str(inputs["base"]),
        precision="float32",
        dataset=Dataset.from_dict({"input_ids": windows, "attention_mask": masks}),
        recipe=_modifiers(options),
        max_seq_length=len(windows[0]),
        num_calibration_samples=len(windows),
        shuffle_calibration_samples=False,
    )
    model.to(torch.float16).save_pretrained(out, save_compressed=True)
    AutoTokenizer.from_pretrained(inputs["base"]).save_pretrained(out)


def _modifiers(options: Mapping[str, Any]) -> list[Any]:
    from compressed_tensors.quantization import QuantizationArgs, QuantizationScheme
    from llmcompressor.modifiers.gptq import GPTQModifier
    from llmcompressor.modifiers.quantization import QuantizationModifier
    from llmcompressor.modifiers.transform.awq import AWQModifier
    from llmcompressor.modifiers.transform.smoothquant import SmoothQuantModifier

    common = {"targets": "Linear", "ignore": _IGNORED}
    if options["scheme"] == "W8A8":
        smoothing = SmoothQuantModifier(smoothing_strength=0.8)
        return [smoothing, GPTQModifier(scheme="W8A8", **common)]
    weights = QuantizationArgs(
        num_bits=4, strategy="group", group_size=options["group_size"], symmetric=True
    )
    groups = {"group_0": QuantizationScheme(targets=["Linear"], weights=weights)}
    if options["method"] == "awq":
        return [AWQModifier(), QuantizationModifier(config_groups=groups, ignore=_IGNORED)]
    return [GPTQModifier(config_groups=groups, ignore=_IGNORED)]


PEER = Peer(
    name="llm-compressor",
    packages=(CPU_TORCH, "llmcompressor==0.14.0.1", "transformers==5.17.0"),
    quantise=quantise,
    runtime="compressed-tensors",
    schemes=(
        Scheme(
            name="W4A16 GPTQ, groups of 64",
            call='oneshot(recipe=GPTQModifier("W4A16", group_size 64, ignore=["lm_head"]))',
            ours="{format: compressed-tensors, scheme: W4A16, group_size: 64, method: gptq}",
            options={"scheme": "W4A16", "group_size": 64, "method": "gptq"},
        ),
        Scheme(
            name="W4A16 AWQ, groups of 64",
            call='oneshot(recipe=[AWQModifier(), QuantizationModifier("W4A16", group_size 64)])',
            ours="{format: compressed-tensors, scheme: W4A16, group_size: 64, method: awq}",
            options={"scheme": "W4A16", "group_size": 64, "method": "awq"},
        ),
        Scheme(
            name="W8A8 SmoothQuant GPTQ",
            call='oneshot(recipe=[SmoothQuantModifier(0.8), GPTQModifier("W8A8")])',
            ours="{format: compressed-tensors, scheme: W8A8, smooth: true, method: gptq}",
            options={"scheme": "W8A8"},
        ),
    ),
)
