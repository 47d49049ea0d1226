"""The language model of a checkpoint that reads pictures or sound too.

Qwen 3.5, Gemma 3 and 4, Mistral Small and Ministral are published with their towers only. What is
quantised and measured here is text, and llama.cpp, onnxruntime-genai's builder and transformers
load such a language model by itself. Source: transformers, the classes …ForConditionalGeneration.
"""

from collections.abc import Iterable, Mapping
from typing import Any

Config = dict[str, Any]

_HEAD = "lm_head.weight"
_EMBEDDING = "embed_tokens.weight"
_PARTS = ("language_model.", "text_model.")  # what holds the language model, in a name
_INHERITED = (
    *("bos_token_id", "eos_token_id", "pad_token_id", "tie_word_embeddings"),
    *("quantization_config", "auto_map"),
)


def language_model(config: Config) -> Config | None:
    """The config.json of the language model alone; None where `config` is of one, or of a model
    whose language model transformers can't load by itself."""
    from transformers.models.auto.modeling_auto import MODEL_FOR_CAUSAL_LM_MAPPING_NAMES

    text = config.get("text_config")
    named = [str(name) for name in config.get("architectures") or []]
    if not isinstance(text, dict) or not any("ConditionalGeneration" in name for name in named):
        return None
    known = MODEL_FOR_CAUSAL_LM_MAPPING_NAMES.get(text.get("model_type", ""))
    alone = [known] if isinstance(known, str) else [*(known or ())]
    if len(alone) != 1 or "ForCausalLM" not in alone[0]:
        return None
    inherited = {key: config[key] for key in _INHERITED if config.get(key) is not None}
    return {**inherited, **text, "architectures": alone}


def language_tensors(stored: Iterable[str]) -> Mapping[str, str]:
    """By the name that the language model has alone, what the whole checkpoint calls a tensor;
    empty where no part of it is marked as the language model."""
    names = list(stored)
    prefixes = {
        name.removesuffix(_EMBEDDING)
        for name in names
        if name.endswith(_EMBEDDING) and any(part in name for part in _PARTS)
    }
    if len(prefixes) != 1:
        return {}
    [prefix] = prefixes
    kept = {f"model.{name.removeprefix(prefix)}": name for name in names if name.startswith(prefix)}
    heads = [n for n in names if n == _HEAD or any(n.endswith(part + _HEAD) for part in _PARTS)]
    return {**kept, _HEAD: heads[0]} if heads else kept


def with_head(config: Config, kept: Mapping[str, str]) -> Config:
    """A head that is not stored is the embedding, whatever the part of config.json says of it."""
    return config if _HEAD in kept else {**config, "tie_word_embeddings": True}
