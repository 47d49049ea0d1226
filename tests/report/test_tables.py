"""The tables: which figures stand where, and how baselines are told from artefacts."""

from scripts.report.tables import (
    Table,
    detail_table,
    quality_table,
    size_table,
    speed_table,
    verdict_table,
)
from tests.report.factory import usual


def _row(table: Table, name: str) -> dict[str, str]:
    return next(
        {key: cell.replace("\u00a0", " ") for key, cell in zip(table.header, row, strict=True)}
        for row in table.rows
        if row[0] == name
    )


def test_quality() -> None:
    table = quality_table(usual())
    assert _row(table, "`model-int4`") == {
        "artefact": "`model-int4`",
        "perplexity ± se": "36.14 ± 1.23",
        "× FP16": "1.227 ± 0.002",
        "KLD ± se": "0.284 ± 0.006",
        "99 % KLD": "1.704",
        "same top token": "62.7 ± 0.3 %",
        "in a word": "poor",
    }


def test_baselines_stand_first_in_italics() -> None:
    for table in (quality_table(usual()), size_table(usual()), speed_table(usual())):
        assert [row[0] for row in table.rows[:4]] == [
            "*Label of base*",
            "*Label of graph*",
            "*Label of f16.gguf*",
            "`model-int8`",
        ]
    assert _row(quality_table(usual()), "*Label of base*")["in a word"] == "the yardstick"
    assert _row(quality_table(usual()), "*Label of graph*")["in a word"] == "the float model"


def test_size() -> None:
    assert _row(size_table(usual()), "`model.gguf`") == {
        "artefact": "`model.gguf`",
        "MB": "92.0",
        "of FP16": "34 %",
        "bits per weight": "5.47",
        "weight tensors stored as": "210 × Q8_0, 1 × F16",
    }


def test_speed_keeps_runtime_and_quantisation_apart() -> None:
    assert _row(speed_table(usual()), "`model.gguf`") == {
        "artefact": "`model.gguf`",
        "prefill t/s": "1,003",
        "decode t/s": "215",
        "decode, × FP16": "13×",
        "× own runtime's float": "1.9×",
        "first token ms": "50",
        "load s": "0.31",
        "peak RSS MB": "276",
    }


def test_details_have_the_spread() -> None:
    row = _row(detail_table(usual()), "`model-int8`")
    assert row["decode t/s"] == "105.0 (100.8 to 108.2, 5×)"
    assert row["99.9 % KLD"] == "0.0690"


def test_figures_align_right_and_words_left() -> None:
    table = quality_table(usual())
    assert table.align == ["left", *["right"] * 5, "left"]


def test_verdicts_are_those_of_the_advice() -> None:
    assert [row[:2] for row in verdict_table().rows] == [
        ("< 0.01", "indistinguishable in practice"),
        ("< 0.05", "close"),
        ("< 0.2", "noticeable"),
        ("< 0.5", "poor"),
        ("≥ 0.5", "broken"),
    ]
