"""The table of what stages take of the machine, from which their forecasts are made.

A stage names its row, or adds up rows where that depends on its options. What was measured when
the same was built before counts more (`engine/run/forecasts.py`).
"""

from dataclasses import astuple, dataclass

from scripts.forecast import Forecast, Inputs, Outline

IN_NO_KEY = "it says what stages will need, and makes no bytes"

_BUILD_ONLY = "`doit artifact` builds the artefacts and measures nothing"


@dataclass(frozen=True)
class Footprint:
    """Bytes of memory: `fixed`, and so many for each value of the largest tensor, of the largest
    layer, of the largest Hessian, of a layer's Hessians and of the whole model, and for each byte
    of the input `artifact`.

    Bytes written: for each value of the layers, of what lies `outside` of them, of all Hessians
    and of a row of the vocabulary, and `written` in any case. `instead`: what can be had without.
    """

    fixed: float = 0
    largest: float = 0
    layer: float = 0
    hessian: float = 0
    hessians: float = 0
    value: float = 0
    artifact: float = 0
    disk: float = 0
    outside: float = 0
    disk_hessians: float = 0
    disk_row: float = 0
    written: float = 0
    instead: str = ""

    def __add__(self, other: "Footprint") -> "Footprint":
        pairs = zip(astuple(self), astuple(other), strict=True)
        return Footprint(*(one + two for one, two in pairs))

    def for_model(self, inputs: Inputs) -> Forecast | None:
        """Of the model that the inputs tell of; None where none does."""
        if self.artifact:
            artifact = inputs.get("artifact")
            if artifact is None:
                return None
            return Forecast(int(self.fixed + self.artifact * artifact.disk), 0, artifact.about)
        about = (said.about for said in inputs.values() if said is not None)
        outline = next((one for one in about if isinstance(one, Outline)), None)
        if outline is None:
            return None
        return Forecast(int(self._memory(outline)), int(self._disk(outline)), outline)

    def _memory(self, outline: Outline) -> float:
        return (
            self.fixed
            + self.largest * outline.largest
            + self.layer * outline.layer
            + self.hessian * outline.hessian
            + self.hessians * outline.hessians
            + self.value * outline.values
        )

    def _disk(self, outline: Outline) -> float:
        return (
            self.written
            + self.disk * outline.layered
            + self.outside * (outline.values - outline.layered)
            + self.disk_hessians * outline.all_hessians
            + self.disk_row * outline.rows
        )


FOOTPRINTS = {
    # A tensor in float32 and in FP16.
    "base": Footprint(0.5e9, largest=6, disk=2, outside=2),
    "tokens": Footprint(0.4e9),
    # A layer in float32; its Hessians in float64, and one window's in float32.
    "capture": Footprint(1.5e9, largest=4, layer=4, hessians=12, disk_hessians=4),
    # The embedding or the head, and a layer, in float32; for each thread what a window takes within
    # a layer. States wait on the disk.
    "gradients": Footprint(
        2.0e9,
        largest=4,
        layer=4,
        written=4e9,
        instead="GGUF of a plain type, such as q4_0 or q4_k_m, needs no gradients",
    ),
    # The model in float32, and all that the way back through it needs, for two threads.
    "gradients at once": Footprint(1.5e9, value=20),
    "reference": Footprint(1.0e9, largest=4, layer=4, instead=_BUILD_ONLY),
    "sensitivity": Footprint(1.0e9, largest=4, layer=4, instead=_BUILD_ONLY),
    "evaluate": Footprint(1.2e9, instead=_BUILD_ONLY),
    # The embedding, the head and a layer in float32.
    "evaluate base by layer": Footprint(1.2e9, largest=8, layer=4, instead=_BUILD_ONLY),
    # NF4 in blocks of 64: half a byte, and scales.
    "bitsandbytes": Footprint(0.5e9, largest=3, disk=0.57, outside=2),
    "bitsandbytes gptq": Footprint(hessian=57),
    # In groups of 32 or 16: codes, and scales.
    "compressed-tensors 4 bits": Footprint(0.5e9, largest=20, disk=0.57, outside=2),
    "compressed-tensors 8 bits": Footprint(0.5e9, largest=20, disk=1.07, outside=2),
    # The graph is in float32; a weight is converted when it is written.
    "onnx graph": Footprint(0.5e9, largest=9, disk=4, outside=4),
    # MatMulNBits in blocks of 32: codes, and scales in float32; the head has 8 bits.
    "onnx blocks": Footprint(0.2e9, largest=7),
    "onnx blocks by method": Footprint(0.3e9, layer=20),
    "onnx hessians": Footprint(hessian=68),
    "onnx 4 bits": Footprint(disk=0.63, outside=1.13),
    "onnx 8 bits": Footprint(disk=1.13, outside=1.13),
    # Teacher and student, and all that the way back needs of two windows, logits most of all.
    "tuning": Footprint(5e9, value=14),
    # The float model that is compared with the base; afterwards, codes until they are written.
    "openvino blocks": Footprint(0.7e9, value=4.3),
    "openvino 4 bits": Footprint(disk=0.57, outside=1.07),
    "openvino 8 bits": Footprint(disk=1.07, outside=1.07),
    # A tensor in float32, its codes and candidates; two layers' codes wait to be written.
    "mlx": Footprint(0.5e9, largest=20, layer=4),
    "mlx 4 bits": Footprint(disk=0.57, outside=1.07),
    "mlx 8 bits": Footprint(disk=1.07, outside=1.07),
    "onnx integer": Footprint(1.0e9, largest=8, disk=1.13, outside=1.13),
    # Graphs that are compared are in memory.
    "onnx selection": Footprint(value=6),
    "gguf f16": Footprint(0.5e9, largest=2, disk=2, outside=2),
    "gguf": Footprint(0.3e9, largest=5),
    "gguf measured": Footprint(largest=15, hessian=68),
}


def sum_of(*rows: str) -> Footprint:
    """Of rows of the table."""
    return sum((FOOTPRINTS[row] for row in rows), Footprint())
