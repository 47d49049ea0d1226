"""GGUF files for llama.cpp, quantised by llama.cpp itself or rounded better in its blocks."""

from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from functools import partial
from pathlib import Path
from pkgutil import resolve_name
from typing import TYPE_CHECKING, Annotated, Literal

from pydantic import Field, model_validator
from pydantic_core import PydanticCustomError

from scripts.backends.format import Format, register
from scripts.backends.tune import Tune
from scripts.errors import MachineError, QuantmakeError
from scripts.footprints import Footprint, sum_of
from scripts.forecast import Inputs, Outline

if TYPE_CHECKING:
    from scripts.backends.gguf.llama import Outcome
    from scripts.tensors.compare import Tensors

# The types of include/llama.h (q4_0 is LLAMA_FTYPE_MOSTLY_Q4_0) that need no importance matrix,
# but for those of models trained in them (ternary, MXFP4), which make nonsense of any other.
GgufType = Literal[
    "f16", "bf16", "q8_0", "q6_k", "q5_k_m", "q5_k_s", "q5_1", "q5_0", "q4_k_m", "q4_k_s", "iq4_nl",
    "iq4_xs", "q4_1", "q4_0", "iq3_m", "iq3_s", "q3_k_l", "q3_k_m", "q3_k_s", "q2_k",
]  # fmt: skip
FLOAT_TYPES = ("f16", "bf16")
_HEAD_BITS = 8.5  # Q8_0
GPTQ_TYPES = (
    "q8_0", "q6_k", "q5_k_m", "q5_k_s", "q5_1", "q5_0", "q4_k_m", "q4_k_s", "iq4_nl", "q4_1",
    "q4_0",
)  # fmt: skip
# `GgufFile.reaches` says which of these are in the key.
_QUANTISE = "scripts.backends.gguf.llama:quantise"
_IMATRIX = "scripts.backends.gguf.imatrix:mean_squares"
_AUTO = "scripts.backends.gguf.auto:quantise_within"
_GPTQ = "scripts.backends.gguf.rounding:round_again"
_TUNE = "scripts.backends.gguf.tuning:tune"
_FLOATS = {"F32", "F16", "BF16"}
_CHOSEN_APART = {"token_embd.weight", "output.weight"}  # by every preset: Q6_K or Q8_0


@register
class GgufFile(Format):
    """GGUF, one file for llama.cpp, of one of its types"""

    format: Literal["gguf"]
    type: Literal[GgufType, "auto"]
    """`auto` gives each tensor a type of its own, so that the file costs least within a size"""
    like: GgufType | None = None
    """of `auto`: the preset whose size is not exceeded"""
    max_bytes: Annotated[int, Field(gt=0)] | None = None
    """of `auto`: the size that is not exceeded"""
    imatrix: bool = False
    """weigh llama.cpp's rounding errors by the calibration's inputs; `gptq` makes it needless"""
    method: Literal["rtn", "gptq"] = "rtn"
    """`rtn` is llama.cpp's own rounding; `gptq` loses less in the same blocks"""
    rounds: Annotated[int, Field(ge=0)] = 2
    """of `gptq`: refinements that follow the pass over the columns"""
    tune: Tune | None = None
    """learn the FP16 numbers of the blocks and the norms from the FP16 base, on the calibration's
    text"""

    backend = "gguf"
    needs = ("f16",)
    suffix = ".gguf"
    linkable = True

    @model_validator(mode="after")
    def _fits_together(self) -> "GgufFile":
        sizes = (self.like is not None) + (self.max_bytes is not None)
        if sizes != (self.type == "auto"):
            raise PydanticCustomError(
                "size", "`type: auto` and one of `like` and `max_bytes` belong together"
            )
        if self.type in FLOAT_TYPES and (self.imatrix or self.method == "gptq" or self.tune):
            raise PydanticCustomError(
                "float_type",
                "a float type is not rounded: leave out `imatrix`, `method` and `tune`",
            )
        if self.method != "gptq" and self.rounds != type(self).model_fields["rounds"].default:
            raise PydanticCustomError("gptq_only", "`rounds` says nothing without `method: gptq`")
        if self.method == "gptq" and self.type not in ("auto", *GPTQ_TYPES):
            raise PydanticCustomError(
                "gptq_type",
                f"`method: gptq` can't round to {self.type}; it knows {', '.join(GPTQ_TYPES)} and "
                "auto. Choose one of these, or llama.cpp's own rounding (`method: rtn`)",
            )
        return self

    def needed(self) -> tuple[str, ...]:
        """What was measured of the calibration too, where the options ask for it."""
        measured = self._is_measured()
        measures = ["capture"] * (self.imatrix or measured) + ["gradients"] * (self.type == "auto")
        return (*self.needs, *measures, *(["base", "calibration"] if self.tune else []))

    def _is_measured(self) -> bool:
        """Whether it is made by what the calibration says of errors in each tensor."""
        return self.type == "auto" or self.method == "gptq"

    def label(self) -> str:
        """Such as `GGUF Q4_K_M`, `GGUF auto (Q4_0's size), GPTQ tuned`."""
        size = f"{self.like.upper()}'s size" if self.like else f"{self.max_bytes or 0:,} bytes"
        name = f"auto ({size})" if self.type == "auto" else self.type.upper()
        how = ["GPTQ"] * (self.method == "gptq") + ["tuned"] * (self.tune is not None)
        told = ["imatrix"] * self.imatrix + ([" ".join(how)] if how else [])
        return ", ".join([f"GGUF {name}", *told])

    def words(self) -> dict[str, str]:
        """The type too, or the one whose size is kept to."""
        from scripts.backends.gguf.face import type_words

        return {**super().words(), **type_words(self.like or self.type)}

    def takes(self) -> Footprint:
        """What is written follows from the type; presets give the head and the embedding Q8_0."""
        from scripts.tensors.gguf_header import bits_per_weight

        if self.max_bytes is not None:
            size = Footprint(written=self.max_bytes)
        else:
            bits = bits_per_weight(self.like or self.type)
            size = Footprint(disk=bits / 8, outside=max(bits, _HEAD_BITS) / 8)
        tuning = ["tuning"] * (self.tune is not None)
        return size + sum_of("gguf", *["gguf measured"] * self._is_measured(), *tuning)

    def refusal(self, inputs: Inputs) -> str:
        """Widths that no block divides; a size that not even the smallest types keep to."""
        from scripts.backends.gguf.sizes import too_small, unfit

        about = (said.about for said in inputs.values() if said is not None)
        outline = next((one for one in about if isinstance(one, Outline)), None)
        if outline is None or self.type in FLOAT_TYPES:
            return ""
        if self.type == "auto":
            return unfit("q4_0", outline) or too_small(self.like or self.max_bytes or 0, outline)
        return unfit(self.type, outline)

    def others(self) -> Iterator["GgufFile"]:
        """llama.cpp's own rounding, of a type for all tensors."""
        yield type(self)(format="gguf", type=self.like or "q4_0")

    def choice(self) -> dict[str, object]:
        """The type stands for the method, which has a default."""
        return {"format": self.format, "type": self.type}

    def reaches(self) -> tuple[str, ...]:
        """What does the work: llama.cpp's own rounding has none of ours in its key."""
        works = {
            _QUANTISE: True,
            _IMATRIX: self.imatrix,
            _AUTO: self.type == "auto",
            _GPTQ: self.method == "gptq",
            _TUNE: self.tune is not None,
        }
        return tuple(work.partition(":")[0] for work, is_used in works.items() if is_used)

    def run(self, inputs: Mapping[str, Path], out: Path) -> None:
        """Quantise with llama_model_quantize, whose log goes to stdout, then round again.

        Raises QuantmakeError where no tensor can have a type of this preset, because the
        model's widths do not divide by its blocks of 256 (most k-quants) or 32, and for a model
        that `tune` does not know; RecipeError where no types are small enough for the size.
        """
        try:
            quantise = resolve_name(_QUANTISE)
        except ImportError as error:
            raise MachineError(
                f"llama-cpp-python can't be imported ({error}); install it with python3.11 -m "
                "scripts.setup, which needs a C++ compiler"
            ) from None
        f16 = inputs["f16"]
        importance = resolve_name(_IMATRIX)(f16, inputs["capture"]) if self.imatrix else None
        if self.type == "auto":
            said = resolve_name(_AUTO)(inputs, out, self.like or self.max_bytes, importance)
            print(f"{self.label()}: {said}")
        else:
            outcome = quantise(f16, out, f"MOSTLY_{self.type.upper()}", importance=importance)
            self._tell(outcome, f16, out)
        if self.method == "gptq":
            print(f"{self.label()}: {resolve_name(_GPTQ)(inputs, out, self.rounds)}")
        if self.tune is not None:
            resolve_name(_TUNE)(inputs, out, self.tune)

    def _tell(self, outcome: "Outcome", f16: Path, out: Path) -> None:
        """Print the fallbacks; raise where nothing else is left."""
        from scripts.backends.gguf.sizes import no_width
        from scripts.tensors.gguf_header import block_of, tensors_of

        fallbacks = outcome.fallbacks
        if fallbacks:
            types = Counter(fallbacks.values())
            print(
                f"{self.label()}: {len(fallbacks)} of {len(outcome.converted)} matrices fell back "
                "to another type, since their width does not divide by the block: "
                + ", ".join(f"{count} to {name}" for name, count in sorted(types.items())),
                flush=True,
            )
        layers = outcome.converted - _CHOSEN_APART
        if self.type not in FLOAT_TYPES and not layers - fallbacks.keys():
            out.unlink(missing_ok=True)
            widths = {
                tensor.shape[-1]
                for name, tensor in tensors_of(f16).items()
                if len(tensor.shape) > 1 and name not in _CHOSEN_APART
            }
            raise QuantmakeError(no_width(self.type, block_of(self.type), widths))

    def difference(self, before: Path, after: Path) -> str:
        """By tensors: values of floats, bytes of quantised ones."""
        from gguf import GGUFReader

        from scripts.tensors.compare import first_difference

        def tensors(path: Path) -> "Tensors":
            read = {tensor.name: tensor for tensor in GGUFReader(path).tensors}
            return {name: partial(getattr, tensor, "data") for name, tensor in read.items()}

        return first_difference(tensors(before), tensors(after))

    def check(self, inputs: Mapping[str, Path], out: Path) -> None:
        """The same tensors as the F16 file, some quantised; llama.cpp loads it, all finite."""
        from scripts.backends.gguf.llama import loading_error
        from scripts.tensors.gguf_header import tensors_of

        tensors = tensors_of(out)
        original = {
            name: _without_ones(one.shape) for name, one in tensors_of(inputs["f16"]).items()
        }
        written = {name: _without_ones(one.shape) for name, one in tensors.items()}
        differ = sorted(dict.fromkeys(name for name, _ in {*original.items()} ^ {*written.items()}))
        if differ:
            raise QuantmakeError(
                f"{out.name} and the F16 file differ in the tensors {', '.join(differ)}"
            )
        types = Counter(tensor.type for tensor in tensors.values())
        print(f"{out.name}: " + ", ".join(f"{n} × {name}" for name, n in types.most_common()))
        if self.type not in FLOAT_TYPES and not {*types} - _FLOATS:
            raise QuantmakeError(f"{out.name}: no tensor is quantised, all are {', '.join(types)}")
        reason = loading_error(out)
        if reason:
            raise QuantmakeError(f"llama.cpp can't load {out.name}: {reason}")


def _without_ones(shape: Iterable[int]) -> tuple[int, ...]:
    """Without the dimensions of 1, of which llama.cpp leaves some out."""
    return tuple(size for size in shape if size != 1)
