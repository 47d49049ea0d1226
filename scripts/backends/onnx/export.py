"""The fp32 ONNX graph of the base, which every ONNX artefact starts from."""

import json
import os
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Mapping
from pathlib import Path

from scripts.backends.onnx import mapped_builder
from scripts.errors import QuantmakeError
from scripts.footprints import FOOTPRINTS
from scripts.progress import PIPE_VARIABLE
from scripts.stage import Stage

_UNKNOWN = ("is not currently supported", "NotImplementedError")
_TOKENIZER_FILES = ("tokenizer*", "special_tokens_map.json", "chat_template*", "*.txt", "vocab*")


class OnnxGraph(Stage):
    """Export the base as an fp32 ONNX graph with a KV cache

    onnxruntime-genai's builder writes it (grouped-query attention in one node); where the
    builder does not know the architecture, optimum's exporter traces it.
    """

    footprint = FOOTPRINTS["onnx graph"]
    packages = (
        "accelerate",
        "onnx",
        "onnxruntime-genai",
        "optimum",
        "optimum-onnx",
        "torch",
        "transformers",
    )

    def run(self, inputs: Mapping[str, Path], out: Path) -> None:
        """Raises QuantmakeError where neither tool knows the architecture."""
        base = inputs["base"].resolve()
        with tempfile.TemporaryDirectory(dir=out.parent, prefix=".export-") as scratch:
            made = Path(scratch) / "graph"
            log = _run(
                *(mapped_builder.__name__, "-i", str(base), "-o", str(made)),
                *("-p", "fp32", "-e", "cpu", "-c", str(Path(scratch) / "cache")),
            )
            if not (made / "model.onnx").is_file() and any(sign in log for sign in _UNKNOWN):
                print("the builder does not know this architecture; optimum exports it", flush=True)
                log = _run(
                    *("optimum.exporters.onnx", "--model", str(base), "--no-post-process"),
                    *("--task", "text-generation-with-past", "--library", "transformers"),
                    str(made),
                )
                if (made / "model.onnx").is_file():
                    _normalise(made)
            if not (made / "model.onnx").is_file():
                raise QuantmakeError(_why(log, base))
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
        missing = {"input_ids", "attention_mask", "logits", "past_key_values.0.key"} - names
        if missing:
            raise QuantmakeError(
                f"the exported graph lacks {', '.join(sorted(missing))}; it has no KV cache that "
                "the formats understand"
            )
        refuse_broken(out)


def _run(module: str, *arguments: str) -> str:
    """Run a module's command line offline; its output goes to the log and comes back."""
    done = subprocess.run(
        [sys.executable, "-m", module, *arguments],
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


def _why(log: str, base: Path) -> str:
    config = json.loads((base / "config.json").read_text())
    architecture = ", ".join(config.get("architectures") or ["(none named)"])
    lines = [line.strip() for line in log.splitlines() if line.strip()]
    said = lines[-1].partition(". ")[0].rstrip(".") if lines else "nothing"
    return (
        f"neither onnxruntime-genai's builder nor optimum could export the architecture "
        f"{architecture} ({base.name}/config.json, model_type {config.get('model_type')!r}). The "
        f"last tool said: {said}. Take the artefacts with format onnx out of the recipe."
    )
