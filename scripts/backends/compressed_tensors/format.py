"""compressed-tensors: what vLLM and SGLang serve, and stock transformers loads on CPU and GPU.

The folder is what llm-compressor writes: its names, packing and `quantization_config`, checked by
the package's own records. The head and the embedding stay in FP16, as there.
"""

import importlib
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

from pydantic import Field, model_validator
from pydantic_core import PydanticCustomError

from scripts.backends.format import Format, register
from scripts.errors import QuantmakeError
from scripts.footprints import Footprint, sum_of

if TYPE_CHECKING:
    from scripts.backends.compressed_tensors.plan import Plan

_HERE = "scripts.backends.compressed_tensors"  # the kernel of one method is in no key of another
_OF_GPTQ = ("rounds", "damping", "on_unsupported")
_IN_GROUPS = ("W4A16", "W8A16")
_GROUP = 128
# Of FP16: codes, and scales.
_SHARES = {"W4A16": 0.285, "W8A16": 0.535, "W8A8": 0.51, "FP8_DYNAMIC": 0.51, "NVFP4A16": 0.285}


@register
class CompressedTensors(Format):
    """INT4, INT8, FP8 or NVFP4 for vLLM, SGLang and transformers, one folder"""

    format: Literal["compressed-tensors"]
    scheme: Literal["W4A16", "W8A16", "W8A8", "FP8_DYNAMIC", "NVFP4A16"] = "W4A16"
    """llm-compressor's name: the bits of weights and of activations; in W8A8 and FP8_DYNAMIC the
    latter are rounded too, each token by a scale of its own"""
    method: Literal["rtn", "gptq", "awq"] = "rtn"
    """`rtn` searches the scales with the least squared error; `gptq` loses less, and so does `awq`,
    of W4A16 and W8A16"""
    group_size: Literal[32, 64, 128] | None = None
    """of W4A16 and W8A16: weights of a row that share a scale; 128 where none is given"""
    smooth: bool = False
    """of W8A8: fold outliers of the activations into the weights (SmoothQuant)"""
    rounds: Annotated[int, Field(ge=0)] = 2
    """of `gptq`: refinements that follow the paper's pass"""
    damping: Annotated[float, Field(gt=0, lt=1)] = 0.01
    """of `gptq`: share of the Hessian's mean diagonal that is added to it"""
    on_unsupported: Literal["error", "rtn"] = "error"
    """of `gptq`: a weight whose inputs the calibration never reached (of an expert, say) is an
    error or rounded to nearest"""

    backend = "compressed-tensors"
    packages = ("compressed-tensors",)
    linkable = True

    @model_validator(mode="after")
    def _fits_together(self) -> "CompressedTensors":
        if self.method != "gptq":
            for name in _OF_GPTQ:
                if getattr(self, name) != type(self).model_fields[name].default:
                    raise PydanticCustomError(
                        "gptq_only", f"`{name}` says nothing without `method: gptq`"
                    )
        if self.group_size is not None and self.scheme not in _IN_GROUPS:
            raise PydanticCustomError(
                "groups_only", f"`group_size` is of {' and '.join(_IN_GROUPS)} alone"
            )
        if self.method == "awq" and self.scheme not in _IN_GROUPS:
            raise PydanticCustomError(
                "groups_only", f"`method: awq` is of {' and '.join(_IN_GROUPS)} alone; take gptq"
            )
        if self.smooth and self.scheme != "W8A8":
            raise PydanticCustomError("w8a8_only", "`smooth` is of W8A8 alone")
        return self

    @property
    def group(self) -> int:
        """Weights that share a scale; 0 where the scheme has a size of its own."""
        return (self.group_size or _GROUP) if self.scheme in _IN_GROUPS else 0

    def needed(self) -> tuple[str, ...]:
        """The capture too, where something is learnt from the calibration."""
        return (*self.needs, *["capture"] * (self.method != "rtn" or self.smooth))

    def reaches(self) -> tuple[str, ...]:
        """The modules that round, and that scale activations."""
        return tuple(filter(None, (self._rounding, self._scaling)))

    @property
    def _rounding(self) -> str:
        return f"{_HERE}.{'gptq' if self.method == 'gptq' else 'rtn'}"

    @property
    def _scaling(self) -> str:
        if self.method == "awq":
            return f"{_HERE}.awq"
        return f"{_HERE}.smooth" if self.smooth else ""

    def label(self) -> str:
        """Such as `W4A16 (compressed-tensors)`, `W8A8 SmoothQuant GPTQ (compressed-tensors)`."""
        method = self.method.upper() if self.method != "rtn" else ""
        words = (self.scheme, "SmoothQuant" * self.smooth, method, "(compressed-tensors)")
        return " ".join(filter(None, words))

    def words(self) -> dict[str, str]:
        """The scheme too."""
        from scripts.backends.compressed_tensors.face import SCHEMES

        return {self.scheme: SCHEMES[self.scheme], **super().words()}

    def others(self) -> Iterator[Format]:
        """The same scheme, rounded to nearest."""
        if self.method != "rtn":
            chosen = {"format": self.format, "scheme": self.scheme, "group_size": self.group_size}
            yield type(self).model_validate(chosen)

    def choice(self) -> dict[str, object]:
        """The scheme as well."""
        return {"format": self.format, "scheme": self.scheme, "method": self.method}

    def takes(self) -> Footprint:
        """Error compensation takes Hessians."""
        bits = "4" if self.scheme in ("W4A16", "NVFP4A16") else "8"
        rows = [f"compressed-tensors {bits} bits", *["bitsandbytes gptq"] * (self.method != "rtn")]
        return sum_of(*rows)

    def run(self, inputs: Mapping[str, Path], out: Path) -> None:
        """Quantise each linear but the head, shard by shard.

        Raises QuantmakeError for a group that does not divide, for weights that are not finite, and
        for those of which the capture says nothing.
        """
        from scripts.backends.compressed_tensors.schemes import quantization_config
        from scripts.backends.folding import Folding
        from scripts.backends.shards import quantise_folder

        planned = self._plan(inputs["base"])
        scaling = importlib.import_module(self._scaling) if self._scaling else None
        folding = scaling.folding_of(inputs, self) if scaling else Folding()
        work = importlib.import_module(self._rounding).work(inputs, planned, self, folding)
        settings = quantization_config(self, planned.ignored)
        quantise_folder(inputs["base"], out, work, settings, _SHARES[self.scheme])

    def _plan(self, base: Path) -> "Plan":
        from scripts.backends.compressed_tensors.plan import plan
        from scripts.backends.compressed_tensors.schemes import layout_of

        what = f"group_size {self.group}" if self.group else f"{self.scheme}'s group of 16"
        return plan(base, self.scheme, layout_of(self).divisor, what)

    def difference(self, before: Path, after: Path) -> str:
        """By tensors: codes, scales, norms."""
        from scripts.tensors.compare import first_difference, of_safetensors

        return first_difference(of_safetensors(before), of_safetensors(after))

    def check(self, inputs: Mapping[str, Path], out: Path) -> None:
        """config.json is what the package reads, and every part of every weight is there."""
        from scripts.backends.compressed_tensors.check import faults_in

        base = inputs["base"]
        faults = faults_in(base, out, self._plan(base), self)
        if faults:
            raise QuantmakeError(f"{out.name} is broken: {'; '.join(faults)}")
