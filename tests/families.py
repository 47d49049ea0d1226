"""Tiny models of the families that people bring, seeded and untrained, from their configs."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

from tests.sentencepiece_folder import sentencepiece_tokenizer
from tests.tiny import tiny_lines, tiny_tokenizer

WINDOW = 24
"""Of the families with sliding attention: shorter than the windows of the tests."""

_SIZES: dict[str, Any] = {
    "vocab_size": 410,
    "hidden_size": 64,
    "intermediate_size": 128,
    "num_hidden_layers": 4,
    "num_attention_heads": 4,
    "num_key_value_heads": 2,
    "max_position_embeddings": 512,
    "bos_token_id": 1,
    "eos_token_id": 2,
    "pad_token_id": 2,
}
_LLAMA3 = {
    "rope_type": "llama3",
    "factor": 8.0,
    "low_freq_factor": 1.0,
    "high_freq_factor": 4.0,
    "original_max_position_embeddings": 64,
}
_MOE = {"num_experts_per_tok": 2}
_QWEN3_MOE = {"head_dim": 16, "moe_intermediate_size": 64, "num_experts": 4, **_MOE}


def _of(config: str, without: tuple[str, ...] = (), **more: Any) -> Callable[[], Any]:
    """A config of transformers with the common sizes, less some, and more of its own."""

    def make() -> Any:
        import transformers

        sizes = {name: value for name, value in _SIZES.items() if name not in without}
        return getattr(transformers, config)(**{**sizes, **more})

    return make


_KV = ("num_key_value_heads",)
_GEMMA = {"head_dim": 16, "query_pre_attn_scalar": 16, "sliding_window": WINDOW}
_GPT2 = {
    "n_embd": 64,
    "n_layer": 4,
    "n_head": 4,
    "n_positions": 512,
    "vocab_size": 410,
    "n_ctx": 512,
}

FAMILIES: dict[str, Callable[[], Any]] = {
    "llama": _of("LlamaConfig"),
    "llama3": _of("LlamaConfig", rope_theta=500000.0, rope_scaling=_LLAMA3),
    "qwen2": _of("Qwen2Config"),
    "qwen3": _of("Qwen3Config", head_dim=16),
    "qwen3-moe": _of("Qwen3MoeConfig", **_QWEN3_MOE, norm_topk_prob=True),
    "qwen3-moe-unnormed": _of("Qwen3MoeConfig", **_QWEN3_MOE, norm_topk_prob=False),
    "mistral": _of("MistralConfig", head_dim=16, sliding_window=None),
    "mistral-window": _of("MistralConfig", head_dim=16, sliding_window=WINDOW),
    "ministral": _of("MinistralConfig", head_dim=16, sliding_window=WINDOW),
    "mixtral": _of("MixtralConfig", num_local_experts=4, **_MOE),
    "gemma2": _of("Gemma2Config", **_GEMMA),
    "gemma3": _of("Gemma3TextConfig", **{**_GEMMA, "num_hidden_layers": 6}),
    "phi": _of("PhiConfig", intermediate_size=256, num_attention_heads=2, num_key_value_heads=2),
    "phi3": _of("Phi3Config"),
    "smollm3": _of("SmolLM3Config"),
    "granite": _of(
        "GraniteConfig",
        attention_multiplier=0.2,
        logits_scaling=2.0,
        embedding_multiplier=3.0,
        residual_multiplier=0.5,
    ),
    "granite-moe": _of("GraniteMoeConfig", num_local_experts=4, **_MOE),
    "olmo2": _of("Olmo2Config"),
    "olmo3": _of("Olmo3Config", sliding_window=WINDOW),
    "lfm2": _of(
        "Lfm2Config",
        layer_types=["conv", "full_attention", "conv", "full_attention"],
        block_auto_adjust_ff_dim=False,
    ),
    "gpt2": _of("GPT2Config", without=tuple(_SIZES), **_GPT2),
    "gpt-neox": _of("GPTNeoXConfig", without=_KV),
    "gpt-oss": _of(
        "GptOssConfig",
        head_dim=16,
        sliding_window=WINDOW,
        num_local_experts=4,
        rope_parameters={"rope_type": "default", "rope_theta": 150000.0},
        **_MOE,
    ),
    "deepseek-v3": _of(
        "DeepseekV3Config",
        num_key_value_heads=4,
        q_lora_rank=64,
        kv_lora_rank=64,
        qk_rope_head_dim=8,
        qk_nope_head_dim=16,
        v_head_dim=16,
        n_routed_experts=4,
        n_group=1,
        topk_group=1,
        moe_intermediate_size=64,
        first_k_dense_replace=1,
        **_MOE,
    ),
    "qwen3.5": _of(
        "Qwen3_5TextConfig",
        head_dim=32,
        layer_types=["linear_attention"] * 3 + ["full_attention"],
        rope_parameters={
            **{"rope_type": "default", "rope_theta": 10000.0, "partial_rotary_factor": 0.25},
            **{"mrope_interleaved": True, "mrope_section": [2, 1, 1]},
        },
        linear_key_head_dim=16,
        linear_value_head_dim=16,
        linear_num_key_heads=2,
        linear_num_value_heads=4,
    ),
    "ministral3": _of(
        "Ministral3Config",
        head_dim=16,
        rope_parameters={
            **{"rope_type": "yarn", "rope_theta": 10000.0, "factor": 4.0, "beta_fast": 32.0},
            **{"beta_slow": 1.0, "mscale": 1.0, "mscale_all_dim": 1.0},
            **{"original_max_position_embeddings": 128, "llama_4_scaling_beta": 0.1},
        },
    ),
    "gemma4": _of(
        "Gemma4TextConfig",
        num_hidden_layers=6,
        head_dim=16,
        sliding_window=WINDOW,
        vocab_size_per_layer_input=410,
        hidden_size_per_layer_input=64,
    ),
    "lfm2-moe": _of(
        "Lfm2MoeConfig",
        layer_types=["conv", "full_attention", "conv", "full_attention"],
        num_dense_layers=1,
        moe_intermediate_size=64,
        num_experts=4,
        **_MOE,
    ),
    "granite-hybrid": _of(
        "GraniteMoeHybridConfig",
        vocab_size=416,  # a multiple of 8, as published ones are
        layer_types=["mamba", "attention", "mamba", "attention"],
        num_local_experts=0,
        num_experts_per_tok=0,
        shared_intermediate_size=128,
        mamba_n_heads=8,
        mamba_d_state=16,
        mamba_d_head=16,
        mamba_chunk_size=32,
        position_embedding_type="nope",
    ),
    "granite4": _of(
        "GraniteMoeHybridConfig",
        layer_types=["attention"] * 4,
        num_local_experts=0,
        num_experts_per_tok=0,
        shared_intermediate_size=128,
        position_embedding_type="rope",
    ),
    "stablelm": _of("StableLmConfig"),
    "starcoder2": _of("Starcoder2Config", sliding_window=None),
    "falcon": _of(
        "FalconConfig", without=(*_KV, "intermediate_size"), new_decoder_architecture=False
    ),
    "cohere": _of("CohereConfig"),
}


_SENTENCEPIECE = {"gemma2": True, "gemma4": True, "phi3": False}
"""Families whose published vocabularies are SentencePiece's; true of Gemma's kind."""


def make_family(name: str, folder: Path, **sizes: int) -> Path:
    """Write a Hugging Face folder (FP16 safetensors) of a model of the family, about 300,000
    weights. They are larger than a fresh model's, so that its predictions have some spread.
    `sizes` take the place of the configuration's."""
    import torch
    from transformers import AutoModelForCausalLM

    torch.manual_seed(0)
    config = FAMILIES[name]()
    for size, value in sizes.items():
        setattr(config, size, value)
    model = AutoModelForCausalLM.from_config(config)
    with torch.no_grad():
        for parameter in model.parameters():
            if parameter.dim() > 1:
                parameter.mul_(3)
    model.half().save_pretrained(folder)
    if name in _SENTENCEPIECE:
        tokenizer = sentencepiece_tokenizer(_SIZES["vocab_size"], gemma=_SENTENCEPIECE[name])
    else:
        tokenizer = tiny_tokenizer(tiny_lines(2000))
    tokenizer.save_pretrained(folder)
    return folder
