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
from scripts.progress import Progress
from scripts.stage import Format

_WEIGHTS = ("*.safetensors", "*.safetensors.index.json")


class Bitsandbytes4bit(Format):
    """INT4 (NF4 or FP4) for transformers with bitsandbytes, one folder"""

    format: Literal["bitsandbytes"]
    quant_type: Literal["nf4", "fp4"] = "nf4"
    block_size: Literal[64, 128, 256, 512, 1024, 2048, 4096] = 64
    double_quant: bool = True

    runtime = "torch"
    linkable = True
    packages = ("bitsandbytes", "safetensors", "torch", "transformers")

    def label(self) -> str:
        """Such as `INT4 NF4 (bitsandbytes)`."""
        return f"INT4 {self.quant_type.upper()} (bitsandbytes)"

    def run(self, inputs: Mapping[str, Path], out: Path) -> None:
        """Quantise each linear of the decoder, shard by shard.

        Raises QuantmakeError for a block size that does not divide, and for weights not finite.
        """
        from scripts.nf4.plan import plan
        from scripts.nf4.quantise import names_in, quantise_shard, refuse_unusable

        base = inputs["base"]
        shards = sorted(base.glob("*.safetensors"))
        planned = plan(base, self.block_size)
        refuse_unusable(shards, planned)
        bar = Progress("quantising", sum(len(names_in(shard)) for shard in shards), "tensors")
        places: dict[str, str] = {}
        size = 0
        for shard in shards:
            sizes = quantise_shard(shard, out / shard.name, planned, self, bar)
            places.update(dict.fromkeys(sizes, shard.name))
            size += sum(sizes.values())
        if len(shards) > 1:
            index = {"metadata": {"total_size": size}, "weight_map": places}
            _write_json(out / "model.safetensors.index.json", index)
        for path in sorted(base.iterdir()):
            if path.is_file() and not any(path.match(pattern) for pattern in _WEIGHTS):
                shutil.copyfile(path, out / path.name)
        config = json.loads((base / "config.json").read_text(encoding="utf-8"))
        settings = self._quantization_config(planned.skipped)
        _write_json(out / "config.json", {**config, "quantization_config": settings})

    def _quantization_config(self, skipped: tuple[str, ...]) -> dict[str, object]:
        """What transformers' BitsAndBytesConfig reads."""
        return {
            "quant_method": "bitsandbytes",
            "load_in_4bit": True,
            "load_in_8bit": False,
            "bnb_4bit_quant_type": self.quant_type,
            "bnb_4bit_use_double_quant": self.double_quant,
            "bnb_4bit_quant_storage": "uint8",
            "bnb_4bit_compute_dtype": "float32",
            **({"llm_int8_skip_modules": list(skipped)} if skipped else {}),
        }

    def check(self, inputs: Mapping[str, Path], out: Path) -> None:
        """Every tensor of the base is there, plain or quantised with a state that parses."""
        from scripts.nf4.check import faults_in
        from scripts.nf4.plan import plan

        base = inputs["base"]
        faults = faults_in(base, out, plan(base, self.block_size), self)
        if faults:
            raise QuantmakeError(f"{out.name} is broken: {'; '.join(faults)}")


def _write_json(path: Path, value: dict[str, object]) -> None:
    text = json.dumps(value, indent=2, sort_keys=True, ensure_ascii=False)
    path.write_text(text + "\n", encoding="utf-8")
