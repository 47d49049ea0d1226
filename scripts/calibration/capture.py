"""One pass of the calibration's text through the base: what each linear layer is fed."""

from collections.abc import Mapping
from pathlib import Path

from scripts.devices import Device
from scripts.footprints import FOOTPRINTS
from scripts.stage import Stage


class Capture(Stage):
    """Observe the inputs of every linear layer over the calibration's text

    Writes `statistics.safetensors`, for each linear by its Hugging Face name (`lm_head`,
    `model.layers.0.mlp.down_proj`, …) the float32 [columns] tensors `NAME.mean_square`,
    `NAME.minimum` and `NAME.maximum` of its input columns; and `hessian.safetensors` with
    XᵀX / n, float32 [columns, columns], of n tokens X [n, columns], which are weighed so that those
    with large inputs do not drown the others (`token_weights.py`). Linears that read the same input
    share one Hessian, named after the first of them: the file's metadata entry
    `shared` is a JSON object from each linear's name to that name. Value projections have one of
    their own beside it, `NAME.mixed`, of inputs as attention mixes them, where it is transformers'
    own attention; the entry `mixed` has their numbers of outputs.

    The base is computed in float32 with one decoder layer in memory at a time. Every window is
    computed on one thread and sums are taken in the order of the windows, so the bytes do not
    depend on the number of cores.
    """

    device: Device = "cpu"

    footprint = FOOTPRINTS["capture"]

    def run(self, inputs: Mapping[str, Path], out: Path) -> None:
        """Raises QuantmakeError for weights that are not finite, activations that are all zero
        or not finite, and a model that is no stack of decoder layers."""
        from scripts.calibration.layers import capture
        from scripts.checkpoint import Checkpoints
        from scripts.workers import available_cores

        capture(
            *(inputs["base"], inputs["calibration"], out, Checkpoints.of_this_run()),
            threads=available_cores(),
            device=self.device,
        )
