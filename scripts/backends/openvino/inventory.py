"""What an OpenVINO folder, or the float graph that it was made from, consists of."""

import json
from collections import Counter
from pathlib import Path

import openvino as ov

from scripts.backends.inventory import Inventory
from scripts.backends.openvino.graph import MODEL, SOURCE, constant_behind, lookups, open_model
from scripts.backends.unsupported import KEY, sentences


def inventory(artifact: Path) -> Inventory:
    """Of the folder `artifact`."""
    model = open_model(artifact)
    kept = model.get_rt_info([KEY]).astype(str) if model.has_rt_info([KEY]) else "{}"
    written = (artifact / MODEL).is_file()
    pattern = f"{Path(MODEL).stem}.*" if written else f"{SOURCE}*"
    size = sum(path.stat().st_size for path in artifact.glob(pattern))
    return Inventory(size, types_of(model), tuple(sentences(json.loads(kept))))


def types_of(model: ov.Model) -> Counter[str]:
    """How many matrices MatMuls multiply with, and tokens are looked up in, by the type in the
    file; one that is both counts once."""
    types = {}
    products = [(one, 1) for one in model.get_ordered_ops() if one.get_type_name() == "MatMul"]
    for node, place in [*((one, 0) for one in lookups(model)), *products]:
        source = constant_behind(node, place)
        if source is not None and len(source.shape) > 1:
            types[source.get_friendly_name()] = source.get_element_type().get_type_name().upper()
    return Counter(types.values())
