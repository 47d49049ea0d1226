"""The language model of a checkpoint that reads pictures or sound too.

Qwen 3.5, Gemma 3 and 4, Mistral Small and Ministral are published with their towers only. What is
quantised and measured here is text, and llama.cpp, onnxruntime-genai's builder and transformers
load such a language model by itself. Source: transformers, the classes …ForConditionalGeneration.
"""

from collections.abc import Mapping
from typing import Any

from scripts.tensors.language_model import HEAD

Config = dict[str, Any]

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


def with_head(config: Config, kept: Mapping[str, str]) -> Config:
    """A head that is not stored is the embedding, whatever the part of config.json says of it."""
    return config if HEAD in kept else {**config, "tie_word_embeddings": True}
