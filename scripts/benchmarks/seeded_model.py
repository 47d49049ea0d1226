"""A model of any size that nobody has to download: Llama's shape, seeded random weights.

    python -m scripts.benchmarks.seeded_model OUT --size 3B [--shard-gigabytes 2]

Each tensor's numbers come from a generator seeded with its name, and are written as they are made:
one tensor is in memory at a time, and the same command gives the same bytes.
"""

import argparse
import json
import sys
import zlib
from dataclasses import dataclass
from math import prod
from pathlib import Path

import numpy as np
import torch

from scripts.base.weights import Weights, write_fp16
from scripts.disk_space import require_space

_SPREAD = 0.02  # standard deviation, as Llama is initialised


@dataclass(frozen=True)
class Shape:
    """The widths of a Llama."""

    hidden: int
    mlp: int
    layers: int
    heads: int
    kv_heads: int
    vocabulary: int = 32000

    def tensors(self) -> dict[str, tuple[int, ...]]:
        """The shape of every tensor, by its Hugging Face name."""
        shared = self.hidden // self.heads * self.kv_heads
        of_layer: dict[str, tuple[int, ...]] = {
            "input_layernorm": (self.hidden,),
            "post_attention_layernorm": (self.hidden,),
            "self_attn.q_proj": (self.hidden, self.hidden),
            "self_attn.k_proj": (shared, self.hidden),
            "self_attn.v_proj": (shared, self.hidden),
            "self_attn.o_proj": (self.hidden, self.hidden),
            "mlp.gate_proj": (self.mlp, self.hidden),
            "mlp.up_proj": (self.mlp, self.hidden),
            "mlp.down_proj": (self.hidden, self.mlp),
        }
        shapes: dict[str, tuple[int, ...]] = {
            "model.embed_tokens.weight": (self.vocabulary, self.hidden),
            "model.norm.weight": (self.hidden,),
            "lm_head.weight": (self.vocabulary, self.hidden),
        }
        for layer in range(self.layers):
            shapes |= {f"model.layers.{layer}.{part}.weight": s for part, s in of_layer.items()}
        return shapes

    def config(self) -> dict[str, object]:
        """What config.json says."""
        return {
            "architectures": ["LlamaForCausalLM"],
            "model_type": "llama",
            "hidden_size": self.hidden,
            "intermediate_size": self.mlp,
            "num_hidden_layers": self.layers,
            "num_attention_heads": self.heads,
            "num_key_value_heads": self.kv_heads,
            "vocab_size": self.vocabulary,
            "max_position_embeddings": 2048,
            "rms_norm_eps": 1e-5,
            "tie_word_embeddings": False,
            "torch_dtype": "float16",
            "bos_token_id": 0,
            "eos_token_id": 0,
        }


SIZES = {
    "10M": Shape(256, 768, 4, 4, 2, 4000),
    "125M": Shape(768, 2048, 12, 12, 4),
    "1B": Shape(2048, 5632, 22, 32, 4),
    "3B": Shape(3072, 8192, 28, 24, 8),
    "7B": Shape(4096, 11008, 32, 32, 32),
}


def write_seeded_model(out: Path, shape: Shape, shard_bytes: int) -> int:
    """Write a Hugging Face folder; return the bytes of its weights. `out` is an empty folder.

    Raises MachineError where it does not fit on the disk.
    """
    shapes = shape.tensors()
    size = 2 * sum(map(prod, shapes.values()))
    require_space(out, size)
    (out / "config.json").write_text(json.dumps(shape.config(), indent=2) + "\n")
    _write_tokenizer(out)

    def load(name: str) -> torch.Tensor:
        if len(shapes[name]) == 1:
            return torch.ones(shapes[name])
        generator = np.random.Generator(np.random.SFC64(zlib.crc32(name.encode())))
        return torch.from_numpy(generator.standard_normal(shapes[name], np.float32)).mul_(_SPREAD)

    write_fp16(Weights(shapes, load), out, shard_bytes)
    return size


def _write_tokenizer(out: Path) -> None:
    """Bytes as tokens, and one merge, without which llama.cpp takes it for none of its kinds."""
    from tokenizers import Tokenizer, decoders, models, pre_tokenizers
    from transformers import PreTrainedTokenizerFast

    alphabet = sorted(pre_tokenizers.ByteLevel.alphabet())
    vocabulary = {token: place for place, token in enumerate(["<|endoftext|>", *alphabet, "th"])}
    tokenizer = Tokenizer(models.BPE(vocab=vocabulary, merges=[("t", "h")]))
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(False)
    tokenizer.decoder = decoders.ByteLevel()
    PreTrainedTokenizerFast(
        tokenizer_object=tokenizer, bos_token="<|endoftext|>", eos_token="<|endoftext|>"
    ).save_pretrained(out)


def main(arguments: list[str]) -> int:
    """The command line."""
    parser = argparse.ArgumentParser(prog="python -m scripts.benchmarks.seeded_model")
    parser.add_argument("out", type=Path)
    parser.add_argument("--size", choices=sorted(SIZES), default="1B")
    parser.add_argument("--shard-gigabytes", type=float, default=2)
    parsed = parser.parse_args(arguments)
    parsed.out.mkdir(parents=True)
    size = write_seeded_model(parsed.out, SIZES[parsed.size], int(parsed.shard_gigabytes * 1e9))
    print(f"{size:,} bytes of weights in {parsed.out}")
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
