"""Make every kind of artefact of a tiny model in this process, and write their digests.

    python -m tests.same_bytes SCRATCH TOOLCHAIN DIGESTS.json [PYTHON]

TOOLCHAIN is llama.cpp's converter. PYTHON is a command that emulates another processor: stages
start their own processes by it, and no GGUF artefact is made, since llama.cpp is compiled for this
one. The process has to be started in the environment of stages (`scripts.environment`).
"""

import hashlib
import json
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import yaml

from scripts.backends.format import Format, all_formats
from scripts.backends.gguf.encoder.f16 import EncoderF16
from scripts.backends.gguf.f16 import F16Gguf
from scripts.backends.onnx.encoder.export import EncoderGraph
from scripts.backends.onnx.export import OnnxGraph
from scripts.base.encoder import EncoderBase
from scripts.base.make_base import Base
from scripts.calibration.capture import Capture
from scripts.calibration.encoder_capture import EncoderCapture
from scripts.calibration.encoder_sentences import EncoderCalibration
from scripts.calibration.gradients import Gradients
from scripts.stage import Stage
from scripts.token_windows import write_windows
from tests.checkout import OTHER_METHODS, TINY_ARTIFACTS
from tests.encoders import make_tiny_bert
from tests.tiny import make_tiny_base, write_tiny_text

ENCODER_ARTIFACTS = {
    "bert/int8": "{format: onnx, bits: 8, method: rtn}",
    "bert/int8-dynamic": "{format: onnx, bits: 8, method: dynamic}",
    "bert/int8-static": "{format: onnx, bits: 8, method: static, weights: int8}",
    "bert/q8_0.gguf": "{format: gguf, type: q8_0}",
}
# Emulated, all takes some thirty times as long: two layers, hardly trained.
_SMALL: dict[str, Any] = {"hidden": 64, "layers": 2, "steps": 12}
_CONTEXT, _WINDOWS = 64, 6


def format_of(line: str, of: str = "decoder") -> Format:
    """The format that a recipe's line asks for, with its options."""
    options = yaml.safe_load(line)
    fits = [
        kind
        for kind in all_formats(of)
        if all(options.get(key) in values for key, values in kind.selector().items())
    ]
    assert len(fits) == 1, (line, fits)
    return fits[0].model_validate(options)


def make_all(scratch: Path, toolchain: Path, *, with_gguf: bool) -> dict[str, str]:
    """SHA-256 of each file, by its path within `scratch`."""
    made: dict[str, Path] = {"toolchain": toolchain}

    def make(name: str, stage: Stage, **inputs: Path) -> None:
        out = scratch / name
        if not stage.suffix:
            out.mkdir()
        stage.run(inputs, out)
        made[name] = out
        print(name, flush=True)

    source = make_tiny_base(scratch / "source", **_SMALL)
    make("base", Base(off_grid=0), source=source)
    write_calibration(made["base"], scratch)
    made["calibration"] = scratch / "calibration"
    ends = {"base": made["base"], "calibration": made["calibration"]}
    make("capture", Capture(), **ends)
    make("gradients", Gradients(), **ends)
    make("graph", OnnxGraph(), base=made["base"])
    make("f16", F16Gguf(tokenizer_pre="smollm"), base=made["base"], toolchain=toolchain)
    for name, line in {**TINY_ARTIFACTS, **OTHER_METHODS}.items():
        kind = format_of(line)
        if kind.backend == "gguf" and not with_gguf:
            continue
        make(name, kind, **{need: made[need] for need in kind.needed()})
    _make_encoder(make, made, scratch, with_gguf=with_gguf)
    return {
        str(path.relative_to(scratch)): hashlib.sha256(path.read_bytes()).hexdigest()
        for path in sorted(scratch.rglob("*"))
        if path.is_file()
    }


def _make_encoder(
    make: Callable[..., None], made: dict[str, Path], scratch: Path, *, with_gguf: bool
) -> None:
    """The same of a tiny BERT, in the folder `bert`."""
    (scratch / "bert").mkdir()
    source, text = make_tiny_bert(scratch / "bert/source"), write_tiny_text(scratch / "bert.txt")
    make("bert/base", EncoderBase(), source=source)
    base, toolchain = made["bert/base"], made["toolchain"]
    calibration = EncoderCalibration(lines=(150, 300), sentences=32, evaluation_lines=(0, 1))
    make("bert/calibration", calibration, base=base, text=text, evaluation_text=text)
    make("bert/capture", EncoderCapture(), base=base, calibration=made["bert/calibration"])
    make("bert/graph", EncoderGraph(), base=base)
    make("bert/f16", EncoderF16(tokenizer_pre="bert-bge"), base=base, toolchain=toolchain)
    for name, line in ENCODER_ARTIFACTS.items():
        kind = format_of(line, "encoder")
        if with_gguf or kind.backend != "gguf":
            make(name, kind, **{need: made[f"bert/{need}"] for need in kind.needed()})


def write_calibration(base: Path, scratch: Path) -> None:
    """Windows [_WINDOWS, _CONTEXT] of the tiny language."""
    from transformers import AutoTokenizer

    text = write_tiny_text(scratch / "text.txt").read_text()
    ids = AutoTokenizer.from_pretrained(base)(text)["input_ids"]
    (scratch / "calibration").mkdir()
    windows = np.array(ids[: _WINDOWS * _CONTEXT], np.int32).reshape(_WINDOWS, _CONTEXT)
    write_windows(scratch / "calibration", windows)


if __name__ == "__main__":
    emulated = len(sys.argv) == 5
    if emulated:
        sys.executable = sys.argv[4]
    digests = make_all(Path(sys.argv[1]), Path(sys.argv[2]), with_gguf=not emulated)
    Path(sys.argv[3]).write_text(json.dumps(digests, indent=1, sort_keys=True) + "\n")
