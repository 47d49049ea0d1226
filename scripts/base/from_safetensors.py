"""Import a Hugging Face folder: any float safetensors, its configuration and its tokenizer."""

import json
from collections import Counter
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from scripts.base.config_json import (
    read_json,
    refuse_code_elsewhere,
    refuse_unknown,
    write_config,
    write_json,
)
from scripts.base.multimodal import language_model, with_head
from scripts.base.skeleton import Skeleton, skeleton
from scripts.base.transformers_5 import model_of_version_4, tokenizer_of_version_4
from scripts.base.weights import Weights
from scripts.errors import QuantmakeError
from scripts.sources.local import place
from scripts.sources.model_files import TOKENIZERS, is_kept
from scripts.tensors.header import Stored, read_header
from scripts.tensors.language_model import language_tensors
from scripts.tensors.mapped import mapped
from scripts.tensors.shards import INDEX

_FLOATS = ("F64", "F32", "F16", "BF16")


def import_safetensors(source: Path, out: Path, *, trust: bool) -> Weights:
    """Write configuration and tokenizer into `out`; return the weights, not read yet. Of a model
    that reads pictures or sound too these are its language model's."""
    whole = read_json(source / "config.json")
    alone = language_model(whole)
    refuse_unknown(alone or whole, trust=trust)
    _require_tokenizer(source)
    stored = inventory(source)
    config = whole
    if alone:
        kept = language_tensors(stored) or {name: name for name in stored}
        config, stored = with_head(alone, kept), {name: stored[kept[name]] for name in kept}
        print(
            f"the language model alone ({alone['architectures'][0]}), {len(kept)} tensors: what is "
            "for pictures or sound stays out",
            flush=True,
        )
    if not (trust and "auto_map" in config):  # code of the model's own reads it as it is
        config = model_of_version_4(config)
    for name in ("config.json", "tokenizer_config.json") if trust else ():
        if (source / name).is_file():
            refuse_code_elsewhere(read_json(source / name), name)
    generation = source / "generation_config.json"
    write_config(config, read_json(generation) if generation.is_file() else {}, out, trust=trust)
    for path in sorted(source.iterdir()):
        if is_kept(path.name, code=trust):
            place(path, out / path.name)
    _translate_tokenizer(out / "tokenizer_config.json")
    return open_weights(stored, skeleton(out, trust=trust))


def _translate_tokenizer(path: Path) -> None:
    """The file stays as it is where transformers 4 reads it."""
    if path.is_file() and (given := read_json(path)) != (ours := tokenizer_of_version_4(given)):
        path.unlink()  # perhaps a link to the source
        write_json(path, ours)


def open_weights(given: Mapping[str, Stored], model: Skeleton) -> Weights:
    """Stored tensors under the architecture's names."""
    stored = {model.name_of(name): tensor for name, tensor in given.items()}
    kept = {
        name: tensor
        for name, tensor in stored.items()
        if name in model.shapes or not model.leaves_out(name)
    }
    shapes = {name: tensor.shape for name, tensor in kept.items()}
    model.compare(shapes, "the source")
    wrong = [f"{name} ({t.dtype})" for name, t in kept.items() if t.dtype not in _FLOATS]
    if wrong:
        raise QuantmakeError(
            f"these tensors are stored in a type that is no plain float: {', '.join(wrong)}; "
            f"name a source in {', '.join(_FLOATS)}"
        )
    return Weights(shapes, mapped(kept).__getitem__)


def inventory(source: Path) -> dict[str, Stored]:
    """The tensors in all safetensors of the folder by name; raises QuantmakeError where index and
    files disagree."""
    index = source / INDEX
    listed = _read_index(index) if index.is_file() else None
    present = sorted(path.name for path in source.glob("*.safetensors"))
    files = sorted(set(listed.values())) if listed else present
    missing = [file for file in files if file not in present]
    if missing:
        raise QuantmakeError(
            f"{INDEX} names shards that are missing: {', '.join(missing)}; fetch the source again"
        )
    try:
        headers = [read_header(source / file) for file in files]
    except QuantmakeError as error:
        raise QuantmakeError(f"{error}; fetch the source again") from error
    counts = Counter(name for header in headers for name in header)
    twice = sorted(name for name, count in counts.items() if count > 1)
    if twice:
        raise QuantmakeError(f"these tensors are in two files of the source: {', '.join(twice)}")
    stored = {name: tensor for header in headers for name, tensor in header.items()}
    places = {name: tensor.file.name for name, tensor in stored.items()}
    if listed is not None and listed != places:
        names = sorted(n for n in listed.keys() | places.keys() if listed.get(n) != places.get(n))
        raise QuantmakeError(
            f"{INDEX} and the shards disagree about {len(names)} tensors: "
            + "; ".join(
                f"{name} (index: {listed.get(name, 'not named')}, found in: "
                f"{places.get(name, 'no shard')})"
                for name in names
            )
        )
    return stored


def _read_index(index: Path) -> dict[str, str]:
    """The index's map from tensor to shard; JSON itself would hide a name that stands twice."""
    doubled: list[str] = []

    def pairs(items: list[tuple[str, Any]]) -> dict[str, Any]:
        doubled.extend(name for name, count in Counter(k for k, _ in items).items() if count > 1)
        return dict(items)

    try:
        read = json.loads(index.read_text(encoding="utf-8"), object_pairs_hook=pairs)
        places = {str(name): str(file) for name, file in read["weight_map"].items()}
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise QuantmakeError(f"{INDEX} has no readable weight_map: {error!r}") from error
    if doubled:
        raise QuantmakeError(f"{INDEX} names these tensors twice: {', '.join(sorted(doubled))}")
    outside = sorted({file for file in places.values() if Path(file).name != file})
    if outside:
        raise QuantmakeError(f"{INDEX} names files outside the folder: {', '.join(outside)}")
    return places


def _require_tokenizer(source: Path) -> None:
    if not any(all((source / name).is_file() for name in names) for names in TOKENIZERS):
        wanted = ", ".join(" with ".join(names) for names in TOKENIZERS)
        raise QuantmakeError(f"the source has no tokenizer: there is none of {wanted}")
