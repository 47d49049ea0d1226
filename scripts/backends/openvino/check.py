"""Structure of a written OpenVINO artefact, before it is committed."""

from functools import partial
from pathlib import Path

import numpy as np

from scripts.backends.model import load_model
from scripts.backends.openvino.graph import constant_behind, linears, open_model
from scripts.errors import QuantmakeError
from scripts.tensors.compare import Tensors, first_difference

_TOKENS = 4


def check_artifact(source: Path, out: Path, *, float_allowed: bool) -> None:
    """Compare the artefact `out` with the float graph `source` that it was made from.

    Raises QuantmakeError where a MatMul was left in float that should not be, a scale is broken,
    OpenVINO can't load it, or its logits for a few tokens are not finite.
    """
    wanted, model = len(linears(open_model(source))), open_model(out)
    products = [one for one in model.get_ordered_ops() if one.get_type_name() == "MatMul"]
    weights = [one for node in products if (one := constant_behind(node, 1)) is not None]
    floats = [one for one in weights if one.get_element_type().is_real() and len(one.shape) > 1]
    if (floats and not float_allowed) or len(weights) != wanted:
        raise QuantmakeError(
            f"{out.name}: {wanted} MatMuls should have been compressed, but of {len(weights)} with "
            f"constant weights {len(floats)} are in float"
        )
    bad = [
        name
        for name, value in _tensors(out).items()
        if name.endswith(".scales") and not np.isfinite(value()).all()
    ]
    if bad:
        raise QuantmakeError(f"{out.name}: scales that are not finite: {', '.join(bad)}")
    load_model("openvino", out, threads=1, context=_TOKENS).prefill(np.arange(_TOKENS))


def difference_of(before: Path, after: Path) -> str:
    """Which constants of two models differ first, and by how much; or that the nodes do."""
    said = first_difference(_tensors(before), _tensors(after))
    return said or "the tensors are equal; nodes differ"


def _tensors(folder: Path) -> Tensors:
    """The constants of a model by name."""
    nodes = open_model(folder).get_ordered_ops()
    constants = [one for one in nodes if one.get_type_name() == "Constant"]
    return {one.get_friendly_name(): partial(getattr, one, "data") for one in constants}
