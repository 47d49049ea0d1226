"""What onnxruntime-genai's builder (0.18.0) overlooks in the configurations of some families."""

from types import SimpleNamespace
from typing import Any

_KNOWN_AS = {
    "Qwen3_5ForCausalLM": "Qwen3_5ForConditionalGeneration",
    "Ministral3ForCausalLM": "MistralForCausalLM",
}
"""Under which name the builder knows an architecture: as a part of a larger one, or as the one that
it is but for how queries grow (see `scale_queries`)."""


def tell(config: Any) -> None:
    """All of it that a configuration can say."""
    _tell_windows(config)
    _tell_rotary_positions(config)


def known_configs() -> Any:
    """What reads configurations as `AutoConfig`, under the architectures that the builder knows."""
    from transformers import AutoConfig

    def read(*given: Any, **named: Any) -> Any:
        config: Any = AutoConfig.from_pretrained(*given, **named)
        config.architectures = [_KNOWN_AS.get(name, name) for name in config.architectures or []]
        return config

    return SimpleNamespace(from_pretrained=read)


def _tell_windows(config: Any) -> None:
    """Of families whose layers all have a window (Mistral, Phi 3), which say so by its length
    alone; the builder takes layers without a kind for such that see all tokens."""
    if getattr(config, "sliding_window", None) and not getattr(config, "layer_types", None):
        config.layer_types = ["sliding_attention"] * config.num_hidden_layers


def _tell_rotary_positions(config: Any) -> None:
    """Gemma 3's as version 4 of transformers said them, which the builder looks for: those of the
    layers that see all tokens, and beside them the base of those with a window."""
    rope = getattr(config, "rope_parameters", None) or {}
    if getattr(config, "model_type", "") == "gemma3_text" and "full_attention" in rope:
        config.rope_parameters = rope["full_attention"]
        config.rope_local_base_freq = rope["sliding_attention"]["rope_theta"]


def frequencies_of(config: Any) -> Any:
    """Those [head width / 2] of a model with YaRN, as transformers computes them; None of others.
    The builder has gpt-oss' alone, whose bounds are no whole numbers."""
    from transformers.modeling_rope_utils import ROPE_INIT_FUNCTIONS

    rope = getattr(config, "rope_parameters", None) or {}
    if rope.get("rope_type") != "yarn" or config.model_type == "gpt_oss":
        return None
    frequencies, _ = ROPE_INIT_FUNCTIONS["yarn"](config, "cpu")
    return frequencies


def queries_grow(config: Any) -> tuple[float, int] | None:
    """Ministral 3 multiplies queries by 1 + beta · log(1 + ⌊position / original context⌋), as Llama
    4 does (transformers, modeling_ministral3.py): beta and that context, or None."""
    rope = getattr(config, "rope_parameters", None) or {}
    beta = rope.get("llama_4_scaling_beta")
    return (beta, rope["original_max_position_embeddings"]) if beta else None


def scale_queries(builder: Any, layer: int, growth: tuple[float, int]) -> None:
    """Multiply a layer's queries [batch, tokens, width], not turned yet, by what a table
    [positions, 1] has for their positions."""
    if not layer:
        _make_scales(builder, *growth)
    name = f"/model/layers.{layer}/attn/q_scale/Mul"
    width = builder.num_attn_heads * builder.head_size
    builder.make_mul(
        name,
        [builder.attention_attrs["q_path"], _SCALES],
        dtype=builder.io_dtype,
        shape=["batch_size", "sequence_length", width],
    )
    builder.attention_attrs["q_path"] = f"{name}/output_0"


_SCALES = "/model/query_scale/Gather/output_0"


def _make_scales(builder: Any, beta: float, context: int) -> None:
    """Of the tokens given, which are the last of all that the mask counts."""
    import torch
    from onnx_ir import DataType

    at, number = "/model/query_scale", "/model/constants/INT64"
    table = 1 + beta * torch.log(1 + torch.floor(torch.arange(builder.context_length) / context))
    builder.make_initializer(table[:, None], "query_scale_cache", to=builder.io_dtype)
    counted = {"given": "input_ids", "all": "attention_mask"}
    for name, of in counted.items():
        builder.make_shape(f"{at}/{name}/Shape", builder.input_names[of], shape=[2])
        inputs = [f"{at}/{name}/Shape/output_0", f"{number}/1"]
        builder.make_gather(f"{at}/{name}/Gather", inputs, DataType.INT64, shape=[], axis=0)
    given, all_ = (f"{at}/{name}/Gather/output_0" for name in counted)
    builder.make_sub(f"{at}/Sub", [all_, given], DataType.INT64, shape=[])
    places = [f"{at}/Sub/output_0", all_, f"{number}/1"]
    builder.make_range(f"{at}/Range", places, DataType.INT64, shape=["sequence_length"])
    builder.make_gather(
        f"{at}/Gather",
        ["query_scale_cache", f"{at}/Range/output_0"],
        builder.io_dtype,
        shape=["sequence_length", 1],
        axis=0,
    )
