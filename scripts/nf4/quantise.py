"""From FP16 shards to shards of 4-bit weights with their quantisation states."""

import json
from pathlib import Path
from typing import Protocol

import torch
from bitsandbytes.functional import QuantState, quantize_4bit
from safetensors import safe_open
from safetensors.torch import save_file
from torch import nn
from transformers import AutoConfig, AutoModelForCausalLM

from scripts.errors import QuantmakeError
from scripts.progress import track


class Settings(Protocol):
    """What the kernel needs to know."""

    @property
    def quant_type(self) -> str: ...
    @property
    def block_size(self) -> int: ...
    @property
    def double_quant(self) -> bool: ...


def linear_weights(base: Path) -> set[str]:
    """Names of the weights to quantise: every nn.Linear but the head, as transformers does.

    Raises QuantmakeError where the model has none.
    """
    config = AutoConfig.from_pretrained(base, local_files_only=True)
    with torch.device("meta"):
        model = AutoModelForCausalLM.from_config(config)
    head = model.get_output_embeddings()
    names = {
        f"{name}.weight"
        for name, module in model.named_modules()
        if isinstance(module, nn.Linear) and module is not head
    }
    if not names:
        raise QuantmakeError(
            f"{base}: {config.architectures} has no linear layer that bitsandbytes can quantise"
        )
    return names


def refuse_not_finite(shards: list[Path], linears: set[str]) -> None:
    """Raise QuantmakeError that names every linear with NaN or infinity in it."""
    bad = []
    for shard in shards:
        with safe_open(shard, "pt") as weights:
            for name in sorted(linears & set(weights.keys())):
                if not torch.isfinite(weights.get_tensor(name)).all():
                    bad.append(name)
    if bad:
        raise QuantmakeError(
            f"the base has NaN or infinity in {', '.join(bad)}; a quantised model of it would "
            "answer nonsense. Mend the source model."
        )


def quantise_shard(shard: Path, out: Path, linears: set[str], settings: Settings) -> dict[str, int]:
    """Write one shard with its linears quantised; return each tensor's size in bytes."""
    tensors: dict[str, torch.Tensor] = {}
    with safe_open(shard, "pt") as weights:
        for name in track(sorted(weights.keys()), f"quantising {shard.name}"):
            tensor = weights.get_tensor(name)
            if name not in linears:
                tensors[name] = tensor
                continue
            packed, state = quantize_4bit(
                tensor,
                blocksize=settings.block_size,
                compress_statistics=settings.double_quant,
                quant_type=settings.quant_type,
            )
            tensors[name] = packed
            for part, value in state.as_dict(packed=True).items():
                tensors[f"{name}.{part}"] = value.contiguous()
    save_file(tensors, out, metadata={"format": "pt"})
    return {name: tensor.numel() * tensor.element_size() for name, tensor in tensors.items()}


def _open_all(folder: Path) -> dict[str, Path]:
    found = {}
    for shard in sorted(folder.glob("*.safetensors")):
        with safe_open(shard, "pt") as weights:
            found.update(dict.fromkeys(weights.keys(), shard))
    return found


def _state_fault(name: str, parts: dict[str, torch.Tensor], kind: str) -> str | None:
    """What is wrong with the quantisation state of one weight, if anything."""
    packed_state = parts.get(f"quant_state.bitsandbytes__{kind}")
    if packed_state is None or "absmax" not in parts:
        return f"{name} has no quantisation state"
    try:
        json.loads(bytes(packed_state.tolist()))
        state = QuantState.from_dict(parts, device=torch.device("cpu"))
    except (ValueError, KeyError) as error:
        return f"{name}: its quantisation state can't be read ({error})"
    scales = state.state2.absmax if state.nested else state.absmax
    return None if torch.isfinite(scales).all() else f"{name}: absmax is not finite"


def faults_in(base: Path, out: Path, settings: Settings) -> list[str]:
    """What is wrong with the folder `out`, in words; nothing where it is whole."""
    expected, found = _open_all(base), _open_all(out)
    linears = linear_weights(base)
    faults = [f"{name} is missing" for name in sorted(set(expected) - set(found))]
    quantised = 0
    for name in sorted(linears & set(found)):
        with safe_open(found[name], "pt") as weights:
            parts = {
                key.removeprefix(f"{name}."): weights.get_tensor(key)
                for key in found
                if key.startswith(f"{name}.")
            }
            fault = _state_fault(name, parts, settings.quant_type)
            quantised += weights.get_tensor(name).dtype == torch.uint8
        faults += [fault] if fault else []
    if quantised == 0:
        faults.append("nothing was quantised")
    return faults
