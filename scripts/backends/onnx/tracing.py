"""optimum's exporter, for families too that it can trace but does not list.

    python tracing.py ARGUMENTS…

takes the arguments of `python -m optimum.exporters.onnx`, and runs in the environment of
`exporters.py`, which has optimum-onnx 0.1.0 and nothing of this project. Each of these families
computes as one that optimum lists does; what comes out is compared with the base in any case.
"""

import importlib
import runpy
import sys
from typing import Any


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
    # Traced as it is, a mixture would have the experts of the tokens it was traced with alone.
    block: Any = importlib.import_module("transformers.models.mixtral.modeling_mixtral")
    block.MixtralSparseMoeBlock.norm_topk_prob = True
    block.MixtralSparseMoeBlock.forward = patcher.qwen3_moe_forward_patched


if __name__ == "__main__":
    know_more_families()
    sys.argv[0] = "optimum"
    runpy.run_module("optimum.exporters.onnx", run_name="__main__")
