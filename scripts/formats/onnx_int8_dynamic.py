"""ONNX INT8, dynamic: integer MatMuls, activations quantised at run time."""

from collections.abc import Mapping
from pathlib import Path
from typing import Literal

from scripts.stage import Format

_WEIGHT_ONLY_BLOCK = 32


class OnnxInt8Dynamic(Format):
    """ONNX INT8 dynamic, one folder

    `weight_only` names (by parts of their nodes' names) the MatMuls whose inputs have too wide
    a range for 8 bits; they become weight-only, and so does the embedding with the head. `smooth`
    folds outliers of the other inputs into the weights (SmoothQuant).
    """

    format: Literal["onnx"]
    bits: Literal[8]
    method: Literal["dynamic"]
    weight_only: tuple[str, ...] = ("lm_head", "down_proj")
    smooth: bool = True
    per_channel: bool = True
    reduce_range: bool = False

    runtime = "onnxruntime"
    needs = ("graph", "capture")
    packages = ("onnx", "onnx-ir", "onnxruntime")

    def label(self) -> str:
        """For tables and charts."""
        return "INT8 dynamic (ONNX)"

    def run(self, inputs: Mapping[str, Path], out: Path) -> None:
        """Raises QuantmakeError for a pattern that matches nothing."""
        from scripts.calibration.stored import Captured
        from scripts.onnx_files.graph import linears, open_graph, save_graph, split
        from scripts.onnx_files.integer import dynamic
        from scripts.onnx_files.nbits import quantise_linears
        from scripts.onnx_files.smooth import smooth

        model = open_graph(inputs["graph"])
        integer, blocks = split(linears(model), list(self.weight_only))
        if self.smooth:
            smooth(model, Captured(inputs["capture"]), integer)
        quantise_linears(model, blocks, bits=8, block_size=_WEIGHT_ONLY_BLOCK, accuracy_level=4)
        dynamic(model, integer, per_channel=self.per_channel, reduce_range=self.reduce_range)
        save_graph(model, inputs["graph"], out)

    def check(self, inputs: Mapping[str, Path], out: Path) -> None:
        """It loads, every MatMul was quantised, its scales and logits are finite."""
        from scripts.onnx_files.check import check_artifact

        check_artifact(inputs["graph"], out)
