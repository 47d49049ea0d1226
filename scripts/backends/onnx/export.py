"""The fp32 ONNX graph of the base, which every ONNX artefact starts from."""

import json
import os
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Mapping
from pathlib import Path

from pydantic import Field

from scripts.backends.float_gate import disagreement
from scripts.backends.onnx import mapped_builder, tracing
from scripts.backends.onnx.cache import ATTENTION
from scripts.backends.onnx.exporters import interpreter, lock_digest
from scripts.errors import QuantmakeError
from scripts.footprints import FOOTPRINTS
from scripts.progress import PIPE_VARIABLE
from scripts.stage import Stage

_TOKENIZER_FILES = ("tokenizer*", "special_tokens_map.json", "chat_template*", "*.txt", "vocab*")


class OnnxGraph(Stage):
    """Export the base as an fp32 ONNX graph with a KV cache

    onnxruntime-genai's builder writes it (grouped-query attention in one node). Where it does not
    know the architecture, or what it wrote does not predict what the base does, an older builder is
    tried, and then optimum's exporter, which traces the model. These two are in an environment of
    their own (`exporters.py`); `exporters` is the digest of its lock.
    """

    exporters: str = Field(default_factory=lock_digest)
    footprint = FOOTPRINTS["onnx graph"]
    packages = ("onnx", "onnxruntime-genai")

    def run(self, inputs: Mapping[str, Path], out: Path) -> None:
        """Raises QuantmakeError where no tool can export it as it is, MachineError where one of
        the older tools might and they can't be installed."""
        base = inputs["base"].resolve()
        refusals = []
        with tempfile.TemporaryDirectory(dir=out.parent, prefix=".export-") as scratch:
            for tool, export in _TOOLS.items():
                made = Path(scratch) / export.__name__
                log = export(base, made)
                reason = _last_words(log)
                if (made / "model.onnx").is_file():
                    reason = disagreement("onnx", made, base)
                if not reason:
                    break
                refusals.append((tool, reason))
                print(f"{tool} can't export this model: {reason}", flush=True)
            else:
                raise QuantmakeError(_why(refusals, base))
            for path in sorted(made.iterdir()):
                shutil.move(path, out / path.name)
        shutil.copyfile(base / "config.json", out / "config.json")
        for pattern in _TOKENIZER_FILES:
            for path in base.glob(pattern):
                shutil.copyfile(path, out / path.name)

    def check(self, inputs: Mapping[str, Path], out: Path) -> None:
        """It has a KV cache, onnxruntime loads it, and it gives finite logits."""
        import onnx

        from scripts.backends.onnx.check import refuse_broken

        graph = onnx.load(out / "model.onnx", load_external_data=False).graph
        names = {entry.name for entry in [*graph.input, *graph.output]}
        missing = {"input_ids", "attention_mask", "logits"} - names
        if not any(name.startswith(ATTENTION) for name in names):
            missing.add(f"{ATTENTION}0.key")
        if missing:
            raise QuantmakeError(
                f"the exported graph lacks {', '.join(sorted(missing))}; it has no KV cache that "
                "the formats understand"
            )
        refuse_broken(out)


def _run(python: Path | str, *arguments: str) -> str:
    """Run a Python's command line offline; its output goes to the log and comes back."""
    done = subprocess.run(
        [str(python), *arguments],
        env={**os.environ, "HF_HUB_OFFLINE": "1", "TQDM_DISABLE": "1"},
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        errors="replace",
        check=False,
        pass_fds=[int(pipe)] if (pipe := os.environ.get(PIPE_VARIABLE)) else [],
    )
    print(done.stdout, flush=True)
    return done.stdout


def _normalise(folder: Path) -> None:
    """What optimum wrote, as MatMuls with one copy of a tied head, weights in the external file."""
    from scripts.backends.onnx.graph import open_graph, write_model
    from scripts.backends.onnx.normalise import normalise

    model = open_graph(folder)
    normalise(model)
    whole = folder / "whole"
    whole.mkdir()
    write_model(model, whole)
    for path in folder.glob("model.onnx*"):
        path.unlink()
    for path in whole.iterdir():
        path.rename(folder / path.name)
    whole.rmdir()


def _build(base: Path, made: Path) -> str:
    # A cache of the window alone would have to be filled in pieces that fit into it.
    more = ("--extra_options", "windowed_kv_cache=false")
    return _run(sys.executable, "-m", mapped_builder.__name__, *_of_builder(base, made), *more)


def _build_by_older(base: Path, made: Path) -> str:
    return _run(interpreter(), "-m", mapped_builder.BUILDER, *_of_builder(base, made))


def _of_builder(base: Path, made: Path) -> tuple[str, ...]:
    cache = str(made.with_name(f"{made.name}-cache"))
    return ("-i", str(base), "-o", str(made), "-p", "fp32", "-e", "cpu", "-c", cache)


def _trace(base: Path, made: Path) -> str:
    log = _run(
        *(interpreter(), "-P", str(tracing.__file__), "--model", str(base), "--no-post-process"),
        *("--task", "text-generation-with-past", "--library", "transformers", str(made)),
    )
    if (made / "model.onnx").is_file():
        _normalise(made)
    return log


_TOOLS = {
    "onnxruntime-genai's builder": _build,
    "its version 0.11.4": _build_by_older,
    "optimum": _trace,
}
"""In the order in which they are tried."""


def _last_words(log: str) -> str:
    lines = [line.strip() for line in log.splitlines() if line.strip()]
    return lines[-1].partition(". ")[0].rstrip(".") if lines else "it said nothing"


def _why(refusals: list[tuple[str, str]], base: Path) -> str:
    config = json.loads((base / "config.json").read_text(encoding="utf-8"))
    architecture = ", ".join(config.get("architectures") or ["(none named)"])
    reasons = "".join(f"\n  {tool}: {reason}" for tool, reason in refusals)
    return (
        "neither onnxruntime-genai's builder, today's or 0.11.4, nor optimum could export "
        f"the architecture {architecture} ({base.name}/config.json, model_type "
        f"{config.get('model_type')!r}). "
        f"Take the artefacts with format onnx out of the recipe.{reasons}"
    )
