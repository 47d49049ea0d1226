"""Reading the float graph as a model of OpenVINO; finding its MatMuls; writing it.

Weights stay in their file, mapped into memory, until one of them is replaced.
"""

import re
import shutil
from collections import Counter
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import onnx
import openvino as ov
from numpy.typing import NDArray

from scripts.backends.openvino.attention import OPERATOR
from scripts.backends.openvino.state import TOKENS, keep_cache
from scripts.errors import QuantmakeError

MODEL = "openvino_model.xml"
WEIGHTS = "openvino_model.bin"
SOURCE = "model.onnx"
_WRAPPED = ("Convert", "Subtract", "Multiply", "Reshape", "Transpose")
_NUMBERED = re.compile(r"[A-Za-z]\w*_\d+")  # a name that OpenVINO gave by a counter


@dataclass(frozen=True)
class Linear:
    """A MatMul whose second input is a constant [K, N]."""

    node: ov.Node

    @property
    def name(self) -> str:
        """As in the graph that it comes from, such as /model/layers.0/mlp/down_proj/MatMul."""
        return str(self.node.get_friendly_name())

    @property
    def columns(self) -> int:
        """K, the width that the weights are multiplied along."""
        return int(self.constant().shape[0])

    @property
    def bytes(self) -> int:
        """What the weight takes in float32."""
        rows, columns = self.constant().shape
        return int(4 * rows * columns)

    def weight(self) -> NDArray[np.float32]:
        """The weight [K, N]; raises QuantmakeError where it is not finite."""
        value: NDArray[np.float32] = self.constant().data.astype(np.float32, copy=False)
        if not np.isfinite(value).all():
            raise QuantmakeError(
                f"{self.name}: its weight holds NaN or infinity; mend the source model"
            )
        return value

    def constant(self) -> ov.Node:
        """What holds the weight."""
        return self.node.input_value(1).get_node()


def open_model(folder: Path) -> ov.Model:
    """The model of an artefact, or of the float graph's folder; weights are mapped into memory.

    Raises QuantmakeError where OpenVINO can't read it, or can't run it as it is meant.
    """
    core = ov.Core()
    _reach_numpy()
    written = folder / MODEL
    if written.is_file():
        return core.read_model(written)
    _refuse_softcap(folder / SOURCE)
    try:
        model = core.read_model(folder / SOURCE)
    except RuntimeError as error:
        raise QuantmakeError(
            f"OpenVINO can't read the graph {folder / SOURCE}: {_reason(error)}. Take the "
            "artefacts with format openvino out of the recipe."
        ) from None
    keep_cache(model)
    return model


def _reach_numpy() -> None:
    """Have OpenVINO's binding look numpy's interface up, once and in one thread: of two threads
    whose first weights it hands over at one time, each may wait for the other for ever."""
    ov.Tensor(np.zeros(1, np.float32))


def _refuse_softcap(path: Path) -> None:
    """OpenVINO's own reading leaves it out without a word."""
    if not path.is_file():
        return
    for node in onnx.load(path, load_external_data=False).graph.node:
        capped = [one.f for one in node.attribute if one.name == "softcap" and one.f]
        if node.op_type == OPERATOR and capped:
            raise QuantmakeError(
                f"{node.name} caps its attention scores (softcap {capped[0]:g}), which OpenVINO "
                "does not compute. Take the artefacts with format openvino out of the recipe."
            )


def _reason(error: RuntimeError) -> str:
    """What OpenVINO said, without the places in its own sources."""
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    told = [line for line in lines if not line.startswith(("Exception from", "Check '"))]
    return (told or lines)[-1].rstrip(".")


def linears(model: ov.Model) -> list[Linear]:
    """Every MatMul with a constant weight of two dimensions, in the order of the graph."""
    made = []
    for node in model.get_ordered_ops():
        if node.get_type_name() == "MatMul" and not node.get_attributes()["transpose_b"]:
            weight = node.input_value(1).get_node()
            if weight.get_type_name() == "Constant" and len(weight.shape) == 2:
                made.append(Linear(node))
    if not made:
        raise QuantmakeError("the graph has no MatMul with a constant weight to quantise")
    return made


def head(model: ov.Model) -> str:
    """The name of the MatMul that gives the logits; empty where none does."""
    sources = {result.input_value(0).get_node().get_friendly_name() for result in model.results}
    return next((one.name for one in linears(model) if one.name in sources), "")


def embedding(model: ov.Model) -> ov.Node | None:
    """The Gather that looks tokens up in a constant [vocabulary, width], transposed or not."""
    return next((one for one in lookups(model) if table_of(one) is not None), None)


def lookups(model: ov.Model) -> list[ov.Node]:
    """The Gathers whose indices are the token ids, in another shape or type or as they are."""
    found = []
    for node in model.get_ordered_ops():
        if node.get_type_name() != "Gather":
            continue
        source = node.input_value(1).get_node()
        while source.get_type_name() in ("Convert", "Reshape"):
            source = source.input_value(0).get_node()
        found += [node] if source.get_friendly_name() == TOKENS else []
    return found


def table_of(gather: ov.Node) -> tuple[ov.Node, bool] | None:
    """The constant that a Gather reads, and whether it does so by a Transpose."""
    table = gather.input_value(0).get_node()
    turned = table.get_type_name() == "Transpose"
    table = table.input_value(0).get_node() if turned else table
    is_matrix = table.get_type_name() == "Constant" and len(table.shape) == 2
    return (table, turned) if is_matrix else None


def constant_behind(node: ov.Node, place: int) -> ov.Node | None:
    """The constant that an input is made of, by the operations of a compressed weight or none."""
    source = node.input_value(place).get_node()
    while source.get_type_name() in _WRAPPED:
        source = source.input_value(0).get_node()
    return source if source.get_type_name() == "Constant" else None


def write_model(model: ov.Model, source: Path, out: Path) -> None:
    """Write the model, with the files beside the graph that it comes from (tokenizer, configs).

    Names that OpenVINO gave by a counter of its process are given anew, in the model's order.
    """
    counts: Counter[str] = Counter()
    for node in model.get_ordered_ops():
        if _NUMBERED.fullmatch(node.get_friendly_name()):
            kind = node.get_type_name()
            node.set_friendly_name(f"{kind}_{counts[kind]}")
            counts[kind] += 1
    ov.serialize(model, out / MODEL, out / WEIGHTS)
    for path in sorted(source.iterdir()):
        if path.is_file() and not path.name.startswith((SOURCE, "genai_config")):
            shutil.copyfile(path, out / path.name)
