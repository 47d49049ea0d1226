"""INT4 in bitsandbytes' own layout: NF4 or FP4, loaded by stock transformers on CPU and GPU.

NF4, double quantisation: Dettmers et al., QLoRA (2023). The layout of the file is what
`QuantState.as_dict(packed=True)` of bitsandbytes gives, as transformers saves it.
"""

import json
import shutil
from collections.abc import Mapping
from pathlib import Path
from typing import Literal

from scripts.errors import QuantmakeError
from scripts.progress import track
from scripts.stage import Format

_WEIGHTS = ("*.safetensors", "*.safetensors.index.json")


class Bitsandbytes4bit(Format):
    """INT4 (NF4 or FP4) for transformers with bitsandbytes, one folder"""

    format: Literal["bitsandbytes"]
    quant_type: Literal["nf4", "fp4"] = "nf4"
    block_size: Literal[64, 128, 256, 512, 1024, 2048, 4096] = 64
    double_quant: bool = True

    runtime = "torch"
    packages = ("bitsandbytes", "safetensors", "torch", "transformers")

    def label(self) -> str:
        """Such as `INT4 NF4 (bitsandbytes)`."""
        return f"INT4 {self.quant_type.upper()} (bitsandbytes)"

    def run(self, inputs: Mapping[str, Path], out: Path) -> None:
        """Quantise each linear of the decoder; raises QuantmakeError for weights not finite."""
        from scripts.nf4.quantise import linear_weights, quantise_shard, refuse_not_finite

        base = inputs["base"]
        shards = sorted(base.glob("*.safetensors"))
        linears = linear_weights(base)
        refuse_not_finite(shards, linears)
        index: dict[str, str] = {}
        size = 0
        for number, shard in enumerate(track(shards, "quantising"), start=1):
            name = "model.safetensors"
            if len(shards) > 1:
                name = f"model-{number:05d}-of-{len(shards):05d}.safetensors"
            tensors = quantise_shard(shard, out / name, linears, self)
            index.update(dict.fromkeys(tensors, name))
            size += sum(tensors.values())
        if len(shards) > 1:
            text = json.dumps(
                {"metadata": {"total_size": size}, "weight_map": index}, indent=2, sort_keys=True
            )
            (out / "model.safetensors.index.json").write_text(text + "\n")
        for path in sorted(base.iterdir()):
            if not any(path.match(pattern) for pattern in _WEIGHTS):
                shutil.copyfile(path, out / path.name)
        self._write_config(out / "config.json")

    def _write_config(self, path: Path) -> None:
        config = json.loads(path.read_text())
        config["quantization_config"] = {
            "quant_method": "bitsandbytes",
            "load_in_4bit": True,
            "load_in_8bit": False,
            "bnb_4bit_quant_type": self.quant_type,
            "bnb_4bit_use_double_quant": self.double_quant,
            "bnb_4bit_quant_storage": "uint8",
            "bnb_4bit_compute_dtype": "float32",
        }
        path.write_text(json.dumps(config, indent=2, sort_keys=True) + "\n")

    def check(self, inputs: Mapping[str, Path], out: Path) -> None:
        """Every tensor of the base is there, plain or quantised with a state that parses."""
        from scripts.nf4.quantise import faults_in

        found = faults_in(inputs["base"], out, self)
        if found:
            raise QuantmakeError(f"{out.name} is broken: " + "; ".join(found))
