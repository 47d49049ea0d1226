"""Which models are encoders, by config.json, and how a sentence's embedding is pooled of them."""

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Literal

from scripts.base.config_json import Config, read_json
from scripts.errors import QuantmakeError
from scripts.strict import Strict

FAMILIES = {
    "bert": "Bert",
    "camembert": "Camembert",
    "distilbert": "DistilBert",
    "electra": "Electra",
    "modernbert": "ModernBert",
    "mpnet": "MPNet",
    "roberta": "Roberta",
    "xlm-roberta": "XLMRoberta",
}
"""By `model_type`, how the names of their classes begin."""
_HEADS = ("Model", "ForMaskedLM", "ForPreTraining")
_MODULES, _LENGTH = "modules.json", "sentence_bert_config.json"
_POOLING, _NORMALIZE = "Pooling", "Normalize"
_MODES = {"pooling_mode_mean_tokens": "mean", "pooling_mode_cls_token": "cls"}
POOLING_FILE = "1_Pooling/config.json"


class Pooling(Strict):
    """How the states of a sentence's tokens become its embedding; `longest` is how many tokens the
    model takes. `assumed` says that the source does not tell, and mean was taken."""

    mode: Literal["mean", "cls"]
    normalise: bool
    longest: int
    assumed: bool = False


def is_encoder(model_type: str, architectures: Sequence[str]) -> bool:
    """Whether config.json names an encoder, and none with the head of something else."""
    names = {FAMILIES.get(model_type, "") + head for head in _HEADS}
    return model_type in FAMILIES and bool(architectures) and {*architectures} <= names


def refuse_no_encoder(config: Config) -> None:
    """Raise QuantmakeError where config.json is of no encoder that can be converted."""
    kind, named = config.get("model_type"), config.get("architectures") or []
    found = f"model_type {kind!r}" + (f" ({', '.join(named)})" if named else "")
    if "quantization_config" in config:
        raise QuantmakeError(
            f"config.json: the source is quantised already ({found}, quantization_config); name "
            "the model's FP16, BF16 or FP32 weights instead"
        )
    if kind not in FAMILIES:
        raise QuantmakeError(
            f"config.json: {found} is no encoder that is known here; those are "
            f"{', '.join(FAMILIES)}. A model that writes text has no `kind: encoder` in the recipe."
        )
    allowed = [FAMILIES[kind] + head for head in _HEADS]
    if named and not {*allowed} & {*named}:
        raise QuantmakeError(
            f"config.json: {found} has a head that gives no embeddings; of {kind} these can be "
            f"converted: {', '.join(allowed)}"
        )


def read_pooling(folder: Path) -> Pooling:
    """Of a folder in sentence-transformers' layout; without its files mean, normalised.

    Raises QuantmakeError that names a module or a mode which is not supported.
    """
    config = read_json(folder / "config.json")
    positions = int(config.get("max_position_embeddings") or 512)
    # These count positions from the padding's id on.
    offset = config["model_type"] in ("roberta", "xlm-roberta", "camembert", "mpnet")
    longest = positions - (int(config.get("pad_token_id") or 0) + 1 if offset else 0)
    length = folder / _LENGTH
    if length.is_file():
        longest = min(longest, int(read_json(length).get("max_seq_length") or longest))
    if not (folder / _MODULES).is_file():
        return Pooling(mode="mean", normalise=True, longest=longest, assumed=True)
    modules = json.loads((folder / _MODULES).read_text(encoding="utf-8"))
    kinds = [str(one["type"]).rpartition(".")[2] for one in modules]
    other = [kind for kind in kinds if kind not in ("Transformer", _POOLING, _NORMALIZE)]
    if other or _POOLING not in kinds:
        raise QuantmakeError(
            f"{_MODULES}: the embedding is made by {', '.join(kinds)}; only Transformer, "
            f"{_POOLING} and {_NORMALIZE} are known here"
        )
    path = next(str(one["path"]) for one in modules if str(one["type"]).endswith(_POOLING))
    mode = _mode(read_json(folder / path / "config.json"), f"{path}/config.json")
    return Pooling(mode=mode, normalise=_NORMALIZE in kinds, longest=longest)


def _mode(config: dict[str, Any], name: str) -> Literal["mean", "cls"]:
    chosen = [key for key, value in config.items() if key.startswith("pooling_mode_") and value]
    if chosen == ["pooling_mode_mean_tokens"]:
        return "mean"
    if chosen == ["pooling_mode_cls_token"]:
        return "cls"
    raise QuantmakeError(
        f"{name}: the pooling is {', '.join(chosen) or 'none'}; known are {', '.join(_MODES)}, one "
        "of them alone"
    )


def write_pooling(pooling: Pooling, width: int, out: Path) -> None:
    """The files of sentence-transformers, so that its loader, ours and llama.cpp's converter pool
    alike."""
    kinds = ["Transformer", _POOLING, *[_NORMALIZE] * pooling.normalise]
    paths = ["", "1_Pooling", "2_Normalize"]
    modules = [
        {
            "idx": place,
            "name": str(place),
            "path": path,
            "type": f"sentence_transformers.models.{kind}",
        }
        for place, (kind, path) in enumerate(zip(kinds, paths, strict=False))
    ]
    modes = {key: value == pooling.mode for key, value in _MODES.items()}
    files: dict[str, object] = {
        _MODULES: modules,
        POOLING_FILE: {"word_embedding_dimension": width, **modes},
        _LENGTH: {"max_seq_length": pooling.longest, "do_lower_case": False},
    }
    for name, value in files.items():
        (out / name).parent.mkdir(exist_ok=True)
        (out / name).write_text(json.dumps(value, indent=2) + "\n", encoding="utf-8")
