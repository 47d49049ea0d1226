"""What an artefact consists of: bytes, parameters, bits per weight, types of its tensors."""

import json
from collections import Counter
from math import prod
from pathlib import Path
from typing import Any

from scripts.evaluation.result import Size
from scripts.misfits import KEY, sentences
from scripts.stage import Runtime

_WEIGHTS = {"torch": "*.safetensors", "onnxruntime": "*.onnx*"}
_K_BLOCK = 256
# They are written from these figures, so they can't be among them.
_PAGES = ("README.md", "bom.cdx.json", "provenance.intoto.json")


def _safetensors_header(path: Path) -> dict[str, Any]:
    """Names, types and shapes of a file's tensors (format: huggingface/safetensors)."""
    with path.open("rb") as file:
        header: dict[str, Any] = json.loads(file.read(int.from_bytes(file.read(8), "little")))
    header.pop("__metadata__", None)
    return header


def count_parameters(base: Path) -> int:
    """Parameters of the base, a tied head counted once."""
    return sum(
        prod(tensor["shape"])
        for shard in sorted(base.glob("*.safetensors"))
        for tensor in _safetensors_header(shard).values()
    )


def _torch_types(folder: Path) -> Counter[str]:
    types: Counter[str] = Counter()
    for shard in sorted(folder.glob("*.safetensors")):
        tensors = _safetensors_header(shard)
        for name, tensor in tensors.items():
            mark = name.rpartition("quant_state.bitsandbytes__")
            if mark[1]:
                types[mark[2].upper()] += 1
            elif name.endswith("weight") and f"{name}.absmax" not in tensors:
                types[tensor["dtype"]] += 1
    return types


def _onnx_types(folder: Path) -> Counter[str]:
    import onnx

    graph = onnx.load(folder / "model.onnx", load_external_data=False).graph
    makers = {output: node for node in graph.node for output in node.output}
    constants = {tensor.name for tensor in graph.initializer}
    types: Counter[str] = Counter()
    for node in graph.node:
        attributes = {entry.name: entry.i for entry in node.attribute}
        if node.op_type in ("MatMulNBits", "GatherBlockQuantized"):
            types[f"{node.op_type} {attributes.get('bits', 4)}-bit"] += 1
        elif node.op_type in ("MatMulInteger", "DynamicQuantizeMatMul", "MatMulIntegerToFloat"):
            types["INT8 dynamic"] += 1
        elif node.op_type == "MatMul":
            maker = makers.get(node.input[1])
            if maker is not None and maker.op_type == "DequantizeLinear":
                types["INT8 static"] += 1
            elif node.input[1] in constants:
                types["FP32"] += 1
    return types


def _gguf_types(file: Path) -> tuple[Counter[str], list[str]]:
    from gguf import GGUFReader, LlamaFileType

    reader = GGUFReader(file)
    matrices = [tensor for tensor in reader.tensors if len(tensor.shape) > 1]
    types = Counter(str(tensor.tensor_type.name) for tensor in matrices)
    field = reader.get_field("general.file_type")
    wanted = LlamaFileType(field.contents()).name.removeprefix("MOSTLY_") if field else ""
    narrow = [tensor for tensor in matrices if int(tensor.shape[0]) % _K_BLOCK]
    if "_K" not in wanted or not narrow:
        return types, []
    others = sorted({tensor.tensor_type.name for tensor in narrow})
    widths = sorted({int(tensor.shape[0]) for tensor in narrow})
    note = (
        f"{len(narrow)} of {len(matrices)} matrices are stored as {' or '.join(others)}, not as a "
        f"k-quant: their {', '.join(map(str, widths))} columns do not divide by {_K_BLOCK}."
    )
    return types, [note]


def _misfits(runtime: Runtime, artifact: Path) -> dict[str, str]:
    """What the artefact keeps of tensors that its method did not fit."""
    if runtime == "torch":
        found: dict[str, str] = json.loads((artifact / "config.json").read_text()).get(KEY, {})
        return found
    import onnx

    model = onnx.load(artifact / "model.onnx", load_external_data=False)
    kept = {one.key: one.value for one in model.metadata_props}
    return dict(json.loads(kept.get(KEY, "{}")))


def measure_size(runtime: Runtime, artifact: Path, base: Path) -> tuple[Size, list[str]]:
    """The size record of an artefact, and sentences on it for the report."""
    notes: list[str] = []
    if runtime == "llama.cpp":
        total = weights = artifact.stat().st_size
        types, notes = _gguf_types(artifact)
    else:
        files = [path for path in artifact.rglob("*") if path.is_file() and path.name not in _PAGES]
        total = sum(path.stat().st_size for path in files)
        weights = sum(path.stat().st_size for path in artifact.glob(_WEIGHTS[runtime]))
        types = _torch_types(artifact) if runtime == "torch" else _onnx_types(artifact)
        notes = sentences(_misfits(runtime, artifact))
    parameters = count_parameters(base)
    size = Size(
        bytes=total,
        parameters=parameters,
        bits_per_weight=8 * weights / parameters,
        tensor_types=dict(sorted(types.items())),
    )
    return size, notes
