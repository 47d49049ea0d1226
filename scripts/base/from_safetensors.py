"""Import a Hugging Face folder: any float safetensors, its configuration and its tokenizer."""

import json
from collections import Counter
from functools import cache
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError, safe_open

from scripts.base.config_json import read_json, refuse_unknown, write_config
from scripts.base.skeleton import Skeleton, skeleton
from scripts.base.weights import Weights
from scripts.errors import QuantmakeError
from scripts.sources.place import place
from scripts.tensors.mapped import mapped_tensors

INDEX = "model.safetensors.index.json"
TOKENIZERS = (
    ("tokenizer.json",),
    ("tokenizer.model",),
    ("spiece.model",),
    ("sentencepiece.bpe.model",),
    ("vocab.json", "merges.txt"),
    ("vocab.txt",),
)
_COPIED = (
    *sorted({name for names in TOKENIZERS for name in names}),
    "added_tokens.json",
    "chat_template.jinja",
    "chat_template.json",
    "special_tokens_map.json",
    "tokenizer_config.json",
)
_FLOATS = ("F64", "F32", "F16", "BF16")


def import_safetensors(source: Path, out: Path, *, trust: bool) -> Weights:
    """Write configuration and tokenizer into `out`; return the weights, not read yet."""
    config = read_json(source / "config.json")
    refuse_unknown(config, trust=trust)
    _require_tokenizer(source)
    generation = source / "generation_config.json"
    write_config(config, read_json(generation) if generation.is_file() else {}, out, trust=trust)
    for path in sorted(source.iterdir()):
        is_licence = path.name.upper().startswith(("LICENSE", "LICENCE", "NOTICE"))
        if path.name in _COPIED or is_licence or (trust and path.suffix == ".py"):
            place(path, out / path.name)
    return open_weights(source, skeleton(out, trust=trust))


def open_weights(source: Path, model: Skeleton) -> Weights:
    """The tensors of all safetensors of the folder, under the architecture's names."""
    files = _inventory(source)
    stored = {model.name_of(name): (name, file) for name, file in files.items()}
    handles = {
        file: safe_open(source / file, framework="pt") for file in sorted(set(files.values()))
    }
    slices = {name: handles[file].get_slice(key) for name, (key, file) in stored.items()}
    kept = {
        name: part
        for name, part in slices.items()
        if name in model.shapes or not model.leaves_out(name)
    }
    shapes = {name: tuple(part.get_shape()) for name, part in kept.items()}
    model.compare(shapes, "the source")
    wrong = [f"{n} ({p.get_dtype()})" for n, p in kept.items() if p.get_dtype() not in _FLOATS]
    if wrong:
        raise QuantmakeError(
            f"these tensors are stored in a type that is no plain float: {', '.join(wrong)}; "
            f"name a source in {', '.join(_FLOATS)}"
        )

    wanted: dict[str, list[str]] = {}
    for name in kept:
        key, file = stored[name]
        wanted.setdefault(file, []).append(key)

    @cache
    def mapped(file: str) -> dict[str, torch.Tensor]:
        return mapped_tensors(source / file, wanted[file])

    def load(name: str) -> torch.Tensor:
        key, file = stored[name]
        return mapped(file)[key]

    return Weights(shapes, load)


def _inventory(source: Path) -> dict[str, str]:
    """Which file holds each tensor; raises QuantmakeError where index and files disagree."""
    index = source / INDEX
    listed = _read_index(index) if index.is_file() else None
    present = sorted(path.name for path in source.glob("*.safetensors"))
    files = sorted(set(listed.values())) if listed else present
    missing = [file for file in files if file not in present]
    if missing:
        raise QuantmakeError(
            f"{INDEX} names shards that are missing: {', '.join(missing)}; fetch the source again"
        )
    places: list[tuple[str, str]] = []
    for file in files:
        places += [(name, file) for name in _names_in(source / file)]
    twice = sorted(name for name, count in Counter(name for name, _ in places).items() if count > 1)
    if twice:
        raise QuantmakeError(f"these tensors are in two files of the source: {', '.join(twice)}")
    found = dict(places)
    if listed is not None and listed != found:
        names = sorted(n for n in listed.keys() | found.keys() if listed.get(n) != found.get(n))
        raise QuantmakeError(
            f"{INDEX} and the shards disagree about {len(names)} tensors: "
            + "; ".join(
                f"{name} (index: {listed.get(name, 'not named')}, found in: "
                f"{found.get(name, 'no shard')})"
                for name in names
            )
        )
    return found


def _read_index(index: Path) -> dict[str, str]:
    """The index's map from tensor to shard; JSON itself would hide a name that stands twice."""
    doubled: list[str] = []

    def pairs(items: list[tuple[str, Any]]) -> dict[str, Any]:
        doubled.extend(name for name, count in Counter(k for k, _ in items).items() if count > 1)
        return dict(items)

    try:
        found = json.loads(index.read_text(encoding="utf-8"), object_pairs_hook=pairs)
        places = {str(name): str(file) for name, file in found["weight_map"].items()}
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise QuantmakeError(f"{INDEX} has no readable weight_map: {error!r}") from error
    if doubled:
        raise QuantmakeError(f"{INDEX} names these tensors twice: {', '.join(sorted(doubled))}")
    outside = sorted({file for file in places.values() if Path(file).name != file})
    if outside:
        raise QuantmakeError(f"{INDEX} names files outside the folder: {', '.join(outside)}")
    return places


def _names_in(path: Path) -> list[str]:
    try:
        with safe_open(path, framework="pt") as file:
            return list(file.keys())
    except (SafetensorError, OSError) as error:
        raise QuantmakeError(
            f"{path.name} is damaged or cut short ({path.stat().st_size:,} bytes: {error}); "
            "fetch the source again"
        ) from error


def _require_tokenizer(source: Path) -> None:
    if not any(all((source / name).is_file() for name in names) for names in TOKENIZERS):
        wanted = ", ".join(" with ".join(names) for names in TOKENIZERS)
        raise QuantmakeError(f"the source has no tokenizer: there is none of {wanted}")
