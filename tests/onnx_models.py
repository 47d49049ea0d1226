"""Small models and graphs for the tests of ONNX files, and how far two models are apart."""

import hashlib
import shutil
from pathlib import Path

import numpy as np
import onnx
import onnx_ir as ir
import torch
from numpy.typing import NDArray
from onnx import TensorProto, helper
from transformers import (
    AutoModelForCausalLM,
    GPT2Config,
    GPT2LMHeadModel,
    LlamaConfig,
    LlamaForCausalLM,
    MambaConfig,
    MambaForCausalLM,
    PreTrainedModel,
)

from scripts.backends.onnx.loader import OrtModel

TOKENIZER_FILES = ("tokenizer.json", "tokenizer_config.json", "special_tokens_map.json")


def write_other_base(kind: str, folder: Path, tiny_base: Path) -> Path:
    """An untrained base of another kind, with the tiny base's tokenizer."""
    torch.manual_seed(0)
    special = {"vocab_size": 512, "bos_token_id": 1, "eos_token_id": 2}
    models: dict[str, PreTrainedModel] = {
        "untied": LlamaForCausalLM(
            LlamaConfig(
                hidden_size=64,
                intermediate_size=128,
                num_hidden_layers=2,
                num_attention_heads=2,
                num_key_value_heads=1,
                max_position_embeddings=128,
                **special,
            )
        ),
        "gpt2": GPT2LMHeadModel(
            GPT2Config(n_embd=64, n_layer=2, n_head=2, n_positions=128, **special)
        ),
        "mamba": MambaForCausalLM(
            MambaConfig(hidden_size=32, num_hidden_layers=1, state_size=4, **special)
        ),
    }
    models[kind].half().save_pretrained(folder)
    for name in TOKENIZER_FILES:
        shutil.copy(tiny_base / name, folder / name)
    return folder


def torch_logits(base: Path, tokens: NDArray[np.int64]) -> NDArray[np.float32]:
    """FP32 logits [n, vocabulary] of the base for tokens [n]."""
    model = AutoModelForCausalLM.from_pretrained(base, dtype=torch.float32).eval()
    with torch.inference_mode():
        return model(torch.from_numpy(tokens)[None]).logits[0].numpy()


def divergence(wanted: NDArray[np.float32], got: NDArray[np.float32]) -> float:
    """Mean KL(wanted ‖ got) in nats of logits [n, vocabulary]."""
    base, mine = (torch.from_numpy(x).double().log_softmax(-1) for x in (wanted, got))
    return float((base.exp() * (base - mine)).sum(-1).mean())


def cached_logits(folder: Path, tokens: NDArray[np.int64], cut: int) -> NDArray[np.float32]:
    """Logits [n - cut + 1, vocabulary] of the last positions: a prefill, then decode steps."""
    model = OrtModel(folder, 2, len(tokens))
    rows = [model.prefill(tokens[:cut])]
    return np.stack([*rows, *(model.decode(int(token)) for token in tokens[cut:])])


def digests(folder: Path) -> dict[str, str]:
    """SHA-256 of every file below a folder."""
    return {
        path.relative_to(folder).as_posix(): hashlib.sha256(path.read_bytes()).hexdigest()
        for path in sorted(folder.rglob("*"))
        if path.is_file()
    }


def operators(folder: Path) -> list[str]:
    """The kinds of the nodes of a folder's graph, sorted."""
    graph = onnx.load(folder / "model.onnx", load_external_data=False).graph
    return sorted(node.op_type for node in graph.node)


def one_matmul(weight: NDArray[np.float32], *, name: str = "/lm_head/MatMul") -> ir.Model:
    """A graph of one MatMul with a constant weight [K, N]: x [rows, K] to logits [rows, N]."""
    rows, columns = weight.shape
    return ir.from_proto(
        helper.make_model(
            helper.make_graph(
                [helper.make_node("MatMul", ["x", "weight"], ["logits"], name)],
                "one",
                [helper.make_tensor_value_info("x", TensorProto.FLOAT, ["rows", rows])],
                [helper.make_tensor_value_info("logits", TensorProto.FLOAT, ["rows", columns])],
                [onnx.numpy_helper.from_array(weight, "weight")],
            ),
            opset_imports=[helper.make_opsetid("", 21), helper.make_opsetid("com.microsoft", 1)],
            ir_version=10,
        )
    )


def compute(model: ir.Model, feeds: dict[str, NDArray[np.generic]]) -> NDArray[np.float32]:
    """The first output of a graph."""
    import onnxruntime as ort

    data = ir.to_proto(model).SerializeToString()
    return ort.InferenceSession(data, providers=["CPUExecutionProvider"]).run(None, feeds)[0]
