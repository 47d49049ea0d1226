"""The fp32 ONNX graph of the base, which every ONNX artefact starts from."""

import json
import os
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Mapping
from pathlib import Path

from scripts.errors import QuantmakeError
from scripts.stage import Stage

_UNKNOWN = ("is not currently supported", "NotImplementedError")
_TOKENIZER_FILES = ("tokenizer*", "special_tokens_map.json", "chat_template*", "*.txt", "vocab*")


class OnnxGraph(Stage):
    """Export the base as an fp32 ONNX graph with a KV cache

    onnxruntime-genai's builder writes it (grouped-query attention in one node); where the
    builder does not know the architecture, optimum's exporter traces it.
    """

    packages = ("onnx", "onnxruntime-genai", "optimum", "optimum-onnx", "torch", "transformers")

    def run(self, inputs: Mapping[str, Path], out: Path) -> None:
        """Raises QuantmakeError where neither tool knows the architecture."""
        base = inputs["base"].resolve()
        with tempfile.TemporaryDirectory(dir=out.parent, prefix=".export-") as scratch:
            made = Path(scratch) / "graph"
            log = _run(
                *("onnxruntime_genai.models.builder", "-i", str(base), "-o", str(made)),
                *("-p", "fp32", "-e", "cpu", "-c", str(Path(scratch) / "cache")),
            )
            if not (made / "model.onnx").is_file() and any(sign in log for sign in _UNKNOWN):
                print("the builder does not know this architecture; optimum exports it", flush=True)
                log = _run(
                    *("optimum.exporters.onnx", "--model", str(base), "--no-post-process"),
                    *("--task", "text-generation-with-past", "--library", "transformers"),
                    str(made),
                )
            if not (made / "model.onnx").is_file():
                raise QuantmakeError(_why(log, base))
            for path in sorted(made.iterdir()):
                shutil.move(path, out / path.name)
        shutil.copyfile(base / "config.json", out / "config.json")
        for pattern in _TOKENIZER_FILES:
            for path in base.glob(pattern):
                shutil.copyfile(path, out / path.name)

    def check(self, inputs: Mapping[str, Path], out: Path) -> None:
        """onnxruntime loads it, it has a KV cache, and it gives logits."""
        import onnxruntime as ort

        try:
            session = ort.InferenceSession(out / "model.onnx", providers=["CPUExecutionProvider"])
        except Exception as error:  # onnxruntime's own kinds
            raise QuantmakeError(f"the exported graph does not load: {error}") from None
        names = {entry.name for entry in [*session.get_inputs(), *session.get_outputs()]}
        missing = {"input_ids", "attention_mask", "logits", "past_key_values.0.key"} - names
        if missing:
            raise QuantmakeError(
                f"the exported graph lacks {', '.join(sorted(missing))}; it has no KV cache that "
                "the formats understand"
            )


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
    )
    print(done.stdout, flush=True)
    return done.stdout


def _why(log: str, base: Path) -> str:
    config = json.loads((base / "config.json").read_text())
    architecture = ", ".join(config.get("architectures") or ["(none named)"])
    lines = [line for line in log.strip().splitlines() if line.strip()]
    return (
        f"neither onnxruntime-genai's builder nor optimum could export the architecture "
        f"{architecture} ({base.name}/config.json, model_type {config.get('model_type')!r}). The "
        f"last tool said: {lines[-1] if lines else 'nothing'}. Take the artefacts with format onnx "
        "out of the recipe."
    )
