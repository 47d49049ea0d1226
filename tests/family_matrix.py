"""Families × formats: `python -m tests.family_matrix [FAMILY …]` writes docs/families.md.

Each cell is made of a tiny seeded model, and its predictions are compared with the base's: mean KLD
in nats, over 128 tokens in a prefill and 64 decode steps through the KV cache.
"""

import json
import re
import subprocess
import sys
import tempfile
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from scripts.backends.format import Format
from scripts.stage import Stage
from tests.families import FAMILIES

FLOAT = {"FP32 graph (ONNX)": "graph", "GGUF F16": "f16"}
FORMATS = {
    "INT8 rtn (ONNX)": "{format: onnx, bits: 8, method: rtn}",
    "INT8 dynamic (ONNX)": "{format: onnx, bits: 8, method: dynamic}",
    "INT8 static (ONNX)": "{format: onnx, bits: 8, method: static}",
    "INT4 rtn (ONNX)": "{format: onnx, bits: 4, method: rtn}",
    "INT4 gptq (ONNX)": "{format: onnx, bits: 4, method: gptq}",
    "INT4 awq (ONNX)": "{format: onnx, bits: 4, method: awq}",
    "INT4 auto (ONNX)": "{format: onnx, bits: auto, method: gptq}",
    "INT4 (browser)": "{format: onnx-web, bits: 4, method: rtn}",
    "INT4 (OpenVINO)": "{format: openvino, bits: 4, method: rtn}",
    "4 bits (MLX)": "{format: mlx, bits: 4, method: rtn, group_size: 32}",
    "NF4": "{format: bitsandbytes}",
    "NF4 gptq": "{format: bitsandbytes, method: gptq}",
    "W4A16": "{format: compressed-tensors, scheme: W4A16, group_size: 32}",
    "W8A8 gptq": "{format: compressed-tensors, scheme: W8A8, method: gptq}",
    "Q8_0": "{format: gguf, type: q8_0}",
    "Q4_0": "{format: gguf, type: q4_0}",
    "Q4_0 gptq": "{format: gguf, type: q4_0, method: gptq}",
    "auto": "{format: gguf, type: auto, like: q4_0}",
}
TOKENS, DECODED = 192, 64
_LONGEST = 420
DOCUMENT = Path(__file__).resolve().parents[1] / "docs" / "families.md"


def measure_family(name: str, folder: Path, toolchain: Path) -> dict[str, str]:
    """The cells of a family: a KLD, or why there is none."""
    from scripts.backends.gguf.f16 import F16Gguf
    from scripts.backends.onnx.export import OnnxGraph
    from scripts.base.make_base import Base
    from scripts.calibration.capture import Capture
    from scripts.calibration.gradients import Gradients
    from scripts.exec import run_stage
    from tests.families import make_family
    from tests.same_bytes import format_of, write_calibration

    made: dict[str, Path] = {"toolchain": toolchain}
    reasons: dict[str, str] = {}

    def make(node: str, stage: Stage, needs: tuple[str, ...]) -> None:
        missing = next((reasons[need] for need in needs if need in reasons), None)
        if missing is not None:
            reasons[node] = missing
            return
        out = folder / f"{node}{stage.suffix}"
        try:
            run_stage(stage, {need: made[need] for need in needs}, out)
            made[node] = out
        except Exception as error:
            reasons[node] = f"{type(error).__name__}: {error}"

    made["source"] = make_family(name, folder / "source")
    make("base", Base(), ("source",))
    if "base" in reasons:
        return dict.fromkeys([*FLOAT, *FORMATS], reasons["base"])
    write_calibration(made["base"], folder)
    made["calibration"] = folder / "calibration"
    make("graph", OnnxGraph(), ("base",))
    make("f16", F16Gguf(tokenizer_pre="smollm"), ("base", "toolchain"))
    make("capture", Capture(), ("base", "calibration"))
    make("gradients", Gradients(), ("base", "calibration"))
    backends = {"graph": "onnx", "f16": "gguf"}
    for label, line in FORMATS.items():
        kind: Format = format_of(line)
        make(label, kind, kind.needed())
        backends[label] = kind.backend
    labels = {node: label for label, node in FLOAT.items()}
    cells = {}
    for node, backend in backends.items():
        said = reasons.get(node) or _divergence(backend, made[node], made["base"])
        cells[labels.get(node, node)] = said
    return cells


def _divergence(backend: str, artifact: Path, base: Path) -> str:
    from scripts.backends.model import load_model
    from scripts.backends.parity import compare, tokens_of

    try:
        model = load_model(backend, artifact, threads=1, context=TOKENS)
        seen = compare(model, base, tokens_of(base, TOKENS), DECODED)
    except Exception as error:
        return f"{type(error).__name__}: {error}"
    return f"{seen.kld.mean():.1e}"


def measure_all(names: list[str]) -> dict[str, dict[str, str]]:
    """A process for each family, two at a time."""
    from scripts.backends.gguf.toolchain import Toolchain

    with tempfile.TemporaryDirectory() as scratch, ThreadPoolExecutor(2) as pool:
        toolchain = Path(scratch) / "toolchain"
        toolchain.mkdir()
        Toolchain().run({}, toolchain)

        def one(name: str) -> dict[str, str]:
            folder, answer = Path(scratch) / name, Path(scratch) / f"{name}.json"
            folder.mkdir()
            command = [sys.executable, "-m", "tests.family_matrix", "--one", name]
            done = subprocess.run(
                [*command, str(folder), str(toolchain), str(answer)],
                capture_output=True,
                text=True,
                check=False,
            )
            if not answer.exists():
                reason = f"ended with code {done.returncode}: {done.stderr[-200:]}"
                return dict.fromkeys([*FLOAT, *FORMATS], reason)
            cells: dict[str, str] = json.loads(answer.read_text())
            return {column: said.replace(f"{scratch}/", "") for column, said in cells.items()}

        return dict(zip(names, pool.map(one, names), strict=True))


INTRODUCTION = """# Families and formats

Tiny seeded models of each family (64 wide, 4 layers, FP16; sliding windows of 24 tokens where a
family has them), through base, float graph or file, and every format. Figures are KLD against the
base in nats, the mean over 192 tokens, the last 64 of them decoded one by one through the KV cache.
Such models are untrained: a figure says that a format works for the family, not what it costs a
real model. Written by `python -m tests.family_matrix`.

A float model that does not predict what the base predicts is refused, and nothing is quantised from
it: then, or where a tool does not know the architecture, a note stands in place of the figure.

Encoders are other recipes (`kind: encoder`), with formats of their own: bert, camembert,
distilbert, electra, modernbert, mpnet, roberta, xlm-roberta; [docs/recipe.md](recipe.md#encoders).
"""


def write_document(cells: dict[str, dict[str, str]]) -> str:
    """The table, and the reasons below it."""
    columns = [*FLOAT, *FORMATS]
    notes: dict[str, int] = {}

    def shown(cell: str) -> str:
        if len(cell) <= len("1.0e-10"):
            return cell
        number = notes.setdefault(_reason(cell), len(notes) + 1)
        return f"[{number}](#notes)"

    lines = [f"| | {' | '.join(columns)} |", "|---" * (len(columns) + 1) + "|"]
    for family, row in cells.items():
        lines.append(f"| {family} | " + " | ".join(shown(row[name]) for name in columns) + " |")
    listed = [f"{number}. {text}" for text, number in notes.items()]
    return "\n".join([INTRODUCTION, *lines, "", "## Notes", "", *listed]) + "\n"


def _reason(cell: str) -> str:
    """The first lines of an error, without its kind, figures of this run and temporary paths."""
    text = re.sub(r"^\w+Error: ", "", " ".join(cell.split()))
    text = re.sub(r"\S*/\.convert-\w+/model/", "", text)
    text = re.sub(r"/\S*/(source|base)\b", r"\1", text)
    return text if len(text) <= _LONGEST else text[:_LONGEST].rpartition(" ")[0] + " …"


if __name__ == "__main__":
    if sys.argv[1:2] == ["--one"]:
        name, folder, toolchain, answer = sys.argv[2:]
        cells = measure_family(name, Path(folder), Path(toolchain))
        Path(answer).write_text(json.dumps(cells))
    elif sys.argv[1:2] == ["--of"]:
        DOCUMENT.write_text(write_document(json.loads(Path(sys.argv[2]).read_text())))
    else:
        DOCUMENT.write_text(write_document(measure_all(sys.argv[1:] or [*FAMILIES])))
