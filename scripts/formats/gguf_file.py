"""GGUF files for llama.cpp, quantised by llama.cpp itself."""

from collections import Counter
from collections.abc import Mapping
from pathlib import Path
from typing import Literal

from scripts.errors import MachineError, QuantmakeError
from scripts.stage import Format

# The types of include/llama.h (q4_0 is LLAMA_FTYPE_MOSTLY_Q4_0) that need no importance matrix,
# but for those of models trained in them (ternary, MXFP4), which make nonsense of any other.
GgufType = Literal[
    "f16", "bf16", "q8_0", "q6_k", "q5_k_m", "q5_k_s", "q5_1", "q5_0", "q4_k_m", "q4_k_s", "iq4_nl",
    "iq4_xs", "q4_1", "q4_0", "iq3_m", "iq3_s", "q3_k_l", "q3_k_m", "q3_k_s", "q2_k",
]  # fmt: skip
FLOAT_TYPES = ("f16", "bf16")
_FLOATS = {"F32", "F16", "BF16"}
_CHOSEN_APART = {"token_embd.weight", "output.weight"}  # by every preset: Q6_K or Q8_0


class GgufFile(Format):
    """GGUF, one file for llama.cpp, of one of its types"""

    format: Literal["gguf"]
    type: GgufType

    runtime = "llama.cpp"
    needs = ("f16",)
    suffix = ".gguf"
    linkable = True
    packages = ("llama-cpp-python",)

    def label(self) -> str:
        """Such as `GGUF Q4_K_M`."""
        return f"GGUF {self.type.upper()}"

    def run(self, inputs: Mapping[str, Path], out: Path) -> None:
        """Quantise with llama_model_quantize, whose log goes to stdout.

        Raises QuantmakeError where no tensor can have a type of this preset, because the
        model's widths do not divide by its blocks of 256 (most k-quants) or 32.
        """
        try:
            from scripts.gguf_files.llama import quantise
        except ImportError as error:
            raise MachineError(
                f"llama-cpp-python can't be imported ({error}); install it with python3.11 -m "
                "scripts.setup, which needs a C++ compiler"
            ) from None
        outcome = quantise(inputs["f16"], out, f"MOSTLY_{self.type.upper()}")
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
            got = ", ".join(sorted(set(fallbacks.values())))
            out.unlink(missing_ok=True)
            raise QuantmakeError(
                f"type {self.type}: all {len(layers)} matrices of the layers would fall back to "
                f"another type ({got}), since no width of this model divides by its block. "
                "Choose a type with blocks of 32, such as q8_0, q5_0, q4_0 or iq4_nl, or f16."
            )

    def check(self, inputs: Mapping[str, Path], out: Path) -> None:
        """The same tensors as the F16 file, some quantised; llama.cpp loads it, all finite."""
        from gguf import GGUFReader

        from scripts.gguf_files.llama import loading_error

        try:
            tensors = GGUFReader(out).tensors
        except ValueError as error:
            raise QuantmakeError(f"{out.name} is no GGUF file: {error}") from None
        original = {t.name: tuple(t.shape.tolist()) for t in GGUFReader(inputs["f16"]).tensors}
        found = {tensor.name: tuple(tensor.shape.tolist()) for tensor in tensors}
        differ = sorted(dict.fromkeys(name for name, _ in {*original.items()} ^ {*found.items()}))
        if differ:
            raise QuantmakeError(
                f"{out.name} and the F16 file differ in the tensors {', '.join(differ)}"
            )
        types = Counter(tensor.tensor_type.name for tensor in tensors)
        print(f"{out.name}: " + ", ".join(f"{n} × {name}" for name, n in types.most_common()))
        if self.type not in FLOAT_TYPES and not {*types} - _FLOATS:
            raise QuantmakeError(f"{out.name}: no tensor is quantised, all are {', '.join(types)}")
        reason = loading_error(out)
        if reason:
            raise QuantmakeError(f"llama.cpp can't load {out.name}: {reason}")
