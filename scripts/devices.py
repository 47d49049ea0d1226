"""Where a stage computes: the processor, whose floats are the same on every machine, or a GPU."""

import os
from pathlib import Path
from typing import TYPE_CHECKING, Literal

from scripts.errors import MachineError, RecipeError

if TYPE_CHECKING:
    import torch

Device = Literal["cpu", "cuda"]
Wanted = Literal["auto", "cpu", "cuda"]
VARIABLE = "QUANTMAKE_DEVICE"
_DRIVER = Path("/dev/nvidiactl")


def resolved(wanted: Wanted, driver: Path = _DRIVER) -> Device:
    """What `auto` means on this machine, by what the driver shows: the graph is drawn without
    torch. QUANTMAKE_DEVICE goes before what the recipe says. Raises RecipeError for another word.
    """
    said = os.environ.get(VARIABLE, wanted)
    if said not in ("auto", "cpu", "cuda"):
        raise RecipeError(f"{VARIABLE} is {said!r}; it can be auto, cpu or cuda")
    if said == "auto":
        return "cuda" if driver.exists() else "cpu"
    return "cuda" if said == "cuda" else "cpu"


def torch_device(device: Device) -> "torch.device":
    """torch's name for it. Raises MachineError where torch sees no GPU."""
    import torch

    if device == "cuda" and not torch.cuda.is_available():
        raise MachineError(
            f"device: cuda, but this PyTorch ({torch.__version__}) sees no CUDA GPU. Install "
            "PyTorch's CUDA build and a driver for it, or compute on the processor: device: cpu "
            f"in the recipe, or {VARIABLE}=cpu."
        )
    return torch.device(device)
