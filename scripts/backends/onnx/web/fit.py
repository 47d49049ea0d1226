"""Whether transformers.js can run a model in a browser, said by name before anything is made."""

import json
from pathlib import Path

import onnx

from scripts.backends.onnx.graph import MODEL
from scripts.backends.onnx.web.names import FED, FOLDER, LAYERS, cache_names, data_name, graph_name
from scripts.errors import QuantmakeError

MOST_BYTES = 1 << 32
"""What WebAssembly addresses with 32 bits, which is what onnxruntime-web is compiled for."""


def refuse_unfit(folder: Path) -> None:
    """Raises QuantmakeError for an ONNX folder whose model, inputs or tokenizer transformers.js
    does not know; it names them all."""
    config = json.loads((folder / "config.json").read_text(encoding="utf-8"))
    reasons = list(_of_model(config) or _of_inputs(config, _inputs(folder)))
    if not (folder / "tokenizer.json").is_file():
        reasons.append("it has no tokenizer.json")
    if reasons:
        raise QuantmakeError(
            f"{folder.name} can't run in a browser with transformers.js: {'; '.join(reasons)}. "
            "Artefacts with format onnx run in onnxruntime instead."
        )


def too_large(size: int) -> str:
    """Why weights of `size` bytes can't run; empty where they can."""
    if size < MOST_BYTES:
        return ""
    return (
        f"its weights take {size / 2**30:.1f} GiB, and a browser's WebAssembly addresses 4 GiB in "
        "all; take a smaller model, or fewer bits"
    )


def _of_model(config: dict[str, object]) -> list[str]:
    kind = config.get("model_type")
    if kind not in LAYERS:
        return [f"the model_type {kind!r} is none that it is known to run ({', '.join(LAYERS)})"]
    if config.get("multi_query"):
        return ["`multi_query` in config.json, for which it asks for a cache of one tensor a layer"]
    return []


def _of_inputs(config: dict[str, object], inputs: set[str]) -> list[str]:
    layers = config[LAYERS[str(config["model_type"])]]
    caches = cache_names(int(str(layers)))
    strange, missing = sorted(inputs - FED - caches), sorted(caches - inputs)
    return [
        *([f"the graph asks for {', '.join(strange)}, which it does not feed"] if strange else []),
        *([f"the graph lacks the inputs {', '.join(missing)}"] if missing else []),
    ]


def _inputs(folder: Path) -> set[str]:
    graph = onnx.load(folder / MODEL, load_external_data=False).graph
    return {entry.name for entry in graph.input}


def refuse_misnamed(folder: Path) -> None:
    """Raises QuantmakeError where a file of a folder is not where transformers.js looks for it:
    for users of a static site that is a 404."""
    config = json.loads((folder / "config.json").read_text(encoding="utf-8"))
    own = config.get("transformers.js_config", {})
    graph = graph_name(own.get("dtype", "fp32"))
    count = own.get("use_external_data_format", {}).get(graph, 0)
    data = {data_name(graph, number) for number in range(count)}
    wanted = {
        *("config.json", "tokenizer.json", "tokenizer_config.json", f"{FOLDER}/{graph}"),
        *(f"{FOLDER}/{name}" for name in data),
    }
    absent = sorted(name for name in wanted if not (folder / name).is_file())
    if absent:
        raise QuantmakeError(
            f"{folder.name}: transformers.js would look for {', '.join(absent)}, which is not there"
        )
    model = onnx.load(folder / FOLDER / graph, load_external_data=False)
    entries = (entry for tensor in model.graph.initializer for entry in tensor.external_data)
    read = {entry.value for entry in entries if entry.key == "location"}
    if read != data:
        raise QuantmakeError(
            f"{folder.name}: {FOLDER}/{graph} reads {', '.join(sorted(read)) or 'no other file'}, "
            f"and transformers.js hands it {', '.join(sorted(data)) or 'none'}"
        )
