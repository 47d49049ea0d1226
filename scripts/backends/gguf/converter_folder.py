"""The base as llama.cpp's converter wants it: what it can't find out by itself stands beside."""

import json
from pathlib import Path
from typing import Any

from scripts.backends.gguf.sentencepiece_model import (
    NAME,
    NotExactError,
    is_sentencepiece,
    write_model,
)

_CONFIG = "config.json"


def place(base: Path, model: Path) -> str:
    """Make the folder `model`: the base's files, a tokenizer.model where it lacks one, and a
    config.json that says what is so. Returns why no tokenizer.model can be made, or nothing."""
    lacks_model = is_sentencepiece(base) and not (base / NAME).is_file()
    config = json.loads((base / _CONFIG).read_text(encoding="utf-8"))
    said = _as_it_is(config)
    if not lacks_model and said == config:
        model.symlink_to(base, target_is_directory=True)
        return ""
    model.mkdir()
    for path in base.iterdir():
        if path.name != _CONFIG or said == config:
            (model / path.name).symlink_to(path, target_is_directory=path.is_dir())
    if said != config:
        (model / _CONFIG).write_text(json.dumps(said), encoding="utf-8")
    if lacks_model:
        try:
            write_model(base, model)
        except NotExactError as reason:
            return str(reason)
    return ""


def _as_it_is(config: dict[str, Any]) -> dict[str, Any]:
    """Falcon with one key-value head for all says so by `multi_query` alone: transformers writes
    the number of query heads into `num_kv_heads` then, and does not look at it. DeepSeek-V3 scores
    its experts by sigmoid and transformers knows nothing else: where it wrote the file, no
    `scoring_func` is in it, which llama.cpp takes for softmax."""
    shares = config.get("multi_query", True) and not config.get("new_decoder_architecture")
    if config.get("model_type") == "falcon" and shares:
        return {**config, "num_kv_heads": 1}
    if config.get("model_type") == "deepseek_v3":
        return {"scoring_func": "sigmoid", **config}
    return config
