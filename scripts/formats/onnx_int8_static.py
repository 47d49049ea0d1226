"""ONNX INT8, static: integer MatMuls, activations with ranges from the calibration."""

from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Literal

from pydantic import Field

from scripts.stage import Format

_WEIGHT_ONLY_BLOCK = 32


class OnnxInt8Static(Format):
    """ONNX INT8 static (calibrated QDQ), one folder

    Activations are clipped at a percentile of their values over `windows` windows of the
    calibration, prefill and decode steps alike; 100 clips nothing. `weight_only` and `smooth` are
    as in the dynamic format.
    """

    format: Literal["onnx"]
    bits: Literal[8]
    method: Literal["static"]
    weight_only: tuple[str, ...] = ("lm_head", "down_proj")
    windows: Annotated[int, Field(ge=1)] = 16
    smooth: bool = True
    percentile: Annotated[float, Field(gt=99, le=100)] = 99.999
    per_channel: bool = True
    reduce_range: bool = False

    runtime = "onnxruntime"
    needs = ("graph", "calibration", "capture")
    packages = ("onnx", "onnx-ir", "onnxruntime")
    cpu_features = True

    def label(self) -> str:
        """For tables and charts."""
        return "INT8 static (ONNX)"

    def run(self, inputs: Mapping[str, Path], out: Path) -> None:
        """Raises QuantmakeError for graphs with subgraphs and for broken activations."""
        import numpy as np

        from scripts.calibration.stored import Captured
        from scripts.onnx_files.graph import linears, open_graph, save_graph, split
        from scripts.onnx_files.integer import static
        from scripts.onnx_files.nbits import quantise_linears
        from scripts.onnx_files.ranges import activation_ranges, refuse_subgraphs
        from scripts.onnx_files.smooth import smooth
        from scripts.runtimes.model import available_cores

        refuse_subgraphs(inputs["graph"])
        model = open_graph(inputs["graph"])
        integer, blocks = split(linears(model), list(self.weight_only))
        sources = [linear.node.inputs[0] for linear in integer]
        names = list(dict.fromkeys(str(value.name) for value in sources if value is not None))
        tokens = np.load(inputs["calibration"] / "tokens.npy")[: self.windows]
        factors = smooth(model, Captured(inputs["capture"]), integer) if self.smooth else {}
        ranges = activation_ranges(
            inputs["graph"],
            names,
            tokens,
            factors=factors,
            percentile=self.percentile,
            threads=available_cores(),
        )
        quantise_linears(model, blocks, bits=8, block_size=_WEIGHT_ONLY_BLOCK, accuracy_level=4)
        static(
            model,
            integer,
            ranges,
            per_channel=self.per_channel,
            reduce_range=self.reduce_range,
        )
        save_graph(model, inputs["graph"], out)

    def check(self, inputs: Mapping[str, Path], out: Path) -> None:
        """It loads, every MatMul was quantised, its scales and logits are finite."""
        from scripts.onnx_files.check import check_artifact

        check_artifact(inputs["graph"], out)
