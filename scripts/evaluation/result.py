"""The record that an evaluation writes and the report reads: `evaluation/<artefact>.json`.

Every number carries its unit in its name, and its uncertainty or spread beside it.
"""

from pydantic import BaseModel, ConfigDict

from scripts.stage import Runtime


class Record(BaseModel):
    """A frozen record that refuses unknown keys."""

    model_config = ConfigDict(frozen=True, extra="forbid")


class Estimate(Record):
    """A mean over scored tokens with its standard error."""

    value: float
    se: float


class Spread(Record):
    """Median, least and greatest of `repeats` measurements after a warm-up."""

    median: float
    least: float
    greatest: float
    repeats: int


class Size(Record):
    """What the artefact takes on disk. Bits per weight count the embedding and all metadata of
    the quantisation; `tensor_types` counts weight tensors by stored type, such as {"Q4_0": 211}."""

    bytes: int
    parameters: int
    bits_per_weight: float
    tensor_types: dict[str, int]


class Quality(Record):
    """Distance from the FP16 base over `tokens_scored` next-token predictions; KLD in nats."""

    tokens_scored: int
    perplexity: Estimate
    perplexity_ratio: Estimate
    kld_mean: Estimate
    kld_p99: float
    kld_p999: float
    top1_agreement: Estimate
    rms_delta_p: float


class Speed(Record):
    """Timings in a fresh process; they are not reproducible and no action key holds them."""

    prefill_tokens: int
    prefill_tokens_per_s: Spread
    decode_tokens: int
    decode_tokens_per_s: Spread
    first_token_ms: Spread
    load_s: float
    peak_rss_bytes: int
    threads: int


class Sample(Record):
    """One greedy completion."""

    prompt: str
    completion: str


class Machine(Record):
    """Where the timings were taken."""

    cpu: str
    features: list[str]
    cores: int
    packages: dict[str, str]


class Evaluation(Record):
    """One artefact on the yardstick. `notes` are sentences that the report prints as they are."""

    artifact: str
    label: str
    runtime: Runtime
    size: Size
    quality: Quality
    speed: Speed
    samples: list[Sample]
    machine: Machine
    notes: list[str] = []
