"""The report of an encoder: the same sections, in words of embeddings, and nothing of tokens."""

import re
from pathlib import Path

import pytest

from scripts.cards.card import front_matter
from scripts.cards.subject import CardFacts, Subject
from scripts.evaluation.budget import Budget
from scripts.evaluation.result import (
    Embedded,
    EmbeddingQuality,
    Estimate,
    Evaluation,
    Machine,
    Size,
    Speed,
    TextEmbeddings,
    Timings,
)
from scripts.report.join import breaks, read_lineup
from scripts.report.lineup import Lineup
from scripts.report.verdicts import is_clearly_closer, verdict
from scripts.report.write_report import HTML_NAME, NAME, WriteReport
from tests.report.factory import facts_of, spread

MACHINE = Machine(cpu="Test CPU", features=["avx512_vnni"], cores=2, packages={"torch": "2.13.0"})


def row(name: str, backend: str, cosine: float, megabytes: float, batches: float) -> Evaluation:
    """One row of a report."""

    def quality(lost: float) -> EmbeddingQuality:
        return EmbeddingQuality(
            sentences=128,
            cosine=Estimate(value=1 - lost, se=0.05 * lost),
            cosine_p01=1 - 2 * lost,
            spearman=1 - lost / 3,
        )

    lost = 1 - cosine
    embedded = Embedded(
        artifact=name,
        backend=backend,
        size=Size(
            bytes=round(megabytes * 1e6),
            parameters=22_565_376,
            bits_per_weight=8 * megabytes / 22.6,
            tensor_types={"Q8_0": 36},
        ),
        quality=quality(lost),
        texts=(
            TextEmbeddings(kind="news", quality=quality(lost / 2)),
            TextEmbeddings(kind="code", quality=quality(lost)),
        ),
        longest=256,
        truncated=3,
    )
    speed = Speed.none(2).model_copy(
        update={
            "sentences_per_s": spread(batches),
            "single_sentences_per_s": spread(batches / 2),
            "load_s": 0.3,
            "peak_rss_bytes": 1e8,
        }
    )
    return Evaluation.of_encoder(embedded, f"Label of {name}", speed, MACHINE)


ROWS = Lineup(
    (
        row("base", "pytorch", 1, 46, 90),
        row("graph", "onnx", 1 - 1e-9, 91, 110),
        row("f16.gguf", "gguf", 1 - 1e-6, 46, 60),
    ),
    (
        row("model-int8", "onnx", 0.9996, 26, 150),
        row("model-int8-static", "onnx", 0.9978, 25, 260),
        row("model-q8_0.gguf", "gguf", 0.9995, 25.3, 70),
        row("model-q2.gguf", "gguf", 0.91, 12, 50),
    ),
)


@pytest.fixture(scope="module")
def written(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The report's folder."""
    inputs, out = tmp_path_factory.mktemp("inputs"), tmp_path_factory.mktemp("report")
    found = {}
    for one in ROWS.rows:
        assert one.embedded is not None
        found[f"evaluation/{one.artifact}"] = inputs / f"{one.artifact}.json"
        found[f"evaluation/{one.artifact}"].write_text(one.embedded.model_dump_json())
    timings = {
        "machine": MACHINE,
        "speeds": {one.artifact: one.speed for one in ROWS.rows},
        "failures": {},
    }
    found["timings"] = inputs / "timings.json"
    found["timings"].write_text(Timings.model_validate(timings).model_dump_json())
    facts = facts_of(ROWS, kind="encoder")
    assert read_lineup(found, facts).base.embeddings.cosine.value == 1
    WriteReport(facts=facts).run(found, out)
    return out


def test_same_sections_without_those_of_decoders(written: Path) -> None:
    text = (written / NAME).read_text()
    titles = re.findall(r"^## (.*)", text, re.MULTILINE)
    assert titles == [
        "Which one should I take?",
        "Comparison",
        "How to load each one",
        "What the words mean",
        "How the artefacts are made",
        "How it was measured",
    ]
    charts = {path.name for path in (written / "charts").glob("*.svg")}
    assert charts == {"size-quality.svg", "speed.svg"}


def test_says_nothing_of_tokens_that_are_predicted(written: Path) -> None:
    for name in (NAME, HTML_NAME):
        page = re.sub(r"<(style|script|svg).*?</\1>", "", (written / name).read_text(), flags=re.S)
        for word in ("KLD", "KL divergence", "erplexity", "refill", "top token", "nan", "tokens/s"):
            assert word not in page, (name, word)
        for word in ("cosine", "same ranking", "sentences a second", "0.9978", "pooling"):
            assert word in page, (name, word)


def test_advice_is_by_cosine_and_sentences(written: Path) -> None:
    text = (written / NAME).read_text()
    assert "If you want just one: **`model-int8`**." in text
    assert "it has a rank correlation of 0.99987 between its similarities of sentences" in text
    assert "embeds 150 sentences a second in batches" in text
    assert "`model-q2.gguf` is **broken**: cosine 0.910" in text
    assert "3 were longer and cut" in text
    assert "**`model-int8-static`**|260 sentences/s, 2.9× Label of base and 2.4× Label of" in text


def test_verdicts() -> None:
    assert [verdict(one) for one in ROWS.artifacts] == [
        *("indistinguishable in practice", "close"),
        *("indistinguishable in practice", "broken"),
    ]
    assert is_clearly_closer(ROWS.artifacts[0], ROWS.artifacts[1])


def test_budgets_of_encoders_break() -> None:
    kept = Budget(min_cosine=0.995, min_cosine_p01=0.99, min_spearman=0.99)
    broken = Budget(min_cosine=0.998, min_sentences_speedup=3)
    found = breaks(ROWS, {"model-int8-static": kept, "model-int8": kept})
    assert [*found] == []
    names = [one.budget for one in breaks(ROWS, {"model-int8-static": broken})]
    assert names == ["min_cosine", "min_sentences_speedup"]


def test_card_is_of_a_feature_extractor() -> None:
    subject = Subject(**dict(facts_of(ROWS, kind="encoder")), card=CardFacts())
    assert "pipeline_tag: feature-extraction" in front_matter(subject, ROWS.artifacts[0])
