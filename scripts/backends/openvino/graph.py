"""Reading the float graph as a model of OpenVINO with its cache as state; finding its MatMuls."""

import re
from collections import Counter
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import onnx
import openvino as ov
from numpy.typing import NDArray
from openvino import opset13 as ops

from scripts.backends.openvino.attention import OPERATOR
from scripts.backends.openvino.state import keep_cache
from scripts.errors import QuantmakeError

MODEL = "openvino_model.xml"
WEIGHTS = "openvino_model.bin"
SOURCE = "model.onnx"
_NUMBERED = re.compile(r"[A-Za-z]\w*_\d+")


def open_model(folder: Path) -> ov.Model:
    """The model of an artefact, or of the float graph's folder; weights are mapped into memory.

    Raises QuantmakeError where OpenVINO can't read it, or can't run it as it is meant.
    """
    core = ov.Core()
    written = folder / MODEL
    if written.is_file():
        return core.read_model(written)
    _refuse_softcap(folder / SOURCE)
    try:
        model = core.read_model(folder / SOURCE)
    except RuntimeError as error:
        raise QuantmakeError(
            f"OpenVINO can't read the graph {folder / SOURCE}: {_reason(error)}. Take the artefacts "
            "with format openvino out of the recipe."
        ) from None
    keep_cache(model)
    return model


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
