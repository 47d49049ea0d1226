"""Configurations as transformers 5 writes them, in the words that transformers 4 reads, and 5 too.

The base has these words, for tools of others, and for the exporters of last resort. 4 ignores what
it does not know: a model whose rotary base is only in `rope_parameters` would run with the default
one. Source: transformers, modeling_rope_utils.py and MIGRATION_GUIDE_V5.md.
"""

from typing import Any

from scripts.errors import QuantmakeError

Config = dict[str, Any]

_FULL, _SLIDING = "full_attention", "sliding_attention"
_BESIDE = ("rope_theta", "partial_rotary_factor")  # top-level keys of version 4
_RENAMED = {"qwen2_moe": "num_experts", "qwen3_moe": "num_experts", "olmoe": "num_experts"}
_DEFAULT = "default"
_NEWER = (
    "ministral3",
    "qwen3_5_text",
)  # which version 4 never had, and tools read as 5 writes them
_LAYERS = {"granitemoehybrid": {"linear_attention": "mamba", "full_attention": "attention"}}
_NEOX = {"rope_theta": "rotary_emb_base", "partial_rotary_factor": "rotary_pct"}


def model_of_version_4(config: Config) -> Config:
    """config.json: `rope_parameters`, names of fields and of kinds of layers. What version 4 can't
    say stays as it is: no model that 4 can run has it.

    Raises QuantmakeError where it says two things.
    """
    given = dict(config)
    if isinstance(given.get("text_config"), dict):
        given["text_config"] = model_of_version_4(given["text_config"])
    experts = _RENAMED.get(given.get("model_type", ""))
    if experts and experts not in given and "num_local_experts" in given:
        given[experts] = given.pop("num_local_experts")
    layers = _LAYERS.get(given.get("model_type", ""), {})
    if given.get("layer_types"):
        given["layer_types"] = [layers.get(one, one) for one in given["layer_types"]]
    if not isinstance(given.get("rope_parameters"), dict):
        return given
    rope = given["rope_parameters"]
    translated = _rope(rope, given.get("model_type", ""))
    if translated is None:
        return given
    del given["rope_parameters"]
    other = {
        key: (given[key], value)
        for key, value in translated.items()
        if given.get(key) is not None and given[key] != value
    }
    if other:
        raise QuantmakeError(
            "config.json says two things of the rotary positions: "
            + "; ".join(
                f"{key} is {ours!r}, by rope_parameters {theirs!r}"
                for key, (ours, theirs) in other.items()
            )
            + ". Keep what the model was trained with."
        )
    return given | translated


def _rope(rope: Config, kind: str) -> Config | None:
    """`rope_theta`, `rope_scaling` and their like; None where they can't say it."""
    if kind in _NEWER:
        return None
    if kind == "gpt_oss" and _kind(rope) == _DEFAULT:  # None would be version 5's own, by YaRN
        return {**_flat(rope), "rope_scaling": {"rope_type": _DEFAULT}}
    if kind == "gpt_neox":
        return {_NEOX.get(name, name): value for name, value in _flat(rope).items()}
    if _FULL not in rope and _SLIDING not in rope:
        return _flat(rope)
    full, sliding = rope.get(_FULL) or rope[_SLIDING], rope.get(_SLIDING) or rope[_FULL]
    if full == sliding:
        return _flat(full)
    plain = set(sliding) <= {"rope_theta", "rope_type"} and _kind(sliding) == _DEFAULT
    if kind.startswith("gemma3") and plain:
        return {**_flat(full), "rope_local_base_freq": sliding["rope_theta"]}
    if kind == "olmo3" and plain and sliding["rope_theta"] == full["rope_theta"]:
        return _flat(full)
    return None


def _flat(rope: Config) -> Config:
    scaling = {key: value for key, value in rope.items() if key not in _BESIDE}
    beside = {key: rope[key] for key in _BESIDE if key in rope}
    unscaled = _kind(rope) == _DEFAULT and set(scaling) <= {"rope_type"}  # Qwen's has more keys
    return {**beside, "rope_scaling": None if unscaled else scaling}


def _kind(rope: Config) -> str:
    return str(rope.get("rope_type", _DEFAULT))


def tokenizer_of_version_4(config: Config) -> Config:
    """tokenizer_config.json: the class, and the list of special tokens without a name."""
    given = {key: value for key, value in config.items() if key not in ("backend", "is_local")}
    if given.get("tokenizer_class") == "TokenizersBackend":
        given["tokenizer_class"] = "PreTrainedTokenizerFast"
    if isinstance(given.get("extra_special_tokens"), list):
        given["additional_special_tokens"] = given.pop("extra_special_tokens")
    return given
