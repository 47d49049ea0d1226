"""The model's configuration: read, refused where nobody can convert it, written clean."""

import difflib
import json
import re
from pathlib import Path
from typing import Any

from scripts.errors import QuantmakeError

Config = dict[str, Any]

_DROPPED = ("_name_or_path", "_model_name_or_path", "transformers_version", "torch_dtype", "dtype")
_EXAMPLES = ("llama", "mistral", "qwen2", "qwen3", "gemma2", "phi3", "smollm3", "gpt_neox")


def read_json(path: Path) -> Config:
    """Read a JSON object; raises QuantmakeError where the file is missing or broken."""
    try:
        value = json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise QuantmakeError(f"the source has no {path.name}") from None
    except (ValueError, UnicodeDecodeError) as error:
        raise QuantmakeError(f"{path.name} of the source is no JSON: {error}") from error
    if not isinstance(value, dict):
        raise QuantmakeError(f"{path.name} of the source is no JSON object")
    return value


def write_json(path: Path, value: Config) -> None:
    """Write JSON whose bytes depend on `value` only."""
    path.write_text(
        json.dumps(value, indent=2, sort_keys=True, ensure_ascii=False) + "\n", encoding="utf-8"
    )


def write_config(config: Config, generation: Config, out: Path, *, trust: bool) -> None:
    """Write config.json and generation_config.json for FP16, without names and versions.

    `auto_map`, which asks to run the model's own code, stays only where that is trusted.
    """
    dropped = _DROPPED if trust else (*_DROPPED, "auto_map")
    kept = {key: value for key, value in config.items() if key not in dropped}
    write_json(out / "config.json", {**kept, "dtype": "float16", "torch_dtype": "float16"})
    ids = ("bos_token_id", "eos_token_id", "pad_token_id")
    generation = generation or {key: config[key] for key in ids if config.get(key) is not None}
    write_json(
        out / "generation_config.json",
        {key: value for key, value in generation.items() if key not in _DROPPED},
    )


def refuse_code_elsewhere(config: Config, name: str) -> None:
    """Raise QuantmakeError where `auto_map` names code of another repository: no digest or commit
    pins that, and trust was given for this one."""
    entries = json.dumps(config.get("auto_map", {}))
    elsewhere = sorted(set(re.findall(r'"([^"]*--[^"]*)"', entries)))
    if elsewhere:
        raise QuantmakeError(
            f"{name}: auto_map names code of another repository ({', '.join(elsewhere)}), which is "
            "not pinned. Copy that code into the source's folder, and name it there without `--`."
        )


def refuse_unknown(config: Config, *, trust: bool) -> None:
    """Raise QuantmakeError where the configuration is of no model that can be converted."""
    from transformers.models.auto.modeling_auto import MODEL_FOR_CAUSAL_LM_MAPPING_NAMES

    if "quantization_config" in config:
        method = config["quantization_config"].get("quant_method", "unknown")
        raise QuantmakeError(
            f"config.json: the source is quantised already (quantization_config: {method}); "
            "name the model's FP16, BF16 or FP32 weights instead"
        )
    known = {
        kind: {names} if isinstance(names, str) else set(names)
        for kind, names in MODEL_FOR_CAUSAL_LM_MAPPING_NAMES.items()
    }
    kind, named = config.get("model_type"), config.get("architectures") or []
    if kind in known and (not named or known[kind] & set(named)):
        return
    if "auto_map" in config:
        if trust:
            return
        raise QuantmakeError(
            f"config.json: transformers does not know {_described(kind, named)}, and running the "
            "code that the model brings along (auto_map) is off. Read that code, and if you trust "
            "it write `trust_remote_code: true` under `model` in the recipe."
        )
    if kind in known:
        raise QuantmakeError(
            f"config.json: {_described(kind, named)} is no causal language model; "
            f"of {kind} this can be converted: {', '.join(sorted(known[kind]))}"
        )
    near = difflib.get_close_matches(str(kind), known, n=1)
    hint = f" Did you mean {near[0]!r}?" if near else ""
    raise QuantmakeError(
        f"config.json: nobody here can convert {_described(kind, named)}.{hint} The "
        f"{len(known)} causal language models of transformers are known, such as "
        f"{', '.join(_EXAMPLES)}."
    )


def _described(kind: object, named: list[str]) -> str:
    return f"model_type {kind!r}" + (f" ({', '.join(named)})" if named else "")
