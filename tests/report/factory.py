"""Evaluations made by hand, with figures such as a small model gives."""

from pathlib import Path
from typing import Any

from scripts.evaluation.budget import Missing
from scripts.evaluation.result import (
    Estimate,
    Evaluation,
    Failed,
    Flip,
    Machine,
    Measured,
    Quality,
    Sample,
    Size,
    Speed,
    Spread,
    Timings,
)
from scripts.evaluation.sensitivity import EMBEDDING, LayerError, Sensitivity
from scripts.report.facts import Facts
from scripts.report.history import History
from scripts.report.lineup import Lineup
from scripts.report.write_report import WriteReport

PROMPTS = ("What is the capital of France?", "Why is the sky blue?", "Write a poem.")
_PARAMETERS = 134_515_008


def quality_of(**figures: Any) -> Quality:
    """With these figures; another metric's are 0."""
    blank = Quality.none().model_dump()
    zero = {name: {"value": 0, "se": 0} if isinstance(blank[name], dict) else 0 for name in blank}
    return Quality.model_validate({**zero, **figures})


def spread(median: float) -> Spread:
    """Repeats that lie within 4 % of the median."""
    return Spread(median=median, min=0.96 * median, max=1.03 * median, repeats=5)


def evaluation(
    name: str,
    backend: str = "onnx",
    *,
    kld: float = 0.005,
    megabytes: float = 150,
    decode: float = 100,
    prefill: float = 700,
    **changes: Any,
) -> Evaluation:
    """One row; `changes` replace fields of the record, `error` is the standard error of KLD."""
    error = changes.pop("error", 0.02 * kld)
    record = Evaluation(
        artifact=name,
        label=f"Label of {name}",
        backend=backend,
        size=Size(
            bytes=round(megabytes * 1e6),
            parameters=_PARAMETERS,
            bits_per_weight=8e6 * megabytes / _PARAMETERS,
            tensor_types={"Q8_0": 210, "F16": 1},
        ),
        quality=quality_of(
            tokens_scored=5100,
            perplexity=Estimate(value=29.45 * (1 + 0.8 * kld), se=1.23),
            perplexity_ratio=Estimate(value=1 + 0.8 * kld, se=0.002),
            kld_mean=Estimate(value=kld, se=error),
            kld_p99=6 * kld,
            kld_p999=15 * kld,
            top1_agreement=Estimate(value=1 - min(0.9, 0.7 * abs(kld) ** 0.5), se=0.003),
            rms_delta_p=0.2 * abs(kld) ** 0.5,
        ),
        speed=Speed(
            prefill_tokens=512,
            prefill_tokens_per_s=spread(prefill),
            decode_tokens=32,
            decode_tokens_per_s=spread(decode),
            first_token_ms=spread(50),
            load_s=0.31,
            peak_rss_bytes=round(3e6 * megabytes),
            threads=2,
        ),
        samples=tuple(
            Sample(prompt=prompt, completion=f"Paris, says {name}.") for prompt in PROMPTS
        ),
        flips=(
            Flip(
                context="It cost",
                expected=" $",
                expected_p=0.7,
                got=f" {name}|",
                got_p=0.6,
                kld=200 * kld,
            ),
        )
        if kld > 0
        else (),
        machine=Machine(cpu="Test CPU", features=["avx2"], cores=2, packages={"torch": "2.13.0"}),
    )
    return record.model_copy(update=changes)


def baselines() -> tuple[Evaluation, ...]:
    """The float model in each runtime; the base first."""
    return (
        evaluation("base", "pytorch", kld=0, megabytes=269, decode=16, prefill=340),
        evaluation("graph", kld=0, megabytes=539, decode=28, prefill=346),
        evaluation("f16.gguf", "gguf", kld=2e-6, megabytes=271, decode=111, prefill=588),
    )


def sensitivity() -> Sensitivity:
    """Four layers, each more sensitive than the one before, and the embedding."""
    layers = [
        LayerError(name=f"layer {place}", kld=Estimate(value=0.01 * (place + 1), se=0.001))
        for place in range(4)
    ]
    ends = LayerError(name=EMBEDDING, kld=Estimate(value=0.005, se=0.001))
    return Sensitivity(bits=4, block_size=32, tokens_scored=128, layers=[*layers, ends])


def lineup(*artifacts: Evaluation) -> Lineup:
    """All baselines and these artefacts."""
    return Lineup(baselines(), artifacts, sensitivity=sensitivity())


def usual() -> Lineup:
    """A recipe's worth of artefacts: from indistinguishable to broken."""
    gguf: str = "gguf"
    return lineup(
        evaluation("model-int8", kld=0.0046, megabytes=155, decode=105, prefill=685),
        evaluation("model-int8-static", kld=1.116, megabytes=149, decode=35, prefill=688),
        evaluation("model-int4", "bitsandbytes", kld=0.284, megabytes=115, decode=33, prefill=269),
        evaluation("model.gguf", gguf, kld=0.310, megabytes=92, decode=215, prefill=1003),
        evaluation("model-q4_k_m.gguf", gguf, kld=0.057, megabytes=105, decode=150, prefill=730),
        evaluation("model-q8_0.gguf", gguf, kld=0.0042, megabytes=145, decode=146, prefill=779),
    )


def facts_of(rows: Lineup, **changes: object) -> Facts:
    """What the recipe says of these rows; `changes` replace parts of it."""
    options: dict[str, object] = {
        "model": "Tiny_Model",
        "source": "hf:org/tiny@abc",
        "recipe": "recipes/tiny.yaml",
        "folder": "quantized",
        "off_grid": None,
        "labels": {row.artifact: row.label for row in (*rows.rows, *rows.missing)},
        "baselines": [row.artifact for row in rows.baselines],
        "artifacts": {
            row.artifact: {"format": "onnx", "bits": 8, "weight_only": ["lm_head"], "fast": True}
            for row in (*rows.artifacts, *rows.missing)
        },
        "yardstick": {
            "texts": {"news": {"text": "path:news.txt", "lines": [0, 150]}},
            "windows": 20,
            "context": 512,
        },
    }
    return Facts.model_validate({**options, **changes})


def report_of(rows: Lineup, committed: History | None = None, **changes: object) -> WriteReport:
    """The stage for these rows; `changes` replace parts of the recipe's facts."""
    return WriteReport(facts=facts_of(rows, **changes), committed=committed)


def inputs_of(rows: Lineup, folder: Path) -> dict[str, Path]:
    """The rows as the files that evaluations and timings write."""
    folder.mkdir(exist_ok=True)
    found = {}
    for row in rows.rows:
        path = found[f"evaluation/{row.artifact}"] = folder / f"{row.artifact}.json"
        path.write_text(row.model_dump_json(include=set(Measured.model_fields)))
    for one in rows.missing:
        path = found[f"evaluation/{one.artifact}"] = folder / f"{one.artifact}.json"
        path.write_text(failure(one.artifact, one.reason))
    timings = Timings(
        machine=rows.base.machine,
        speeds={row.artifact: row.speed for row in rows.rows if row.is_timed},
        failures={},
        left_out={row.artifact: TOO_LARGE for row in rows.rows if not row.is_timed},
    )
    if rows.sensitivity is not None:
        found["sensitivity"] = folder / "sensitivity.json"
        found["sensitivity"].write_text(rows.sensitivity.model_dump_json())
    found["timings"] = folder / "timings.json"
    found["timings"].write_text(timings.model_dump_json())
    return found


TOO_LARGE = "its speed was not measured: it takes about 34 GB of memory, and 20 GB are available"


def missing(name: str, reason: str = "it does not load") -> Missing:
    """A row that could not be measured."""
    return Missing(artifact=name, label=f"Label of {name}", reason=reason)


def failure(name: str, reason: str) -> str:
    """The record that an evaluation leaves which failed."""
    return Failed(artifact=name, reason=reason).model_dump_json()
