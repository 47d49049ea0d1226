"""Evaluate one artefact: size, quality against the FP16 base, speed, samples, in one record."""

import json
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from scripts.errors import QuantmakeError
from scripts.progress import track
from scripts.stage import Runtime, Stage


class Evaluate(Stage):
    """Measure one artefact against the FP16 base

    Inputs: the artefact, the base and the reference. `out` is a JSON file, an `Evaluation`.
    The base's own quality comes from the stored reference: it is not scored a second time.
    """

    artifact: str
    label: str
    runtime: Runtime
    reproducible = False
    packages = ("bitsandbytes", "llama-cpp-python", "numpy", "onnxruntime", "torch", "transformers")

    def describe(self) -> str:
        """For lists of tasks."""
        return f"Measure {self.label} against the FP16 base"

    def run(self, inputs: Mapping[str, Path], out: Path) -> None:
        """Raises QuantmakeError where the artefact does not load or gives broken logits."""
        from scripts.evaluation.inventory import measure_size
        from scripts.evaluation.machine import describe
        from scripts.evaluation.result import Evaluation
        from scripts.runtimes.model import available_cores

        timed = self._time(inputs)
        size, notes = measure_size(self.runtime, inputs["artifact"], inputs["base"])
        record = Evaluation(
            artifact=self.artifact,
            label=self.label,
            runtime=self.runtime,
            size=size,
            quality=self._quality(inputs),
            speed=timed["speed"],
            samples=self._samples(inputs, timed["completions"]),
            machine=describe(available_cores()),
            notes=notes,
        )
        out.write_text(record.model_dump_json(indent=1) + "\n")

    def _time(self, inputs: Mapping[str, Path]) -> Any:
        """Timings come first, from a fresh process, while this one is still small."""
        done = subprocess.run(
            [
                *(sys.executable, "-m", "scripts.evaluation.speed", self.runtime),
                *(str(inputs["artifact"]), str(inputs["reference"])),
            ],
            stdout=subprocess.PIPE,
            text=True,
            check=False,
        )
        if done.returncode != 0:
            raise QuantmakeError(
                f"{self.artifact} could not be timed in {self.runtime} (exit code "
                f"{done.returncode}); the task's log has its words"
            )
        timed = json.loads(done.stdout.splitlines()[-1])
        if "error" in timed:
            raise QuantmakeError(timed["error"])
        return timed

    def _quality(self, inputs: Mapping[str, Path]) -> Any:
        import numpy as np
        import torch

        from scripts.evaluation.metrics import Comparison
        from scripts.runtimes.model import available_cores, load_model

        torch.set_num_threads(available_cores())
        windows = np.load(inputs["reference"] / "tokens.npy").astype(np.int64)
        logprobs = np.load(inputs["reference"] / "logprobs.npy", mmap_mode="r")
        first = windows.shape[1] // 2
        is_base = inputs["artifact"] == inputs["base"]
        if not is_base:
            model = load_model(
                self.runtime,
                inputs["artifact"],
                threads=available_cores(),
                context=windows.shape[1],
            )
        comparison = Comparison()
        for number, tokens in enumerate(track(list(windows), "scoring windows")):
            base = torch.from_numpy(np.array(logprobs[number]))
            logits = base if is_base else torch.from_numpy(model.scores(tokens, first)[:-1])
            if logits.shape != base.shape:
                raise QuantmakeError(
                    f"{self.artifact} has a vocabulary of {logits.shape[-1]}, the base "
                    f"{base.shape[-1]}; they are not the same model"
                )
            comparison.add(base, logits, torch.from_numpy(tokens[first + 1 :]))
        return comparison.quality()

    def _samples(self, inputs: Mapping[str, Path], completions: list[list[int]]) -> Any:
        from scripts.evaluation.result import Sample
        from scripts.evaluation.windows import load_tokenizer

        tokenizer = load_tokenizer(inputs["base"])
        prompts = json.loads((inputs["reference"] / "prompts.json").read_text())["prompts"]
        return [
            Sample(
                prompt=entry["prompt"], completion=tokenizer.decode(ids, skip_special_tokens=True)
            )
            for entry, ids in zip(prompts, completions, strict=True)
        ]
