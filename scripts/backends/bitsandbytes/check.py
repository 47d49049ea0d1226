"""What is wrong with a folder of 4-bit weights, if anything."""

from pathlib import Path
from typing import Any

import torch
from bitsandbytes.functional import QuantState
from safetensors import SafetensorError, safe_open

from scripts.backends.bitsandbytes.plan import Plan
from scripts.backends.bitsandbytes.stored import Settings
from scripts.tensors.header import tensors_in


def faults_in(base: Path, out: Path, plan: Plan, settings: Settings) -> list[str]:
    """Compare `out` with the base, tensor by tensor; returns the faults in words."""
    shapes = {name: tensor.shape for name, tensor in tensors_in(base).items()}
    faults: list[str] = []
    seen: set[str] = set()
    for shard in sorted(out.glob("*.safetensors")):
        try:
            with safe_open(shard, "pt") as weights:
                names = set(weights.keys())
                for name in sorted(names & shapes.keys()):
                    seen.add(name)
                    if name in plan.weights:
                        faults += _faults_of(name, weights, names, shapes[name], settings)
                    elif tuple(weights.get_slice(name).get_shape()) != shapes[name]:
                        faults.append(f"{name} has another shape than in the base")
        except SafetensorError as error:
            faults.append(f"{shard.name} can't be read ({error})")
    faults += [f"{name} is missing" for name in sorted(shapes.keys() - seen)]
    if not seen & plan.weights:
        faults.append("nothing is quantised")
    return faults


def _faults_of(
    name: str, weights: Any, names: set[str], shape: tuple[int, ...], settings: Settings
) -> list[str]:
    """The faults of one quantised weight, whose shape in the base is `shape`."""
    scales = ["absmax", "quant_map"]
    scales += ["nested_absmax", "nested_quant_map"] if settings.double_quant else []
    parts = [f"{name}.{part}" for part in scales]
    parts.append(f"{name}.quant_state.bitsandbytes__{settings.quant_type}")
    missing = [part for part in parts if part not in names]
    if missing:
        return [f"{part} is missing" for part in missing]
    packed = weights.get_tensor(name)
    values = torch.Size(shape).numel()
    if packed.dtype != torch.uint8 or packed.numel() != values // 2:
        return [f"{name} is {packed.dtype} × {packed.numel()}, not uint8 × {values // 2}"]
    stored = {part: weights.get_tensor(part) for part in parts}
    try:
        state = QuantState.from_dict(stored, device=torch.device("cpu"))
    except (ValueError, KeyError) as error:
        return [f"{name}: its quantisation state can't be read ({error})"]
    if torch.Size(state.shape).numel() != values or state.blocksize != settings.block_size:
        return [f"{name}: its quantisation state is of another tensor or block size"]
    scales_of = (
        [state.absmax, state.state2.absmax, state.offset] if state.nested else [state.absmax]
    )
    finite = all(bool(torch.isfinite(scale.float()).all()) for scale in scales_of)
    return [] if finite else [f"{name}: absmax is not finite"]
