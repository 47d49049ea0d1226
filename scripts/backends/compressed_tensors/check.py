"""What is wrong with a folder of compressed-tensors, if anything."""

import json
from pathlib import Path

import torch
from compressed_tensors.quantization import QuantizationConfig
from pydantic import ValidationError
from safetensors import safe_open

from scripts.backends.compressed_tensors.plan import Plan
from scripts.backends.compressed_tensors.schemes import Settings, layout_of, scheme_of
from scripts.errors import QuantmakeError
from scripts.tensors.header import Stored, read_header, tensors_in


def faults_in(base: Path, out: Path, plan: Plan, settings: Settings) -> list[str]:
    """Compare `out` with the base, tensor by tensor; returns the faults in words."""
    stored: dict[str, Stored] = {}
    faults = _faults_of_config(out, settings, plan)
    for shard in sorted(out.glob("*.safetensors")):
        try:
            stored |= read_header(shard)
        except QuantmakeError as error:
            faults.append(str(error))
    layout = layout_of(settings)
    for name, tensor in tensors_in(base).items():
        if name not in plan.weights:
            faults += _differences(name, stored.get(name), tensor.dtype, tensor.shape)
            continue
        stem = name.removesuffix("weight")
        for part, (dtype, shape) in layout.expected(*tensor.shape).items():
            faults += _differences(f"{stem}{part}", stored.get(f"{stem}{part}"), dtype, shape)
            if part.endswith("scale") and f"{stem}{part}" in stored:
                faults += _scales(stored[f"{stem}{part}"], f"{stem}{part}")
    return faults


def _faults_of_config(out: Path, settings: Settings, plan: Plan) -> list[str]:
    """Of `quantization_config`, read as the runtimes read it."""
    try:
        config = json.loads((out / "config.json").read_text(encoding="utf-8"))
        read = QuantizationConfig.model_validate(config["quantization_config"])
    except (OSError, ValueError, KeyError, ValidationError) as error:
        return [f"config.json has no quantization_config that compressed-tensors reads ({error})"]
    wanted = scheme_of(settings)
    said = (*read.config_groups.values(), read.format, tuple(read.ignore or ()))
    if said != (wanted, wanted.format, plan.ignored):
        return [f"config.json says another scheme than {settings.scheme}"]
    return []


def _differences(name: str, found: Stored | None, dtype: str, shape: tuple[int, ...]) -> list[str]:
    if found is None:
        return [f"{name} is missing"]
    if (found.dtype, found.shape) != (dtype, shape):
        return [f"{name} is {found.dtype} {list(found.shape)}, not {dtype} {list(shape)}"]
    return []


def _scales(found: Stored, name: str) -> list[str]:
    with safe_open(found.file, "pt") as weights:
        scales = weights.get_tensor(name).float()
    usable = bool(torch.isfinite(scales).all()) and bool((scales > 0).all())
    return [] if usable else [f"{name} is not finite or not above zero"]
