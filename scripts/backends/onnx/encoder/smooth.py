"""SmoothQuant on an encoder's graph: the norms' outputs are added to the residual too, so factors
are not folded into them, but multiplied with each activation before its MatMuls."""

from pathlib import Path

import numpy as np
import onnx_ir as ir
from numpy.typing import NDArray
from safetensors import safe_open

from scripts.backends.onnx.graph import Linear, constant
from scripts.calibration.stored import STATISTICS
from scripts.errors import QuantmakeError
from scripts.methods.smoothquant import Activation, best_factors
from scripts.progress import track

Ranges = dict[str, tuple[float, float]]


class Statistics:
    """What `EncoderCapture` stored of the inputs of each linear."""

    def __init__(self, folder: Path) -> None:
        self._file = safe_open(folder / STATISTICS, "np")
        self._names = set(self._file.keys())

    def of(self, linear: Linear) -> Activation:
        """Of a MatMul, whose node has the linear's name; raises QuantmakeError where it was not
        seen."""
        name = linear.name.removesuffix("/MatMul").strip("/").replace("/", ".")
        kinds = ("minimum", "maximum", "mean_square")
        if f"{name}.{kinds[0]}" not in self._names:
            raise QuantmakeError(
                f"the calibration has seen no linear {name}, which the MatMul {linear.name} would "
                "be; take the artefacts of `method: dynamic` and `static` out of the recipe"
            )
        return Activation(*(self._file.get_tensor(f"{name}.{kind}") for kind in kinds))


def smooth(
    model: ir.Model, chosen: list[Linear], statistics: Statistics, *, unchanged: bool
) -> Ranges:
    """Divide what the chosen MatMuls read by the factors of least error, and multiply the weights
    by them; the ranges of what they read then, by name. `unchanged` takes ranges only."""
    readers: dict[ir.Value, list[Linear]] = {}
    for linear in chosen:
        source = linear.node.inputs[0]
        assert source is not None
        readers.setdefault(source, []).append(linear)
    ranges: Ranges = {}
    for source, own in track(list(readers.items()), "smoothing"):
        seen = statistics.of(own[0])
        name = str(source.name)
        if not unchanged:
            weight = np.concatenate([one.weight() for one in own], axis=1)
            factors = best_factors(weight, seen, lambda same: same)
            name = _multiply(model, source, own, factors)
            seen = seen.divided(factors)
        ranges[name] = float(seen.minimum.min()), float(seen.maximum.max())
    return ranges


def _multiply(
    model: ir.Model, source: ir.Value, readers: list[Linear], factors: NDArray[np.float32]
) -> str:
    """Put the division before the readers and the factors into their weights; the new name."""
    inverse = constant(model, f"{source.name}_smoothing", (1 / factors).astype(np.float32))
    node = ir.node("Mul", [source, inverse], name=f"{source.name}_smooth")
    made = node.outputs[0]
    made.name, made.shape, made.type = f"{source.name}_smoothed", source.shape, source.type
    model.graph.insert_before(readers[0].node, node)
    for one in readers:
        old = one.node.inputs[1]
        assert old is not None
        weight = constant(model, f"{old.name}_smoothed", one.weight() * factors[:, None])
        one.node.replace_input_with(0, made)
        one.node.replace_input_with(1, weight)
    return str(made.name)
