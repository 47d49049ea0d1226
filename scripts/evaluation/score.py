"""Score one artefact, in a process of its own, since a broken one may end it.

`python -m scripts.evaluation.score NAME BACKEND ARTEFACT BASE REFERENCE OUT` writes a
`Measured` record to OUT; a failure is printed as `error: …`.
"""

import json
import pkgutil
import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch

from scripts.backends.inventory import Inventory
from scripts.backends.model import Model, load_model
from scripts.backends.table import BACKENDS
from scripts.errors import QuantmakeError
from scripts.evaluation.evaluate import MOST_VALUES_AT_ONCE
from scripts.evaluation.metrics import Comparison
from scripts.evaluation.multiple_choice import read_scored, score_task
from scripts.evaluation.result import Flip, Measured, Sample, Size, TextQuality
from scripts.evaluation.windowed import read_window
from scripts.lean import start_lean
from scripts.progress import track
from scripts.strict import Strict
from scripts.tensors.header import tensors_in
from scripts.texts import load_decoder
from scripts.token_windows import read_kinds, read_windows
from scripts.workers import available_cores

_CONTEXT_SHOWN = 16
# They are written from these figures, so they can't be among them.
_PAGES = (
    *("README.md", "bom.cdx.json", "provenance.intoto.json"),
    *("model.sig", "provenance.dsse.json"),
)


@dataclass(frozen=True)
class Candidate:
    """What is scored, and against what."""

    name: str
    backend: str
    artifact: Path
    base: Path
    reference: Path

    @property
    def is_base(self) -> bool:
        """Whether the artefact is the base itself, whose log-probabilities are stored."""
        return self.artifact == self.base


def measure(candidate: Candidate) -> Measured:
    """Raises QuantmakeError where the artefact does not load or gives broken logits."""
    torch.set_num_threads(available_cores())
    windows = read_windows(candidate.reference)
    prompts = json.loads((candidate.reference / "prompts.json").read_text())
    tasks = read_scored(candidate.reference)
    longest = max(len(entry["tokens"]) for entry in prompts["prompts"]) + prompts["new_tokens"]
    context = max(windows.shape[1], longest, *(task.longest for task in tasks.values()), 1)
    model = load_model(
        *(candidate.backend, candidate.artifact),
        threads=available_cores(),
        context=context,
        lean=candidate.is_base and count_parameters(candidate.base) > MOST_VALUES_AT_ONCE,
    )
    size, notes = measure_size(candidate.backend, candidate.artifact, candidate.base)
    comparison = compare(candidate, model, windows)
    texts = tuple(
        TextQuality(kind=kind, quality=comparison.quality(part))
        for kind, part in read_kinds(candidate.reference).items()
    )
    tokenizer = load_decoder(candidate.base)
    scored = None if candidate.is_base else model
    return Measured(
        artifact=candidate.name,
        backend=candidate.backend,
        size=size,
        quality=max((one.quality for one in texts), key=lambda one: one.kld_mean.value),
        texts=texts,
        samples=tuple(
            Sample(
                prompt=entry["prompt"],
                completion=tokenizer.decode(
                    generate(model, entry["tokens"], prompts["stop"], prompts["new_tokens"]),
                    skip_special_tokens=True,
                ),
            )
            for entry in prompts["prompts"]
        ),
        flips=tuple(_flips(comparison, windows, tokenizer)),
        tasks={name: score_task(task, scored, name) for name, task in tasks.items()},
        notes=notes,
    )


def compare(candidate: Candidate, model: Model, windows: Any) -> Comparison:
    """Every window's second half beside the stored log-probabilities of the base."""
    first = windows.shape[1] // 2
    comparison = Comparison()
    for number, tokens in enumerate(track(list(windows), "scoring windows")):
        base = torch.from_numpy(read_window(candidate.reference / "logprobs.npy", number))
        logits = base if candidate.is_base else torch.from_numpy(model.scores(tokens, first)[:-1])
        if logits.shape != base.shape:
            raise QuantmakeError(
                f"{candidate.name} has a vocabulary of {logits.shape[-1]}, the base "
                f"{base.shape[-1]}; they are not the same model"
            )
        comparison.add(base, logits, torch.from_numpy(tokens[first + 1 :]))
    return comparison


def generate(model: Model, prompt: list[int], stop: list[int], limit: int) -> list[int]:
    """Greedy token ids after `prompt`, up to a stop token or `limit` of them."""
    ids: list[int] = []
    logits = model.prefill(np.array(prompt, np.int64))
    while len(ids) < limit:
        token = int(logits.argmax())
        if token in stop:
            break
        ids.append(token)
        logits = model.decode(token)
    return ids


def _flips(comparison: Comparison, windows: Any, tokenizer: Any) -> Iterator[Flip]:
    """The worst flips with the text before them."""
    half = windows.shape[1] // 2
    for one in comparison.worst_flips():
        end = half + one.position + 1
        before = windows[one.window, max(0, end - _CONTEXT_SHOWN) : end].tolist()
        yield Flip(
            context=tokenizer.decode(before, skip_special_tokens=False),
            expected=tokenizer.decode([one.expected], skip_special_tokens=False),
            expected_p=one.expected_p,
            got=tokenizer.decode([one.got], skip_special_tokens=False),
            got_p=one.got_p,
            kld=one.kld,
        )


def count_parameters(base: Path) -> int:
    """Parameters of the base, a tied head counted once."""
    return sum(tensor.values for tensor in tensors_in(base).values())


def measure_size(backend: str, artifact: Path, base: Path) -> tuple[Size, tuple[str, ...]]:
    """The size record of an artefact, and sentences on it for the report."""
    inventory: Inventory = pkgutil.resolve_name(BACKENDS[backend].inventory)(artifact)
    files = [artifact] if artifact.is_file() else [p for p in artifact.rglob("*") if p.is_file()]
    parameters = count_parameters(base)
    size = Size(
        bytes=sum(path.stat().st_size for path in files if path.name not in _PAGES),
        parameters=parameters,
        bits_per_weight=8 * inventory.weight_bytes / parameters,
        tensor_types=dict(sorted(inventory.types.items())),
    )
    return size, inventory.notes


def write_measured(measure: Callable[[Candidate], Strict], given: list[str]) -> int:
    """Measure the candidate of a command line, and write the record; the exit code."""
    name, backend, artifact, base, reference, out = given
    candidate = Candidate(name, backend, Path(artifact), Path(base), Path(reference))
    try:
        Path(out).write_text(measure(candidate).model_dump_json(indent=1) + "\n")
    except QuantmakeError as error:
        print(f"error: {error}")
        return error.exit_code
    return 0


if __name__ == "__main__":
    start_lean()
    sys.exit(write_measured(measure, sys.argv[1:]))
