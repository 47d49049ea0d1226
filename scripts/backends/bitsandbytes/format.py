"""INT4 in bitsandbytes' own layout: NF4 or FP4, loaded by stock transformers on CPU and GPU.

`method: rtn` is what bitsandbytes itself gives, bit for bit; `gptq` chooses other values of the
same grid, so that errors make up for each other.

NF4, double quantisation: Dettmers et al., QLoRA (2023). The layout of the file is what
`QuantState.as_dict(packed=True)` of bitsandbytes gives, as transformers saves it.
"""

import importlib
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Literal

from pydantic import Field, model_validator
from pydantic_core import PydanticCustomError

from scripts.backends.format import Format, register
from scripts.backends.tune import Tune
from scripts.errors import QuantmakeError
from scripts.footprints import Footprint, sum_of

_MODULES = {
    method: f"scripts.backends.bitsandbytes.{method}" for method in ("rtn", "gptq")
}  # the kernel of one is in no key of the other
_TUNING = "scripts.backends.bitsandbytes.tuning"
_OF_GPTQ = ("rounds", "damping", "on_unsupported")
_SHARE = 0.285  # of FP16: half a byte, and absmax


@register
class Bitsandbytes4bit(Format):
    """INT4 (NF4 or FP4) for transformers with bitsandbytes, one folder"""

    format: Literal["bitsandbytes"]
    quant_type: Literal["nf4", "fp4"] = "nf4"
    """the 16 values of the grid"""
    block_size: Literal[64, 128, 256, 512, 1024, 2048, 4096] = 64
    """weights that share a scale"""
    double_quant: bool = True
    """scales in 8 bits"""
    method: Literal["rtn", "gptq"] = "rtn"
    """`rtn` is what bitsandbytes itself gives, bit for bit; `gptq` loses less"""
    rounds: Annotated[int, Field(ge=0)] = 2
    """of `gptq`: refinements that follow the paper's pass"""
    damping: Annotated[float, Field(gt=0, lt=1)] = 0.01
    """of `gptq`: share of the Hessian's mean diagonal that is added to it"""
    on_unsupported: Literal["error", "rtn"] = "error"
    """of `gptq`: a weight whose inputs the calibration never reached (of an expert, say) is an
    error or rounded to nearest"""
    tune: Tune | None = None
    """learn the scales and the norms from the FP16 base, on the calibration's text"""

    backend = "bitsandbytes"
    linkable = True

    @model_validator(mode="after")
    def _fits_together(self) -> "Bitsandbytes4bit":
        if self.method != "gptq":
            for name in _OF_GPTQ:
                if getattr(self, name) != type(self).model_fields[name].default:
                    raise PydanticCustomError(
                        "gptq_only", f"`{name}` says nothing without `method: gptq`"
                    )
        return self

    def needed(self) -> tuple[str, ...]:
        """The capture too, where errors are compensated for; what is learnt from."""
        capture, calibration = self.method == "gptq", self.tune is not None
        return (*self.needs, *["capture"] * capture, *["calibration"] * calibration)

    def reaches(self) -> tuple[str, ...]:
        """The method's own module, and what tunes."""
        return (_MODULES[self.method], *[_TUNING] * (self.tune is not None))

    def label(self) -> str:
        """Such as `INT4 NF4 (bitsandbytes)`, `INT4 NF4 GPTQ (bitsandbytes)`."""
        how = ["GPTQ"] * (self.method == "gptq") + ["tuned"] * (self.tune is not None)
        return " ".join(["INT4", self.quant_type.upper(), *how, "(bitsandbytes)"])

    def words(self) -> dict[str, str]:
        """The 4-bit type too."""
        from scripts.backends.bitsandbytes.face import TYPES

        name = self.quant_type.upper()
        return {name: TYPES[name], **super().words()}

    def takes(self) -> Footprint:
        """Error compensation takes Hessians, and learning the whole model."""
        gptq, tuning = self.method == "gptq", self.tune is not None
        return sum_of("bitsandbytes", *["bitsandbytes gptq"] * gptq, *["tuning"] * tuning)

    def run(self, inputs: Mapping[str, Path], out: Path) -> None:
        """Quantise each linear of the decoder, shard by shard.

        Raises QuantmakeError for a block size that does not divide, for weights that are not
        finite, for those of which the capture says nothing, and for a model that `tune` does not
        know.
        """
        from scripts.backends.bitsandbytes.plan import plan
        from scripts.backends.shards import quantise_folder

        planned = plan(inputs["base"], self.block_size)
        work = importlib.import_module(_MODULES[self.method]).work(inputs, planned, self)
        settings = self._quantization_config(planned.skipped)
        quantise_folder(inputs["base"], out, work, settings, _SHARE)
        if self.tune is not None:
            importlib.import_module(_TUNING).tune(inputs, out, planned, self.tune)

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

    def difference(self, before: Path, after: Path) -> str:
        """By tensors: codes, absmax, norms."""
        from scripts.tensors.compare import first_difference, of_safetensors

        return first_difference(of_safetensors(before), of_safetensors(after))

    def check(self, inputs: Mapping[str, Path], out: Path) -> None:
        """Every tensor of the base is there, plain or quantised with a state that parses."""
        from scripts.backends.bitsandbytes.check import faults_in
        from scripts.backends.bitsandbytes.plan import plan

        base = inputs["base"]
        faults = faults_in(base, out, plan(base, self.block_size), self)
        if faults:
            raise QuantmakeError(f"{out.name} is broken: {'; '.join(faults)}")
