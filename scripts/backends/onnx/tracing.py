"""optimum's exporter, for families too that it can trace but does not list.

    python tracing.py ARGUMENTS…

takes the arguments of `python -m optimum.exporters.onnx`, and runs in the environment of
`exporters.py`, which has optimum-onnx 0.1.0 and nothing of this project. Each of these families
computes as one that optimum lists does; what comes out is compared with the base in any case.
"""

import importlib
import runpy
import sys
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import torch


def know_more_families() -> None:
    """OLMo 3 is OLMo 2 with windows, StarCoder 2 and Mixtral read and remember what Llama does."""
    configs: Any = importlib.import_module("optimum.exporters.onnx.model_configs")
    patcher: Any = importlib.import_module("optimum.exporters.onnx.model_patcher")
    register, tasks = configs.register_tasks_manager_onnx, configs.COMMON_TEXT_GENERATION_TASKS

    with_groups = {"NORMALIZED_CONFIG_CLASS": configs.NormalizedTextConfigWithGQA}
    mixture = {**with_groups, "_MODEL_PATCHER": patcher.Qwen3MoeModelPatcher}
    families = {
        "olmo3": type("Olmo3", (configs.Olmo2OnnxConfig,), with_groups),
        "starcoder2": type("Starcoder2", (configs.LlamaOnnxConfig,), with_groups),
        "mixtral": type("Mixtral", (configs.LlamaOnnxConfig,), mixture),
    }
    for name, family in families.items():
        register(name, *tasks)(family)


def trace_every_expert() -> None:
    """A mixture that passes over the experts that no token goes to is traced without them: the
    graph would have those of the tokens that it was traced with, which are random, alone."""
    patcher: Any = importlib.import_module("optimum.exporters.onnx.model_patcher")
    models = "transformers.models"
    mixtral: Any = importlib.import_module(f"{models}.mixtral.modeling_mixtral")
    mixtral.MixtralSparseMoeBlock.norm_topk_prob = True
    mixtral.MixtralSparseMoeBlock.forward = patcher.qwen3_moe_forward_patched
    deepseek: Any = importlib.import_module(f"{models}.deepseek_v3.modeling_deepseek_v3")
    deepseek.DeepseekV3MoE.moe = _through_every_expert


def _through_every_expert(
    block: Any, hidden: "torch.Tensor", chosen: "torch.Tensor", shares: "torch.Tensor"
) -> "torch.Tensor":
    """What the experts [tokens, k] that were `chosen` give for `hidden` [tokens, width], by their
    shares [tokens, k]."""
    import torch

    total = torch.zeros_like(hidden, dtype=shares.dtype)
    for number, expert in enumerate(block.experts):
        tokens, places = torch.where(chosen == number)
        given = expert(hidden[tokens]) * shares[tokens, places][:, None]
        total = total.index_add(0, tokens, given)
    return total.to(hidden.dtype)


if __name__ == "__main__":
    know_more_families()
    trace_every_expert()
    sys.argv[0] = "optimum"
    runpy.run_module("optimum.exporters.onnx", run_name="__main__")
