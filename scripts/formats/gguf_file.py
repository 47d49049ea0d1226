"""GGUF files for llama.cpp, quantised by llama.cpp itself."""

import os
from collections import Counter
from collections.abc import Mapping
from pathlib import Path
from typing import Literal

from scripts.errors import MachineError, QuantmakeError
from scripts.stage import Format

# Name in recipes → suffix of llama.cpp's LLAMA_FTYPE_… constant (include/llama.h). The types
# that llama.cpp refuses to make without an importance matrix are not among them.
FILE_TYPES = {
    "f16": "MOSTLY_F16",
    "bf16": "MOSTLY_BF16",
    "q8_0": "MOSTLY_Q8_0",
    "q6_k": "MOSTLY_Q6_K",
    "q5_k_m": "MOSTLY_Q5_K_M",
    "q5_k_s": "MOSTLY_Q5_K_S",
    "q5_1": "MOSTLY_Q5_1",
    "q5_0": "MOSTLY_Q5_0",
    "q4_k_m": "MOSTLY_Q4_K_M",
    "q4_k_s": "MOSTLY_Q4_K_S",
    "iq4_nl": "MOSTLY_IQ4_NL",
    "iq4_xs": "MOSTLY_IQ4_XS",
    "q4_1": "MOSTLY_Q4_1",
    "q4_0": "MOSTLY_Q4_0",
    "q3_k_l": "MOSTLY_Q3_K_L",
    "q3_k_m": "MOSTLY_Q3_K_M",
    "q3_k_s": "MOSTLY_Q3_K_S",
    "q2_k": "MOSTLY_Q2_K",
}
FLOAT_TYPES = ("f16", "bf16")


class GgufFile(Format):
    """GGUF, one file for llama.cpp, of one of its types"""

    format: Literal["gguf"]
    type: Literal[
        "f16", "bf16", "q8_0", "q6_k", "q5_k_m", "q5_k_s", "q5_1", "q5_0", "q4_k_m", "q4_k_s",
        "iq4_nl", "iq4_xs", "q4_1", "q4_0", "q3_k_l", "q3_k_m", "q3_k_s", "q2_k",
    ]  # fmt: skip

    runtime = "llama.cpp"
    needs = ("f16",)
    suffix = ".gguf"
    packages = ("llama-cpp-python",)

    def label(self) -> str:
        """Such as `GGUF Q4_K_M`."""
        return f"GGUF {self.type.upper()}"

    def run(self, inputs: Mapping[str, Path], out: Path) -> None:
        """Quantise with llama_model_quantize; its own log goes to stderr."""
        try:
            import llama_cpp
        except ImportError as error:
            raise MachineError(
                f"llama-cpp-python can't be imported ({error}); install it with python3.11 -m "
                "scripts.setup, which needs a C++ compiler"
            ) from None
        settings = llama_cpp.llama_model_quantize_default_params()
        settings.nthread = len(os.sched_getaffinity(0))
        settings.ftype = getattr(llama_cpp, f"LLAMA_FTYPE_{FILE_TYPES[self.type]}")
        code = llama_cpp.llama_model_quantize(
            str(inputs["f16"]).encode(), str(out).encode(), settings
        )
        if code != 0:
            out.unlink(missing_ok=True)
            raise QuantmakeError(
                f"llama.cpp could not quantise {inputs['f16']} to {self.type} (code {code}); the "
                "task's log has its words"
            )

    def check(self, inputs: Mapping[str, Path], out: Path) -> None:
        """The same tensors as the F16 file, some of them quantised, all of them finite."""
        import numpy
        from gguf import GGUFReader, dequantize

        original = {t.name: tuple(t.shape.tolist()) for t in GGUFReader(inputs["f16"]).tensors}
        tensors = GGUFReader(out).tensors
        found = {tensor.name: tuple(tensor.shape.tolist()) for tensor in tensors}
        differ = sorted({*original.items()} ^ {*found.items()})
        if differ:
            names = ", ".join(dict.fromkeys(name for name, _ in differ))
            raise QuantmakeError(f"{out.name} and the F16 file differ in the tensors {names}")
        types = Counter(tensor.tensor_type.name for tensor in tensors)
        print(f"{out.name}: " + ", ".join(f"{n} × {name}" for name, n in types.most_common()))
        if self.type not in FLOAT_TYPES and not {*types} - {"F32", "F16", "BF16"}:
            raise QuantmakeError(
                f"{out.name}: no tensor could be stored as {self.type}; the model's widths do not "
                "divide by its block size. Choose q8_0, q4_0 or another type with blocks of 32."
            )
        bad = [
            tensor.name
            for tensor in tensors
            if not numpy.isfinite(dequantize(tensor.data, tensor.tensor_type)).all()
        ]
        if bad:
            raise QuantmakeError(f"{out.name}: not finite: {', '.join(bad)}")
