"""An ONNX folder in transformers.js' naming, as a list of files: written out, or served as it is.

transformers.js reads config.json, generation_config.json, tokenizer.json and tokenizer_config.json,
and in `onnx/` the graph with its external data. It looks for a chat template in
tokenizer_config.json alone, so one of a file of its own is put there.
"""

import json
import os
from pathlib import Path

import onnx

from scripts.backends.onnx.graph import MODEL
from scripts.backends.onnx.web.embedding import spell_out_embedding
from scripts.backends.onnx.web.fit import refuse_misnamed, refuse_unfit
from scripts.backends.onnx.web.names import FOLDER, data_name, graph_name
from scripts.backends.site import Layout, Part
from scripts.hashed_file import HashedFile

LARGEST_FILE = (1 << 31) - 1
"""Bytes: beyond 2 GiB some browsers fetch no file in one piece."""

_AT_TOP = {
    *("config.json", "generation_config.json"),
    *("tokenizer.json", "tokenizer_config.json", "special_tokens_map.json"),
}
_TEMPLATE = "chat_template.jinja"
_AT_ONCE = 1 << 24


def layout_of(folder: Path, generation: Path | None = None) -> Layout:
    """The layout of a folder of the backend `onnx`, of which nothing is written.

    `generation` is the base's generation_config.json, which ends answers where the config does not.
    Raises QuantmakeError where transformers.js can't run the model.
    """
    refuse_unfit(folder)
    dtype = dtype_of(folder)
    name = graph_name(dtype)
    model = onnx.load(folder / MODEL, load_external_data=False)
    spell_out_embedding(model)
    files: dict[str, bytes | Part] = {}
    data = _place_data(model, folder, name)
    config = _json(folder / "config.json")
    own: dict[str, object] = {"dtype": dtype}
    if data:
        own["use_external_data_format"] = {name: len(data)}
    files["config.json"] = _text({**config, "transformers.js_config": own})
    if generation is not None and generation.is_file():
        files["generation_config.json"] = generation.read_bytes()
    for one in ("tokenizer.json", "special_tokens_map.json"):
        if (folder / one).is_file():
            files[one] = (folder / one).read_bytes()
    files["tokenizer_config.json"] = _text(_with_template(folder))
    files[f"{FOLDER}/{name}"] = model.SerializeToString(deterministic=True)
    return Layout(dtype, {**files, **{f"{FOLDER}/{one}": part for one, part in data.items()}})


def layout_as_it_is(folder: Path, generation: Path | None = None) -> Layout:
    """The layout of a folder of the backend `onnx-web`, which has all that it needs.

    Raises QuantmakeError where a file is not where transformers.js looks for it.
    """
    refuse_misnamed(folder)
    config = _json(folder / "config.json")["transformers.js_config"]
    assert isinstance(config, dict)
    top = (path for path in sorted(folder.iterdir()) if path.name in _AT_TOP)
    files = {
        path.relative_to(folder).as_posix(): Part(path, 0, path.stat().st_size)
        for path in (*top, *sorted((folder / FOLDER).iterdir()))
    }
    return Layout(config["dtype"], dict(files))


def lay_out(folder: Path, generation: Path | None = None) -> None:
    """Turn a folder of the backend `onnx` into one in transformers.js' naming, in its place.

    The data are moved, not copied. `model.onnx` stays at the top and reads the same data, so that
    onnxruntime and onnxruntime-genai load the folder too.
    """
    layout = layout_of(folder, generation)
    (folder / FOLDER).mkdir()
    for name, content in layout.files.items():
        if isinstance(content, bytes):
            (folder / name).write_bytes(content)
    # From the end: what was copied out of a file is cut off it.
    for name, part in reversed(layout.files.items()):
        if isinstance(part, Part):
            _take(part, folder / name)
    model = onnx.load(folder / FOLDER / graph_name(layout.dtype), load_external_data=False)
    for tensor in model.graph.initializer:
        for entry in tensor.external_data:
            entry.value = f"{FOLDER}/{entry.value}" if entry.key == "location" else entry.value
    (folder / MODEL).write_bytes(model.SerializeToString(deterministic=True))


def _take(part: Part, to: Path) -> None:
    """Make a file of the end of another one, which loses it."""
    if part.start:
        with part.path.open("rb") as source, HashedFile(to) as file:
            source.seek(part.start)
            while block := source.read(_AT_ONCE):
                file.write(block)
        os.truncate(part.path, part.start)
    else:
        part.path.rename(to)


def dtype_of(folder: Path) -> str:
    """By the narrowest weights of the graph's MatMuls: `q4`, `q8`, or `fp32`."""
    from scripts.backends.onnx.check import kinds_of_matmul

    kinds = kinds_of_matmul(folder)
    if kinds["4"]:
        return "q4"
    return "q8" if kinds["8"] or kinds["dynamic"] or kinds["static"] else "fp32"


def _place_data(model: onnx.ModelProto, folder: Path, graph: str) -> dict[str, Part]:
    """Point the graph's tensors to files of transformers.js' names; these, as parts of what is
    there."""
    read = {
        tensor.name: {entry.key: entry.value for entry in tensor.external_data}
        for tensor in model.graph.initializer
        if tensor.external_data
    }
    places = {
        name: (folder / entry["location"], int(entry.get("offset", 0)), int(entry["length"]))
        for name, entry in read.items()
    }
    parts: list[Part] = []
    moved: dict[str, tuple[str, int]] = {}
    for tensor, (path, offset, length) in sorted(places.items(), key=lambda item: item[1]):
        last = parts[-1] if parts and parts[-1].path == path else None
        if last is None or offset + length - last.start > LARGEST_FILE:
            parts.append(Part(path, offset if last else 0, 0))
        parts[-1] = Part(path, parts[-1].start, offset + length - parts[-1].start)
        moved[tensor] = data_name(graph, len(parts) - 1), offset - parts[-1].start
    for initialiser in model.graph.initializer:
        if initialiser.name in moved:
            _point(initialiser, *moved[initialiser.name])
    return {data_name(graph, number): part for number, part in enumerate(parts)}


def _point(tensor: onnx.TensorProto, location: str, offset: int) -> None:
    kept = {entry.key: entry.value for entry in tensor.external_data}
    del tensor.external_data[:]
    for key, value in {**kept, "location": location, "offset": str(offset)}.items():
        tensor.external_data.add(key=key, value=value)


def _with_template(folder: Path) -> dict[str, object]:
    config = _json(folder / "tokenizer_config.json")
    template = folder / _TEMPLATE
    if template.is_file() and not config.get("chat_template"):
        config["chat_template"] = template.read_text(encoding="utf-8")
    return config


def _json(path: Path) -> dict[str, object]:
    read: dict[str, object] = json.loads(path.read_text(encoding="utf-8"))
    return read


def _text(config: dict[str, object]) -> bytes:
    return (json.dumps(config, indent=2, ensure_ascii=False) + "\n").encode()
