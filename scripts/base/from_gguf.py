"""Import a GGUF file: its weights, dequantised, its configuration and its tokenizer.

Format: github.com/ggml-org/ggml/blob/master/docs/gguf.md.
"""

from pathlib import Path
from typing import Any

import gguf
import numpy as np
import torch
from transformers.integrations.ggml import GGUF_CONFIG_MAPPING
from transformers.modeling_gguf_pytorch_utils import (
    TENSOR_PROCESSORS,
    TensorProcessor,
    get_gguf_hf_weights_map,
)

from scripts.base.config_json import Config, write_config
from scripts.base.gguf_tokenizer import SPECIAL_IDS, write_tokenizer
from scripts.base.skeleton import skeleton
from scripts.base.weights import Weights
from scripts.errors import QuantmakeError
from scripts.tensors.gguf_fields import Fields

ARCHITECTURES = {
    "llama": "LlamaForCausalLM",
    "qwen2": "Qwen2ForCausalLM",
    "qwen3": "Qwen3ForCausalLM",
}


def import_gguf(path: Path, out: Path) -> Weights:
    """Write configuration and tokenizer into `out`; return the weights, not read yet."""
    fields = Fields.of(path)
    architecture = _architecture(fields)
    tensors = {tensor.name: tensor for tensor in fields.reader.tensors}
    _refuse_rope_scaling(fields, architecture, tensors)
    ids = _special_ids(fields)
    config = {**_config(fields, architecture, tensors), **ids}
    write_config(config, _generation(fields, ids), out, trust=False)
    write_tokenizer(fields, config["max_position_embeddings"], out)
    return _weights(path, tensors, config, architecture, out)


def _architecture(fields: Fields) -> str:
    architecture = fields.text("general.architecture")
    if architecture not in ARCHITECTURES:
        raise QuantmakeError(
            f"{fields.file}: GGUF files of the architecture {architecture!r} can't be imported; "
            f"known: {', '.join(ARCHITECTURES)}. Name the model's Hugging Face folder or "
            "repository."
        )
    return architecture


def _refuse_rope_scaling(fields: Fields, architecture: str, tensors: dict[str, Any]) -> None:
    kind = fields.get(f"{architecture}.rope.scaling.type")
    if "rope_freqs.weight" in tensors or kind not in (None, "none"):
        raise QuantmakeError(
            f"{fields.file}: the model scales its rotary positions ({kind or 'rope_freqs.weight'})"
            ", which a GGUF file does not hold in full; name the model's Hugging Face folder or "
            "repository"
        )


def _config(fields: Fields, architecture: str, tensors: dict[str, Any]) -> Config:
    """config.json as transformers knows it, from the fields of the file."""
    config: Config = {
        "model_type": architecture,
        "architectures": [ARCHITECTURES[architecture]],
        "tie_word_embeddings": "output.weight" not in tensors,
        "vocab_size": int(tensors["token_embd.weight"].shape[-1]),
    }
    renamed: Any = GGUF_CONFIG_MAPPING[architecture]
    for key, name in renamed.items():
        value = fields.get(f"{architecture}.{key}")
        if name is not None and name != "vocab_size" and value is not None:
            config[name] = _shortest(value)
    key_length = fields.get(f"{architecture}.attention.key_length")
    if key_length is not None:
        config["head_dim"] = key_length
    if architecture == "llama":
        config["attention_bias"] = "blk.0.attn_q.bias" in tensors
        config["mlp_bias"] = "blk.0.ffn_up.bias" in tensors
    return config


def _special_ids(fields: Fields) -> Config:
    named = {f"{name}_token_id": fields.get(SPECIAL_IDS[name]) for name in ("bos", "eos", "pad")}
    return {name: number for name, number in named.items() if number is not None}


def _generation(fields: Fields, ids: Config) -> Config:
    """generation_config.json; a turn may end with a token other than the text's end."""
    turn, end = fields.get("tokenizer.ggml.eot_token_id"), ids.get("eos_token_id")
    if turn is None or end is None or turn == end:
        return ids
    return {**ids, "eos_token_id": [end, turn]}


def _shortest(value: Any) -> Any:
    """A float32 field as the shortest decimal that reads back the same: 1e-05, not 9.99…e-06."""
    return float(str(np.float32(value))) if isinstance(value, float) else value


def _weights(
    path: Path, tensors: dict[str, Any], config: Config, architecture: str, out: Path
) -> Weights:
    model = skeleton(out, trust=False)
    # llama.cpp stores the rows of Q and K in another order for some architectures.
    processor: Any = TENSOR_PROCESSORS.get(architecture, TensorProcessor)
    processor = processor(config=config)
    names: dict[str, str] = get_gguf_hf_weights_map(model.model, processor)
    unknown = sorted(name for name in tensors if name not in names)
    if unknown:
        raise QuantmakeError(
            f"{path.name} holds tensors that {ARCHITECTURES[architecture]} does not have: "
            f"{', '.join(unknown)}"
        )
    stored = {names[name]: tensor for name, tensor in tensors.items()}
    shapes = {name: tuple(int(n) for n in t.shape[::-1]) for name, t in stored.items()}
    model.compare(shapes, path.name)

    def load(name: str) -> torch.Tensor:
        tensor = stored[name]
        try:
            values = gguf.dequantize(tensor.data, tensor.tensor_type)
        except NotImplementedError:
            raise QuantmakeError(
                f"{path.name}: {tensor.name} is stored as {tensor.tensor_type.name}, which gguf "
                "can't dequantise; name a file of another type"
            ) from None
        values = processor.process(weights=values, name=tensor.name).weights
        return torch.from_numpy(np.array(values, dtype=np.float32))

    return Weights(shapes, load)
