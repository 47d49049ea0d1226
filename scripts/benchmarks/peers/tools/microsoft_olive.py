"""Microsoft Olive: workflows of passes; its GPTQ, and onnxruntime-genai's builder."""

import json
import tempfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from scripts.benchmarks.peer import CPU_TORCH, Inputs, Peer, Scheme

_BUILDER = {
    "type": "ModelBuilder",
    "precision": "int4",
    "int4_block_size": 32,
    "int4_accuracy_level": 4,
}
_GPTQ = {"type": "Gptq", "bits": 4, "group_size": 32, "sym": False}


def quantise(inputs: Inputs, out: Path, options: Mapping[str, Any]) -> None:
    """Run a workflow for CPUs, with a cache of its own: another run's would spare it the work."""
    from olive import run

    passes = {name: dict(one) for name, one in options["passes"].items()}
    accelerator = {"device": "cpu", "execution_providers": ["CPUExecutionProvider"]}
    with tempfile.TemporaryDirectory(dir=out.parent) as work:
        data = []
        if "gptq" in passes:
            passes["gptq"]["data_config"] = "calibration"
            data = [_calibration(inputs, Path(work, "calibration.jsonl"))]
        config = {
            "input_model": {"type": "HfModel", "model_path": str(inputs["base"])},
            "systems": {"local": {"type": "LocalSystem", "accelerators": [accelerator]}},
            "data_configs": data,
            "passes": passes,
            "host": "local",
            "target": "local",
            "output_dir": str(out),
            "cache_dir": str(Path(work, "cache")),
            "no_artifacts": True,
        }
        run(config)


def _calibration(inputs: Inputs, file: Path) -> dict[str, Any]:
    """The calibration's windows as texts, one a line: Olive cuts texts into tokens by itself."""
    import numpy as np
    from transformers import AutoTokenizer

    tokenizer = AutoTokenizer.from_pretrained(inputs["base"])
    windows = np.load(inputs["calibration"] / "tokens.npy").tolist()
    file.write_text("".join(json.dumps({"text": tokenizer.decode(one)}) + "\n" for one in windows))
    load = {"data_name": "json", "data_files": str(file), "split": "train"}
    cut = {
        "model_name": str(inputs["base"]),
        "strategy": "line-by-line",
        "max_seq_len": len(windows[0]),
        "max_samples": len(windows),
        "add_special_tokens": False,
    }
    return {
        "name": "calibration",
        "type": "HuggingfaceContainer",
        "load_dataset_config": load,
        "pre_process_data_config": {**cut, "task": "text-generation"},
        "dataloader_config": {"batch_size": 1},
    }


def _call(*passes: Mapping[str, Any]) -> str:
    return 'olive run --config {"passes": ' + json.dumps(list(passes)) + "}"


PEER = Peer(
    name="Olive",
    packages=(
        *(CPU_TORCH, "olive-ai==0.13.0", "onnxruntime==1.32.0", "onnxruntime-genai==0.11.4"),
        *("onnx==1.23.2", "onnx-ir==1.1.0", "transformers==4.57.6", "accelerate==1.15.0"),
        *("datasets==5.0.1", "optimum==2.1.0"),
    ),
    quantise=quantise,
    runtime="onnx",
    schemes=(
        Scheme(
            name="INT4, blocks of 32",
            call=_call(_BUILDER),
            ours="{format: onnx, bits: 4, method: rtn}",
            options={"passes": {"builder": _BUILDER}},
        ),
        Scheme(
            name="INT4 GPTQ, blocks of 32",
            call=_call(_GPTQ, _BUILDER),
            ours="{format: onnx, bits: 4, method: gptq}",
            options={"passes": {"gptq": _GPTQ, "builder": _BUILDER}},
            note="GPTQ of the layers; the builder rounds the head.",
        ),
    ),
)
