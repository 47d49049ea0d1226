"""What is wrong with a folder of MLX, if anything."""

from pathlib import Path

import numpy as np
import torch
from safetensors import safe_open

from scripts.backends.mlx.folder import parse_quantization
from scripts.backends.mlx.gate import is_absent
from scripts.backends.mlx.plan import Plan
from scripts.backends.mlx.rounding import layouts_of
from scripts.backends.model import load_model
from scripts.errors import QuantmakeError
from scripts.tensors.header import Stored, tensors_in

_TOKENS = 4


def check_artifact(plan: Plan, out: Path) -> None:
    """Compare `out` with the plan, tensor by tensor. Raises QuantmakeError that names every fault;
    where MLX is installed, also where it does not load or its logits are not finite."""
    faults = faults_in(plan, out)
    if faults:
        raise QuantmakeError(f"{out.name} is broken: {'; '.join(faults)}")
    if not is_absent():
        load_model("mlx", out, threads=1, context=_TOKENS).prefill(np.arange(_TOKENS))


def faults_in(plan: Plan, out: Path) -> list[str]:
    """In words."""
    try:
        stored, said = tensors_in(out), parse_quantization(out)
    except (OSError, ValueError, QuantmakeError) as error:
        return [str(error)]
    faults = []
    for module in plan.modules:
        bits = said.get(module.name, said)["bits"]
        if bits != module.bits:
            faults.append(f"config.json gives {module.name} {bits} bits, not {module.bits}")
        for name, wanted in layouts_of(module, plan.group).items():
            one = stored.get(name)
            if one is None:
                faults.append(f"{name} is missing")
            elif (one.dtype, one.shape) != (wanted.dtype, wanted.shape):
                faults.append(
                    f"{name} is {one.dtype} {list(one.shape)}, "
                    f"not {wanted.dtype} {list(wanted.shape)}"
                )
            elif not name.endswith(".weight"):
                faults += _not_finite(name, one)
    return faults + [f"{name} is missing" for name in plan.floats if name not in stored]


def _not_finite(name: str, one: Stored) -> list[str]:
    with safe_open(one.file, "pt") as weights:
        finite = bool(torch.isfinite(weights.get_tensor(name)).all())
    return [] if finite else [f"{name} is not finite"]
